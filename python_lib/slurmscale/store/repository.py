"""Runs, tasks, logs, clusters and timings in SQLite or PostgreSQL.

SQLite (WAL) in the data directory by default, PostgreSQL by URL. Everything is plain SQL over `tables`;
`writer` adds the one thread that records a live run.
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy import Connection, bindparam, case, delete, exists, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from slurmscale.errors import Code, NoRoomError, NotFoundError, OverlapError, RefusedError, RunLostError, StoreError
from slurmscale.models import CANCELLED, Cluster, Counts, Failure, LogLine, Run, Task, TaskChange, Timing, nodes_failed
from slurmscale.states import ACTIVE, RUN_ACTIVE, RunStatus, TaskStatus
from slurmscale.store import shards
from slurmscale.store.audit import note_end
from slurmscale.store.counters import count_ended_run, count_ended_tasks, count_unfinished_tasks
from slurmscale.store.engine import Database
from slurmscale.store.idempotency import note_run
from slurmscale.store.notices import Change, Kind
from slurmscale.store.tables import (
    CHANGING_COLUMNS,
    NOBODY,
    claims,
    cluster_of_row,
    clusters,
    error_columns,
    log_line_of_row,
    log_lines,
    reports,
    row_of_cluster,
    row_of_counts,
    row_of_run,
    row_of_task,
    run_of_row,
    run_secrets,
    run_shards,
    runs,
    task_of_row,
    tasks,
    timings,
    unaudited_ends,
)
from slurmscale.store.webhook_messages import tell_of_cluster, tell_of_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, RowMapping, Select

    from slurmscale.operations import Operation, Stage
    from slurmscale.store.idempotency import RequestKey

_LEARN_FROM = 5
"""Earlier runs whose timings count; older ones describe machines and roles of the past."""

_ROOM_LOCK = 7_305_813
_UNTOLD = Failure(Code.RUN_STOPPED, "The run ended before this node was finished.", "Run it again for this node.")
_NEXT = {"revision": runs.c.revision + 1}
"""Whoever raises the revision holds the run's row until the commit, so revisions commit in their order."""
_UPDATE_TASK = (
    update(tasks)
    .where(tasks.c.id == bindparam("b_id"))
    .values({"revision": bindparam("b_revision")} | {name: bindparam(name) for name in CHANGING_COLUMNS})
)


class Queue(Protocol):
    """Tells workers of runs that wait."""

    def add(self, connection: Connection, run_id: str) -> None:
        """Tell of a run once the transaction of a connection is committed."""


class Batch(NamedTuple):
    """What is written of a run in one transaction.

    Attributes:
        changes: Rows of changed tasks.
        lines: Rows of new log lines.
        values: The run's own columns.
        report: What its playbook reported.
    """

    changes: Sequence[Mapping[str, Any]]
    lines: Sequence[Mapping[str, Any]]
    values: Mapping[str, Any]
    report: Mapping[str, Any] | None


class Store(Database):
    """All records; each method is one transaction.

    Args:
        url: See `Database`.
        lease_seconds: How long the owner of a run may stay silent before others take it for gone.
        shard_size: Nodes of a run that one worker takes at most; larger runs are shared where there is a queue.

    Raises:
        StoreError: From every method, when the database can't be read or written.
    """

    def __init__(self, url: str, lease_seconds: float = 60.0, shard_size: int = 100) -> None:
        super().__init__(url)
        self.lease_seconds = lease_seconds
        self.shard_size = shard_size
        self.queue: Queue | None = None
        """Told of each run that waits for any process; without it they look for themselves."""

    @property
    def _lease(self) -> ColumnElement[float]:
        return self.now + self.lease_seconds

    # -- runs

    def create_run(self, run: Run, sealed: str | None = None, request_key: RequestKey | None = None) -> dict[str, int]:
        """Record a run, its tasks, and its claim on its nodes, all or nothing.

        Args:
            run: The run; its status must be pending.
            sealed: Its secrets, sealed; they are kept until it ends.
            request_key: Key of the request that asks for it; repeated with this key, it makes no other run.

        Returns:
            The ids of its task records by node.

        Raises:
            OverlapError: Another run works on some of the nodes.
            RefusedError: The request with the key is not in progress any more.
            StoreError: The database can't be written.
        """
        with self.explained("write"):
            for _ in range(3):
                try:
                    with self.begin() as connection:
                        self.notices.add(connection, Change(Kind.RUN, run.id, run.cluster, run.revision))
                        ids = _insert_run(connection, run, self._lease)
                        if sealed is not None:
                            row = {"run_id": run.id, "sealed": sealed, "created_at": run.created_at}
                            connection.execute(insert(run_secrets).values(**row))
                        if request_key is not None:
                            note_run(connection, request_key, run.id)
                        if self.queue is not None and shards.is_shared(run, self.shard_size):
                            self._begin_stage(connection, run, run.operation.definition.stages[0], run.nodes)
                        elif run.queued and not run.owner_id:
                            self._enqueue(connection, run.id)
                        return ids
                except IntegrityError:
                    self._refuse_overlap(run)
            raise StoreError("The run could not be recorded: other runs kept claiming its nodes at the same moment.")

    def _enqueue(self, connection: Connection, key: str) -> None:
        if self.queue is not None:
            self.queue.add(connection, key)

    def _begin_stage(self, connection: Connection, run: Run, stage: Stage, nodes: Sequence[str]) -> None:
        for key in shards.add_stage(connection, run, stage, nodes, self.shard_size):
            self._enqueue(connection, key)

    def _refuse_overlap(self, run: Run) -> None:
        wanted = _claims(run)
        with self.engine.connect() as connection:
            held = connection.execute(select(claims.c.run_id, claims.c.claim).order_by(claims.c.claim)).all()
        overlap = [(run_id, wanted[claim]) for run_id, claim in held if claim in wanted]
        if overlap:
            first = overlap[0][0]
            raise OverlapError(first, tuple(node for run_id, node in overlap if run_id == first))

    def record(
        self,
        run: Run,
        changes: Sequence[Mapping[str, Any]] = (),
        lines: Sequence[Mapping[str, Any]] = (),
        report: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> None:
        """Write a batch, in one transaction.

        Args:
            run: The run, or a shard of one, with its owner.
            changes: Rows of changed tasks.
            lines: Rows of new log lines.
            report: What its playbook reported.
            **values: The run's own columns.

        Raises:
            RunLostError: The run has ended, or is another process's; nothing was written.
        """
        self._record(run, RUN_ACTIVE, Batch(changes, lines, values, report))

    def record_late(
        self,
        run: Run,
        changes: Sequence[Mapping[str, Any]],
        lines: Sequence[Mapping[str, Any]],
        report: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> None:
        """Write the result of a run that ended while the database was away, also when it was called interrupted.

        Raises:
            RunLostError: There is no such run, or its result is known.
        """
        self._record(run, RUN_ACTIVE | {RunStatus.INTERRUPTED}, Batch(changes, lines, values, report))

    def _record(self, run: Run, statuses: Iterable[RunStatus], batch: Batch) -> None:
        changes, lines, values, report = batch
        if run.shard:
            self._record_shard(run, statuses, batch)
            return
        written = {"updated_at": time.time(), **values}
        own: dict[str, Any] = {**written, "lease_until": self._lease}
        if any(batch):
            # else its owner only shows that it lives
            own |= _NEXT
        with self.explained("write"), self.begin() as connection:
            # first, for it locks the run against whoever ends it
            revision = connection.execute(
                update(runs)
                .where(runs.c.id == run.id, runs.c.owner_id == run.owner_id, runs.c.status.in_(statuses))
                .values(**own)
                .returning(runs.c.revision)
            ).scalar()
            if revision is None:
                raise RunLostError(f"Run {run.id} was ended by another process.", "See slurmscale runs.")
            if values.get("status", RunStatus.RUNNING) not in RUN_ACTIVE:
                _release(connection, run.id)
                _tell_of_end(connection, run, RunStatus(values["status"]))
            if changes:
                count_ended_tasks(connection, run, changes)
                connection.execute(_UPDATE_TASK, [{**change, "b_revision": revision} for change in changes])
            if lines:
                connection.execute(insert(log_lines), list(lines))
            if report:
                # an earlier attempt may have written one
                connection.execute(delete(reports).where(reports.c.run_id == run.id))
                connection.execute(insert(reports).values(run_id=run.id, report=dict(report)))
            if any(batch):
                columns = {change["b_id"]: {name: change[name] for name in CHANGING_COLUMNS} for change in changes}
                told = Change(Kind.RUN, run.id, run.cluster, revision, written, columns, lines=bool(lines))
                self.notices.add(connection, told)

    def _record_shard(self, run: Run, statuses: Iterable[RunStatus], batch: Batch) -> None:
        """Write a batch of a shard: into the tasks and the log of its run, whose row is locked first."""
        changes, lines, values, report = batch
        lost = RunLostError(
            f"Run {run.id} has ended, or another process carries this part of it.", "See slurmscale runs."
        )
        own = {**shards.row_values(values), "lease_until": self._lease}
        if report:
            own["report"] = dict(report)
        held = update(run_shards).where(shards.of(run), run_shards.c.status.in_(statuses)).values(**own)
        with self.explained("write"), self.begin() as connection:
            if not any(batch):
                # its owner only shows that it lives
                active = exists().where(runs.c.id == run.id, runs.c.status.in_(RUN_ACTIVE))
                if not connection.execute(held.where(active)).rowcount:
                    raise lost
                return
            revision = self._next_revision(connection, run)
            if revision is None or not connection.execute(held).rowcount:
                raise lost
            if changes:
                count_ended_tasks(connection, run, changes)
                connection.execute(_UPDATE_TASK, [{**change, "b_revision": revision} for change in changes])
                _recount(connection, run.id)
            if lines:
                connection.execute(insert(log_lines), list(lines))
            if values.get("warnings"):
                _add_warnings(connection, run.id, values["warnings"])
            if values:
                shards.write_remaining(connection, run.id)
            if values.get("status", RunStatus.RUNNING) not in RUN_ACTIVE:
                self._settle(connection, run)
            self.notices.add(connection, Change(Kind.RUN, run.id, run.cluster, revision))

    @staticmethod
    def _next_revision(connection: Connection, run: Run) -> int | None:
        """Raise the revision of an active run, and so hold its row; None when it has ended."""
        raised = (
            update(runs)
            .where(runs.c.id == run.id, runs.c.status.in_(RUN_ACTIVE))
            .values(**_NEXT, updated_at=time.time())
            .returning(runs.c.revision)
        )
        return connection.execute(raised).scalar()

    def _settle(self, connection: Connection, run: Run) -> bool:
        """Go on with a shared run whose row is held: begin its next stage, or end it, when no shard is left.

        Returns:
            Whether it has ended.
        """
        run = replace(run, shard=None)
        found = shards.statuses(connection, run.id)
        cancelled = connection.execute(select(runs.c.cancel_requested).where(runs.c.id == run.id)).scalar_one()
        if RunStatus.RUNNING in found or (RunStatus.PENDING in found and not cancelled):
            return False
        left = shards.unfinished_nodes(connection, run.id)
        stage = None if cancelled else shards.next_stage(connection, run)
        if left and stage is not None:
            self._begin_stage(connection, run, stage, left)
            return False
        now = time.time()
        if cancelled:
            shards.end_waiting(connection, run.id, RunStatus.CANCELLED)
        _fail_unfinished(connection, run, CANCELLED if cancelled else _UNTOLD, now)
        counts = _recount(connection, run.id)
        failed = (TaskStatus.FAILED, TaskStatus.ERROR)
        names = select(tasks.c.node).where(tasks.c.run_id == run.id, tasks.c.status.in_(failed)).order_by(tasks.c.id)
        error, status = nodes_failed(list(connection.scalars(names)), counts.total), RunStatus.COMPLETED
        if error is not None:
            # a cancel that came when all was done changes nothing
            error, status = (CANCELLED, RunStatus.CANCELLED) if cancelled else (error, RunStatus.FAILED)
        ended = {"status": status, "completed_at": now, "owner_id": run.owner_id, "remaining": None}
        ended |= error_columns(error)
        connection.execute(update(runs).where(runs.c.id == run.id).values(**ended))
        _tell_of_end(connection, run, status)
        _release(connection, run.id)
        return True

    def end_run(self, run: Run, status: RunStatus, error: Failure, *, only_if_expired: bool = False) -> bool:
        """End a run from outside: its active tasks become failed with its error, its nodes are free.

        Args:
            run: The run; it is left alone when it has ended, or has another owner by now.
            status: How it ended.
            error: Why.
            only_if_expired: Leave it alone when its owner has shown itself.

        Returns:
            Whether it was ended.
        """
        if run.shard:
            return self._end_shard(run, status, error, only_if_expired=only_if_expired)
        now = time.time()
        own = self._own(run, only_if_expired=only_if_expired)
        ended = {"completed_at": now, "updated_at": now, "remaining": None, **error_columns(error)}
        with self.explained("write"), self.begin() as connection:
            revision = connection.execute(
                update(runs).where(*own).values(status=status, **ended, **_NEXT).returning(runs.c.revision)
            ).scalar()
            if revision is None:
                return False
            _tell_of_end(connection, run, status)
            _fail_unfinished(connection, run, error, now)
            _recount(connection, run.id)
            shards.end_waiting(connection, run.id, status)
            _release(connection, run.id)
            self.notices.add(connection, Change(Kind.RUN, run.id, run.cluster, revision))
        return True

    def _end_shard(self, run: Run, status: RunStatus, error: Failure, *, only_if_expired: bool) -> bool:
        own = self._own(run, only_if_expired=only_if_expired)
        with self.explained("write"), self.begin() as connection:
            revision = self._next_revision(connection, run)
            if revision is None:
                return False
            if not connection.execute(update(run_shards).where(*own).values(status=status)).rowcount:
                return False
            _fail_unfinished(connection, run, error, time.time())
            _recount(connection, run.id)
            shards.write_remaining(connection, run.id)
            self._settle(connection, run)
            self.notices.add(connection, Change(Kind.RUN, run.id, run.cluster, revision))
        return True

    def take(self, run: Run, owner: Mapping[str, Any], worker: str, most: int | None = None) -> Run:
        """Take up a run that waits; of all that try, one does.

        Args:
            run: The run, as it was read.
            owner: The columns that describe the process.
            worker: Its name.
            most: How many runs of the cluster that were asked for may be in progress, of all processes together.

        Returns:
            The run, with its new owner.

        Raises:
            NoRoomError: So many are; the run still waits.
            RefusedError: It has ended, or another process has taken it.
        """
        attempt = run.attempt + 1
        goes_on = f"{run.explanation}; {worker} continues, attempt {attempt}." if attempt > 1 else run.explanation
        if run.shard:
            return self._take_shard(run, {**owner, "worker": worker, "attempt": attempt}, goes_on, most)
        taken = (
            update(runs)
            .where(
                runs.c.id == run.id,
                runs.c.owner_id == run.owner_id,
                runs.c.attempt == run.attempt,
                runs.c.status == RunStatus.PENDING,
                ~shards.has_shards(),
            )
            .values(
                **owner,
                **_NEXT,
                status=RunStatus.RUNNING,
                attempt=attempt,
                worker=worker,
                explanation=goes_on,
                lease_until=self._lease,
                started_at=func.coalesce(runs.c.started_at, time.time()),
                updated_at=time.time(),
            )
            .returning(*runs.c)
        )
        with self.explained("write"), self.begin() as connection:
            if most is not None:
                _require_room(connection, run, most)
            row = connection.execute(taken).mappings().first()
            if row is None:
                raise _taken(run)
            self.notices.add(connection, Change(Kind.RUN, run.id, run.cluster, row["revision"]))
        return run_of_row(row)

    def _take_shard(self, run: Run, values: Mapping[str, Any], explanation: str | None, most: int | None) -> Run:
        attempt = values["attempt"]
        begun = {
            "status": RunStatus.RUNNING,
            "started_at": func.coalesce(runs.c.started_at, time.time()),
            "updated_at": time.time(),
            "attempt": case((runs.c.attempt < attempt, attempt), else_=runs.c.attempt),
        }
        if attempt > 1:
            begun["explanation"] = explanation
        of_run = (
            update(runs)
            .where(runs.c.id == run.id, runs.c.status.in_(RUN_ACTIVE), runs.c.cancel_requested.is_(False))
            .values(**begun, **_NEXT)
            .returning(*runs.c)
        )
        of_shard = (
            update(run_shards)
            .where(shards.of(run), run_shards.c.attempt == run.attempt, run_shards.c.status == RunStatus.PENDING)
            .values(**values, status=RunStatus.RUNNING, lease_until=self._lease)
            .returning(*run_shards.c)
        )
        with self.explained("write"), self.begin() as connection:
            waits = select(runs.c.status == RunStatus.PENDING).where(runs.c.id == run.id)
            if most is not None and connection.execute(waits).scalar():
                _require_room(connection, run, most)
            taken = connection.execute(of_run).mappings().first()
            shard = connection.execute(of_shard).mappings().first()
            if taken is None or shard is None:
                raise _taken(run)
            self.notices.add(connection, Change(Kind.RUN, run.id, run.cluster, taken["revision"]))
        return shards.shard_of_row(run_of_row(taken), shard)

    def hand_over(self, run: Run, explanation: str | None, *, only_if_expired: bool = False) -> bool:
        """Let a run wait for another process: what is finished stays, and so does the progress of the other nodes.

        Args:
            run: The run; it is left alone when it has ended, or has another owner by now.
            explanation: What became of its process.
            only_if_expired: Leave it alone when its owner has shown itself.

        Returns:
            Whether it was handed over.
        """
        own = self._own(run, only_if_expired=only_if_expired)
        now = time.time()
        waits: dict[str, Any] = {
            "ansible_pid": None,
            "ansible_ticks": None,
            "run_dir": None,
            "lease_until": None,
            "worker": None,
            "remaining": None,
        }
        waits |= {**NOBODY, "status": RunStatus.PENDING, "explanation": explanation}
        with self.explained("write"), self.begin() as connection:
            if run.shard:
                revision = self._next_revision(connection, run)
                handed = connection.execute(update(run_shards).where(*own).values(**waits)).rowcount
            else:
                given = update(runs).where(*own).values(**waits, **_NEXT, updated_at=now).returning(runs.c.revision)
                revision = connection.execute(given).scalar()
                handed = revision is not None
            if revision is None or not handed:
                connection.rollback()
                return False
            connection.execute(
                update(tasks)
                .where(*_unfinished(run))
                .values(
                    status=TaskStatus.PENDING, phase="", step="", updated_at=now, revision=revision,
                    **error_columns(None),
                )
            )  # fmt: skip
            self.notices.add(connection, Change(Kind.RUN, run.id, run.cluster, revision))
            self._enqueue(connection, run.key)
            if run.shard:
                shards.write_remaining(connection, run.id)
                # it may have been cancelled meanwhile
                self._settle(connection, run)
        return True

    def run_secret(self, run_id: str) -> str | None:
        """Return the sealed secrets of a run; None when there are none, or not any more."""
        with self.explained("read"), self.engine.connect() as connection:
            return connection.execute(select(run_secrets.c.sealed).where(run_secrets.c.run_id == run_id)).scalar()

    def run_secrets(self) -> dict[str, str]:
        """Return the sealed secrets of all runs, by their ids."""
        with self.explained("read"), self.engine.connect() as connection:
            rows = connection.execute(select(run_secrets.c.run_id, run_secrets.c.sealed)).all()
        return {row.run_id: row.sealed for row in rows}

    def replace_run_secret(self, run_id: str, old: str, new: str) -> bool:
        """Seal the secrets of a run anew, unless somebody changed or deleted them; returns whether it was done."""
        known = (run_secrets.c.run_id == run_id, run_secrets.c.sealed == old)
        with self.explained("write"), self.begin() as connection:
            return bool(connection.execute(update(run_secrets).where(*known).values(sealed=new)).rowcount)

    def delete_run_secrets(self, before: float) -> None:
        """Delete the sealed secrets of runs that were asked for before a time, however they ended."""
        with self.explained("write"), self.begin() as connection:
            connection.execute(delete(run_secrets).where(run_secrets.c.created_at < before))

    def waiting_runs(self) -> list[Run]:
        """Return the runs that wait for any process, oldest first."""
        query = (
            select(runs)
            .where(
                runs.c.status == RunStatus.PENDING, runs.c.queued.is_(True), runs.c.owner_id == "", ~shards.has_shards()
            )
            .order_by(runs.c.created_at, runs.c.id)
        )
        with self.explained("read"), self.engine.connect() as connection:
            return [run_of_row(row) for row in connection.execute(query).mappings()]

    def _own(self, run: Run, *, only_if_expired: bool) -> list[ColumnElement[bool]]:
        if run.shard:
            own = [shards.of(run), run_shards.c.status.in_(RUN_ACTIVE)]
            return [*own, run_shards.c.lease_until < self.now] if only_if_expired else own
        own = [runs.c.id == run.id, runs.c.owner_id == run.owner_id, runs.c.status.in_(RUN_ACTIVE)]
        return [*own, runs.c.lease_until < self.now] if only_if_expired else own

    def request_cancel(self, run_id: str) -> bool:
        """Ask the process that owns a run to cancel it, or all that work on a shared one.

        Returns:
            Whether it has ended with that: nobody was at work on a shared one.
        """
        asked = update(runs).where(runs.c.id == run_id).values(cancel_requested=True, **_NEXT).returning(*runs.c)
        with self.explained("write"), self.begin() as connection:
            row = connection.execute(asked).mappings().first()
            if row is None:
                return False
            self.notices.add(connection, Change(Kind.RUN, run_id, row["cluster"], row["revision"]))
            if row["status"] not in RUN_ACTIVE or not shards.statuses(connection, run_id):
                return False
            return self._settle(connection, run_of_row(row))

    def cancel_requested(self, run: Run) -> bool:
        """Say whether somebody asked for the run to be cancelled.

        Raises:
            RunLostError: The run has ended, or is another process's.
        """
        wanted = select(runs.c.cancel_requested, runs.c.owner_id, runs.c.status).where(runs.c.id == run.id)
        if run.shard:
            wanted = select(runs.c.cancel_requested, run_shards.c.owner_id, runs.c.status)
            wanted = wanted.join(run_shards).where(shards.of(run))
        with self.explained("read"), self.engine.connect() as connection:
            row = connection.execute(wanted).first()
        if row is None or row.owner_id != run.owner_id or row.status not in RUN_ACTIVE:
            raise RunLostError(f"Run {run.id} was ended by another process.", "See slurmscale runs.")
        return bool(row.cancel_requested)

    def active_runs(self) -> list[tuple[Run, bool]]:
        """Return the active runs and shards of runs, each with whether its owner's lease has expired."""
        expired = (runs.c.lease_until < self.now).label("expired")
        query = select(*runs.c, expired).where(runs.c.status.in_(RUN_ACTIVE))
        with self.explained("read"), self.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            parts = connection.execute(_shards_of(rows, self.now)).mappings().all()
        found = [(run_of_row({key: row[key] for key in row if key != "expired"}), bool(row["expired"])) for row in rows]
        by_id = {run.id: run for run, _ in found}
        return [*found, *((shards.shard_of_row(by_id[row["run_id"]], row), bool(row["expired"])) for row in parts)]

    def interrupted_runs(self, owner_host: str) -> list[Run]:
        """Return the runs of a machine that were interrupted and had a directory there."""
        query = select(runs).where(
            runs.c.status == RunStatus.INTERRUPTED, runs.c.owner_host == owner_host, runs.c.run_dir.is_not(None)
        )
        with self.explained("read"), self.engine.connect() as connection:
            return [run_of_row(row) for row in connection.execute(query).mappings()]

    def carried(self, key: str) -> Run:
        """Return a run or a shard of one by what a worker takes it by, `Run.key`; raises NotFoundError."""
        run_id, number = shards.split_key(key)
        run = self.run(run_id)
        if number is None:
            return run
        query = select(run_shards).where(run_shards.c.run_id == run_id, run_shards.c.number == number)
        with self.explained("read"), self.engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise NotFoundError(f"Run {run_id} has no part {number}.")
        return shards.shard_of_row(run, row)

    def prepared(self, run: Run) -> dict[str, Any]:
        """Return what earlier stages reported of the nodes of a shard."""
        with self.explained("read"), self.engine.connect() as connection:
            return shards.prepared_nodes(connection, run.id, run.nodes)

    def run(self, run_id: str) -> Run:
        """Return a run; raises NotFoundError."""
        with self.explained("read"), self.engine.connect() as connection:
            row = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().first()
        return _found_run(run_id, row)

    def run_changes(self, run_id: str, after: int = 0) -> tuple[Run, list[Task]]:
        """Return a run and what changed of it, as of one moment.

        Args:
            run_id: The run.
            after: The revision that the caller knows already; 0 for all tasks.

        Returns:
            The run, whose revision is what to go on from, and the tasks that changed later than `after`, in the order
            of its nodes.

        Raises:
            NotFoundError: There is no such run.
        """
        changed = select(tasks).where(tasks.c.run_id == run_id, tasks.c.revision > after).order_by(tasks.c.id)
        with self.explained("read"), self.snapshot() as connection:
            run = _found_run(run_id, connection.execute(select(runs).where(runs.c.id == run_id)).mappings().first())
            if run.revision <= after:
                return run, []
            return run, [task_of_row(row) for row in connection.execute(changed).mappings()]

    def revisions(self, run_ids: Iterable[str] = ()) -> dict[str, int]:
        """Return the revisions of some runs, of all active ones, and of the newest: what else changes the status."""
        newest = select(runs.c.id).order_by(runs.c.created_at.desc()).limit(1).scalar_subquery()
        wanted = runs.c.id.in_(list(run_ids)) | runs.c.status.in_(RUN_ACTIVE) | (runs.c.id == newest)
        with self.explained("read"), self.engine.connect() as connection:
            rows = connection.execute(select(runs.c.id, runs.c.revision).where(wanted)).all()
        return {run_id: revision for run_id, revision in rows}  # noqa: C416 - rows are no pairs to dict()

    def runs(  # noqa: PLR0913 - filters, each by its name
        self,
        *,
        limit: int | None = None,
        since: float | None = None,
        before: tuple[float, str] | None = None,
        active: bool = False,
        cluster: str | None = None,
        clusters: Iterable[str] | None = None,
        status: RunStatus | None = None,
        operation: Operation | None = None,
        but: Iterable[Operation] = (),
        node: str | None = None,
    ) -> list[Run]:
        """Return runs, newest first.

        Args:
            limit: How many at most.
            since: Only those that began at this time or later.
            before: Only those that come after a run in this order, given by when it was created and its id.
            active: Only the active ones.
            cluster: Only those of a cluster.
            clusters: Only those of these clusters.
            status: Only those in this state.
            operation: Only those of this operation.
            but: None of these operations.
            node: Only those that a node is part of.
        """
        query = select(runs).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(limit)
        equal = {"cluster": cluster, "status": status, "operation": operation}
        query = query.where(*(runs.c[name] == value for name, value in equal.items() if value is not None))
        if since is not None:
            query = query.where(runs.c.created_at >= since)
        if before is not None:
            created, run_id = before
            same = (runs.c.created_at == created) & (runs.c.id < run_id)
            query = query.where((runs.c.created_at < created) | same)
        if active:
            query = query.where(runs.c.status.in_(RUN_ACTIVE))
        if clusters is not None:
            query = query.where(runs.c.cluster.in_(list(clusters)))
        if but:
            query = query.where(runs.c.operation.not_in(list(but)))
        if node is not None:
            query = query.where(runs.c.id.in_(select(tasks.c.run_id).where(tasks.c.node == node)))
        with self.explained("read"), self.engine.connect() as connection:
            return [run_of_row(row) for row in connection.execute(query).mappings()]

    def runs_like(self, text: str) -> list[str]:
        """Return the ids that are a text, or begin with it as a whole or in their last part; newest first."""
        ids = runs.c.id
        query = select(ids).where(ids.startswith(text, autoescape=True) | ids.contains(f"-{text}", autoescape=True))
        with self.explained("read"), self.engine.connect() as connection:
            found = list(connection.scalars(query.order_by(runs.c.created_at.desc(), ids.desc())))
        exact = [one for one in found if one == text]
        return exact or [one for one in found if one.startswith(text) or one.rpartition("-")[2].startswith(text)]

    def delete_runs(self, before: float) -> int:
        """Delete runs that began before a time and have ended, with all their records.

        One whose end the service has not audited yet stays.

        Returns:
            How many.
        """
        may_go = (
            runs.c.created_at < before,
            runs.c.status.not_in(RUN_ACTIVE),
            runs.c.id.not_in(select(unaudited_ends.c.run_id)),
        )
        old = select(runs.c.id).where(*may_go)
        with self.explained("write"), self.begin() as connection:
            for table in (log_lines, reports, run_shards, tasks, timings):
                connection.execute(delete(table).where(table.c.run_id.in_(old)))
            return connection.execute(delete(runs).where(*may_go)).rowcount

    def report(self, run_id: str) -> dict[str, Any] | None:
        """Return the report of a run; None when its playbook wrote none."""
        with self.explained("read"), self.engine.connect() as connection:
            found = connection.execute(select(reports.c.report).where(reports.c.run_id == run_id)).scalar()
        return dict(found) if found else None

    # -- tasks and logs

    def tasks(self, run_id: str, *, status: Iterable[TaskStatus] | None = None, node: str | None = None) -> list[Task]:
        """Return the tasks of a run, or that of one node, in the order of its nodes."""
        query = select(tasks).where(tasks.c.run_id == run_id).order_by(tasks.c.id)
        if node is not None:
            query = query.where(tasks.c.node == node)
        if status is not None:
            query = query.where(tasks.c.status.in_(list(status)))
        with self.explained("read"), self.engine.connect() as connection:
            return [task_of_row(row) for row in connection.execute(query).mappings()]

    def latest_task(self, node: str) -> Task:
        """Return the newest task of a node; raises NotFoundError."""
        query = select(tasks).where(tasks.c.node == node).order_by(tasks.c.created_at.desc()).limit(1)
        with self.explained("read"), self.engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise NotFoundError(f"No run ever worked on node {node}. `slurmscale tasks` lists the nodes of a run.")
        return task_of_row(row)

    def log(  # noqa: PLR0913 - what of a log is wanted, each by its name
        self,
        run_id: str,
        node: str | None = None,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        containing: str = "",
    ) -> list[LogLine]:
        """Return log lines, oldest first.

        Args:
            run_id: The run.
            node: The node; None for the lines that belong to no node.
            after: Only lines with larger numbers.
            before: Only lines with smaller numbers; the limit then keeps the newest of them.
            limit: How many at most.
            containing: Only lines with this text in them, in capitals or small letters.
        """
        backwards = before is not None
        query = (
            select(log_lines)
            .where(log_lines.c.run_id == run_id, log_lines.c.node == node, log_lines.c.id > after)
            .order_by(log_lines.c.id.desc() if backwards else log_lines.c.id)
            .limit(limit)
        )
        if backwards:
            query = query.where(log_lines.c.id < before)
        if containing:
            query = query.where(log_lines.c.text.icontains(containing, autoescape=True))
        with self.explained("read"), self.engine.connect() as connection:
            lines = [log_line_of_row(row) for row in connection.execute(query).mappings()]
        return lines[::-1] if backwards else lines

    def log_end(self, run_id: str, node: str | None = None) -> int:
        """Return the number of the last line of a log, 0 when it has none; parameters as of `log`."""
        query = select(func.max(log_lines.c.id)).where(log_lines.c.run_id == run_id, log_lines.c.node == node)
        with self.explained("read"), self.engine.connect() as connection:
            return connection.execute(query).scalar() or 0

    def delete_logs(self, before: float) -> None:
        """Delete the logs and timings of runs that began before a time and have ended; runs and tasks stay."""
        old = select(runs.c.id).where(runs.c.created_at < before, runs.c.status.not_in(RUN_ACTIVE))
        with self.explained("write"), self.begin() as connection:
            connection.execute(delete(log_lines).where(log_lines.c.run_id.in_(old)))
            connection.execute(delete(timings).where(timings.c.created_at < before))

    # -- what earlier runs teach

    def timings(self, kind: str) -> dict[str, Timing]:
        """Return the median timing of each task over the latest runs of a kind."""
        recent = (
            select(timings.c.run_id)
            .where(timings.c.kind == kind)
            .group_by(timings.c.run_id)
            .order_by(text("max(created_at) DESC"))
            .limit(_LEARN_FROM)
        )
        with self.explained("read"), self.engine.connect() as connection:
            latest = list(connection.scalars(recent))
            columns = (timings.c.key, timings.c.seconds, timings.c.share)
            rows = connection.execute(
                select(*columns).where(timings.c.kind == kind, timings.c.run_id.in_(latest))
            ).all()
        by_key: dict[str, list[Timing]] = {}
        for key, seconds, share in rows:
            by_key.setdefault(key, []).append(Timing(seconds, share))
        return {
            key: Timing(median(timing.seconds for timing in found), median(timing.share for timing in found))
            for key, found in by_key.items()
        }

    def save_timings(self, kind: str, run_id: str, measured: Mapping[str, Timing]) -> None:
        """Keep what a run teaches."""
        now = time.time()
        rows = [
            {"kind": kind, "run_id": run_id, "key": key[:512], "created_at": now, **timing._asdict()}
            for key, timing in measured.items()
        ]
        if rows:
            with self.explained("write"), self.begin() as connection:
                connection.execute(insert(timings), rows)

    # -- clusters

    def save_cluster(self, cluster: Cluster) -> None:
        """Add a cluster, or replace the one of that name."""
        now = time.time()
        row = row_of_cluster(cluster) | {"updated_at": self.now}
        with self.explained("write"), self.begin() as connection:
            before = connection.execute(select(clusters.c.health).where(clusters.c.name == cluster.name)).scalar()
            if cluster.health == "unhealthy" != before:
                tell_of_cluster(connection, cluster.name)
            if not connection.execute(update(clusters).where(clusters.c.name == cluster.name).values(**row)).rowcount:
                connection.execute(insert(clusters).values(name=cluster.name, created_at=now, **row))
            self.notices.add(connection, Change(Kind.CLUSTERS))

    def claim_looks(self, seconds: float, most: int) -> list[str]:
        """Choose external clusters to look at: of all processes, one gets each of them.

        Args:
            seconds: Leave out those that were changed, looked at or claimed since, by the database's clock.
            most: How many at most; those first that waited longest.

        Returns:
            Their names.
        """
        due = (clusters.c.cluster_type == "external") & (clusters.c.updated_at < self.now - seconds)
        longest = select(clusters.c.name).where(due).order_by(clusters.c.updated_at).limit(most)
        with self.explained("write"), self.begin() as connection:
            claimed = update(clusters).where(due, clusters.c.name.in_(longest)).values(updated_at=self.now)
            return list(connection.scalars(claimed.returning(clusters.c.name)))

    def record_look(self, name: str, info: Mapping[str, Any] | None) -> None:
        """Record what a look at a cluster found, and nothing for one that was forgotten meanwhile.

        Args:
            name: The cluster.
            info: What it told; None when it is not healthy.
        """
        found: dict[str, Any] = {"health": "unhealthy"}
        if info is not None:
            found = {"health": "healthy", "seen_at": time.time(), "info": dict(info)}
        own = clusters.c.name == name
        with self.explained("write"), self.begin() as connection:
            before = connection.execute(select(clusters.c.health).where(own)).scalar()
            if before is not None and found["health"] == "unhealthy" != before:
                tell_of_cluster(connection, name)
            connection.execute(update(clusters).where(own).values(**found, updated_at=self.now))
            self.notices.add(connection, Change(Kind.CLUSTERS))

    def clusters(self) -> list[Cluster]:
        """Return all clusters by name."""
        with self.explained("read"), self.engine.connect() as connection:
            return [
                cluster_of_row(row) for row in connection.execute(select(clusters).order_by(clusters.c.name)).mappings()
            ]

    def cluster(self, name: str) -> Cluster:
        """Return a cluster; raises NotFoundError."""
        found = next((cluster for cluster in self.clusters() if cluster.name == name), None)
        if found is None:
            raise NotFoundError(
                f"There is no cluster {name}.",
                f"The known ones: slurmscale cluster list. Add it: slurmscale cluster add {name} --inventory FILE",
            )
        return found

    def remove_cluster(self, name: str) -> None:
        """Forget a cluster; its runs stay."""
        self.cluster(name)
        with self.explained("write"), self.begin() as connection:
            connection.execute(delete(clusters).where(clusters.c.name == name))
            self.notices.add(connection, Change(Kind.CLUSTERS))


def _found_run(run_id: str, row: RowMapping | None) -> Run:
    if row is None:
        raise NotFoundError(f"There is no run {run_id}. `slurmscale runs` lists the runs there are.")
    return run_of_row(row)


def _tell_of_end(connection: Connection, run: Run, status: RunStatus) -> None:
    """Write down for all who want to know that a run ends."""
    count_ended_run(connection, run, status)
    tell_of_run(connection, run, status)
    note_end(connection, run)


def _release(connection: Connection, run_id: str) -> None:
    """Give up, with its end, what a run holds: its nodes, and its secrets."""
    connection.execute(delete(claims).where(claims.c.run_id == run_id))
    connection.execute(delete(run_secrets).where(run_secrets.c.run_id == run_id))


def _claims(run: Run) -> dict[str, str]:
    """Return the run's nodes by the machine that each claims."""
    claimed = run.claims or tuple(f"{run.cluster}/{node}" for node in run.nodes)
    return dict(zip(claimed, run.nodes, strict=True))


def _require_room(connection: Connection, run: Run, most: int) -> None:
    """Refuse a run when enough of its cluster are in progress; whoever else takes one of the cluster waits."""
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(:key, hashtext(:cluster))")
        connection.execute(lock, {"key": _ROOM_LOCK, "cluster": run.cluster})
    at_work = select(func.count()).where(
        runs.c.cluster == run.cluster, runs.c.queued.is_(True), runs.c.status == RunStatus.RUNNING
    )
    found = connection.execute(at_work).scalar_one()
    if found >= most:
        raise NoRoomError(
            f"{found} runs of cluster {run.cluster} are in progress.", "It begins when one of them has ended."
        )


def _insert_run(connection: Connection, run: Run, lease_until: ColumnElement[float]) -> dict[str, int]:
    connection.execute(insert(runs).values(**row_of_run(run) | {"lease_until": lease_until}))
    connection.execute(
        insert(claims), [{"claim": claim, "node": node, "run_id": run.id} for claim, node in _claims(run).items()]
    )
    connection.execute(
        insert(tasks),
        [row_of_task(run, TaskChange(node, updated_at=run.created_at)) for node in run.nodes],
    )
    rows = connection.execute(select(tasks.c.node, tasks.c.id).where(tasks.c.run_id == run.id))
    return {node: number for node, number in rows}  # noqa: C416 - rows are no pairs to dict()


def _shards_of(found: Sequence[Mapping[str, Any]], now: ColumnElement[float]) -> Select[Any]:
    """Return the query for the active shards of some runs."""
    expired = (run_shards.c.lease_until < now).label("expired")
    own = (run_shards.c.run_id.in_([row["id"] for row in found]), run_shards.c.status.in_(RUN_ACTIVE))
    return select(*run_shards.c, expired).where(*own)


def _taken(run: Run) -> RefusedError:
    return RefusedError(
        f"Run {run.id} does not wait any more: it has ended, or another process has taken it.",
        f"Look at it with slurmscale tasks {run.id}.",
    )


def _unfinished(run: Run) -> list[ColumnElement[bool]]:
    """Return the condition for the tasks of a run, or of a shard, that have not ended."""
    found = [tasks.c.run_id == run.id, tasks.c.status.in_(ACTIVE)]
    return [*found, tasks.c.node.in_(run.nodes)] if run.shard else found


def _fail_unfinished(connection: Connection, run: Run, error: Failure, now: float) -> None:
    """Let the nodes of a run, or of a shard, fail that have not ended; its row is held."""
    count_unfinished_tasks(connection, run, _unfinished(run), now)
    revision = select(runs.c.revision).where(runs.c.id == run.id).scalar_subquery()
    ended = {"completed_at": now, "updated_at": now, **error_columns(error)}
    failed = update(tasks).where(*_unfinished(run)).values(status=TaskStatus.FAILED, revision=revision, **ended)
    connection.execute(failed)


def _add_warnings(connection: Connection, run_id: str, warnings: Iterable[str]) -> None:
    """Add what a shard warns of to what its run does."""
    own = runs.c.id == run_id
    known = connection.execute(select(runs.c.warnings).where(own)).scalar_one()
    merged = list(dict.fromkeys([*known, *warnings]))
    connection.execute(update(runs).where(own).values(warnings=merged))


def _recount(connection: Connection, run_id: str) -> Counts:
    """Write how the tasks of a run stand."""
    counts = _count(connection, run_id)
    connection.execute(update(runs).where(runs.c.id == run_id).values(**row_of_counts(counts)))
    return counts


def _count(connection: Connection, run_id: str) -> Counts:
    rows = connection.execute(
        text("SELECT status, count(*), sum(progress) FROM tasks WHERE run_id = :run GROUP BY status"), {"run": run_id}
    ).all()
    by_status = {TaskStatus(status): (count, progress) for status, count, progress in rows}
    active = [by_status[status] for status in by_status if status in ACTIVE]
    success = sum(by_status[s][0] for s in by_status if s in (TaskStatus.COMPLETED, TaskStatus.SUCCESS))
    total = sum(count for count, _ in by_status.values())
    active_count = sum(count for count, _ in active)
    return Counts(total, active_count, success, total - active_count - success, sum(int(p) for _, p in active))
