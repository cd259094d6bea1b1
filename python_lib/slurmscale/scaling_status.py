"""The scaling status: where are we? A dataclass, JSON and text."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from slurmscale.errors import Code
from slurmscale.models import Counts, Failure, Run, failure, when
from slurmscale.operations import Operation, Result
from slurmscale.states import FAILED, RUN_ACTIVE
from slurmscale.store.tables import COUNTS, changed_run, is_failed, is_silent_since, runs, tasks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from slurmscale.store.notices import Change
    from slurmscale.store.repository import Store

    _Reasons = Mapping[str, Sequence[tuple[str, Failure | None]]]

DAY = 24 * 3600.0
_MOST_STALLED = 100
_MOST_FAILED = 5_000
_JOBS = tuple(operation for operation in Operation if operation.definition.result is Result.JOBS)
"""Many at a time, they would leave nothing else to be seen of what was done lately."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Nodes that failed for one reason.

    Attributes:
        code: Code of the reason.
        reason: The reason; where the nodes' reasons differ in the node's name only, NODE stands for it.
        remedy: What to do, likewise.
        nodes: The nodes.
    """

    code: str
    reason: str
    remedy: str
    nodes: list[str]


def group_failures(failed: Iterable[tuple[str, Failure | None]]) -> list[FailureGroup]:
    """Put nodes together that failed for the same reason, most nodes first, and last those that only stopped.

    Args:
        failed: Nodes, and why each failed.
    """
    errors = [(node, why or Failure("task-failed", "failed without a reason")) for node, why in failed]
    same = Counter(error for _, error in errors)
    groups: dict[tuple[str, str, str], list[tuple[str, Failure]]] = {}
    for node, error in errors:
        key = (error.code, error.reason, error.remedy)
        if same[error] == 1:
            # the node's own name in its reason makes it no other reason
            own = re.compile(rf"(?<![\w.-]){re.escape(node)}(?![\w-])")
            key = (error.code, own.sub("NODE", error.reason), own.sub("NODE", error.remedy))
        groups.setdefault(key, []).append((node, error))
    found = []
    for (code, reason, remedy), members in groups.items():
        only = members[0][1] if len(members) == 1 else Failure(code, reason, remedy)
        found.append(FailureGroup(code, only.reason, only.remedy, [node for node, _ in members]))
    # those that only stopped because of others explain nothing
    return sorted(found, key=lambda group: (group.code == Code.RUN_STOPPED, -len(group.nodes)))


@dataclass(frozen=True, slots=True)
class OperationView:
    """A run as the status shows it.

    Attributes:
        check: Whether it only shows what would be changed.
        success_nodes: Nodes that are done.
        failed_nodes: Nodes that failed.
        failures: The failed nodes by reason.
        remaining: Estimated seconds to the end, where earlier runs tell.
    """

    id: str
    type: str
    check: bool
    status: str
    cluster: str
    nodes: list[str]
    success_nodes: int
    failed_nodes: int
    progress: int
    started_at: datetime | None
    completed_at: datetime | None
    error: dict[str, str] | None
    error_message: str | None
    failures: list[FailureGroup]
    remaining: int | None

    @classmethod
    def of(cls, run: Run, failed: Iterable[tuple[str, Failure | None]]) -> OperationView:
        """Make it of a record.

        Args:
            run: The record.
            failed: Nodes of the run that failed, and why each did.
        """
        # what is not made here is the same in the record
        made: dict[str, Any] = {
            "type": run.operation.value,
            "status": run.status.value,
            "nodes": list(run.nodes),
            "success_nodes": run.counts.success,
            "failed_nodes": run.counts.failed,
            "progress": run.counts.progress,
            "started_at": when(run.started_at),
            "completed_at": when(run.completed_at),
            "error": run.error.as_dict() if run.error else None,
            "failures": group_failures(failed),
        }
        return cls(**{one.name: getattr(run, one.name) for one in fields(cls) if one.name not in made}, **made)


@dataclass(frozen=True, slots=True)
class StalledTask:
    """A task without recent activity."""

    task_id: str
    operation_id: str
    node: str
    progress: int
    phase: str
    step: str
    updated_at: datetime | None
    silent_seconds: int


@dataclass(frozen=True, slots=True)
class ScalingStatus:
    """The scaling status over a window of time.

    Runs that only look, such as checks, are shown, and count neither as successes nor as failures; so do those on hosts
    that are no nodes, an AppHub or the controller. Jobs that were submitted or cancelled are shown while it is done.

    Attributes:
        active: Whether any operation is in progress.
        active_tasks: Nodes that are being changed.
        success_nodes: Nodes that were changed as wanted; one that two runs worked on counts twice.
        failed_nodes: Nodes that failed, likewise.
        progress: Whole percent over all of them.
        active_operations: What is in progress.
        recent_operations: What began in the window, newest first.
        stalled_tasks: Nodes in progress without recent activity.
    """

    active: bool
    active_tasks: int
    success_nodes: int
    failed_nodes: int
    progress: int
    active_operations: list[OperationView]
    recent_operations: list[OperationView]
    stalled_tasks: list[StalledTask]

    def as_json(self) -> dict[str, Any]:
        """Return plain data for JSON, times in ISO 8601 with zone."""
        return _plain(self)  # type: ignore[no-any-return] # of a dataclass, a dict


@dataclass(frozen=True, slots=True)
class StatusRecords:
    """What the scaling status is made of.

    Attributes:
        others: The tasks of all runs of the window that are not active.
        at_work: The active runs.
        shown: The newest runs of the window.
        reasons: The failed nodes of these runs, each with its reason.
        stalled: Nodes in progress without recent activity.
    """

    others: Counts
    at_work: tuple[Run, ...]
    shown: tuple[Run, ...]
    reasons: _Reasons
    stalled: tuple[StalledTask, ...]

    def status(self) -> ScalingStatus:
        """Return the status."""
        changing = [run.counts for run in self.at_work if run.operation.definition.changes_nodes and not run.check]
        counts = Counts(*(sum(getattr(one, name) for one in (self.others, *changing)) for name in COUNTS))
        return ScalingStatus(
            active=bool(self.at_work),
            active_tasks=counts.active,
            success_nodes=counts.success,
            failed_nodes=counts.failed,
            progress=counts.progress,
            active_operations=[self._view(run) for run in self.at_work],
            recent_operations=[self._view(run) for run in self.shown],
            stalled_tasks=list(self.stalled),
        )

    def _view(self, run: Run) -> OperationView:
        return OperationView.of(run, self.reasons.get(run.id, ()))

    def after(self, change: Change) -> StatusRecords | None:
        """Return what they are after a change of a run; None when they have to be read again."""
        known = next((run for run in (*self.at_work, *self.shown) if run.id == change.run_id), None)
        if known is not None and change.revision <= known.revision:
            return self
        if known is None or change.values is None or change.revision != known.revision + 1:
            return None
        # which nodes failed and why, and what the end of a run changes, is read
        if any(task["status"] in FAILED for task in change.tasks.values()):
            return None
        run = changed_run(known, change.revision, change.values)
        if run.status not in RUN_ACTIVE:
            return None
        return replace(
            self,
            at_work=tuple(run if one.id == run.id else one for one in self.at_work),
            shown=tuple(run if one.id == run.id else one for one in self.shown),
        )


def read_status(  # noqa: PLR0913 - choices, each by its name
    store: Store,
    *,
    window: float = DAY,
    recent: int = 5,
    stalled_after: float = 600.0,
    now: float | None = None,
    clusters: Collection[str] | None = None,
) -> StatusRecords:
    """Read what the scaling status is made of.

    Every run keeps the counts of its tasks, so this reads the runs of the window and never the tasks, except for the
    stalled ones, which an index on active tasks finds.

    Args:
        store: The records.
        window: Seconds to look back; runs that are still active always count.
        recent: Number of recent operations.
        stalled_after: Seconds without recent activity after which a task counts as stalled.
        now: Seconds since the epoch; the clock when None.
        clusters: The clusters to look at; all when None.
    """
    now = time.time() if now is None else now
    changing = [operation for operation in Operation if operation.definition.changes_nodes]
    in_window = (
        ((runs.c.created_at >= now - window) | runs.c.status.in_(RUN_ACTIVE))
        & runs.c.operation.in_(changing)
        & ~runs.c.check_mode
    )
    if clusters is not None:
        in_window &= runs.c.cluster.in_(list(clusters))
    at_work = store.runs(active=True, clusters=clusters)
    # each run is counted once, also one that ends between the two reads
    in_window &= runs.c.id.not_in([run.id for run in at_work])
    sums = select(*(func.coalesce(func.sum(runs.c[name]), 0) for name in COUNTS)).where(in_window)
    shown = store.runs(limit=recent, since=now - window, clusters=clusters, but=_JOBS) if recent else []
    with store.explained("read"), store.engine.connect() as connection:
        others = Counts(*map(int, connection.execute(sums).one()))
        reasons = _reasons(connection, [run.id for run in {run.id: run for run in (*at_work, *shown)}.values()])
    stalled = read_stalled(store, stalled_after, now=now, clusters=clusters)
    return StatusRecords(others, tuple(at_work), tuple(shown), reasons, stalled)


def read_stalled(
    store: Store, after: float, *, now: float | None = None, clusters: Collection[str] | None = None
) -> tuple[StalledTask, ...]:
    """Read which nodes in progress are without recent activity; arguments as of `read_status`."""
    now = time.time() if now is None else now
    silent = select(tasks).where(is_silent_since(now - after)).order_by(tasks.c.updated_at).limit(_MOST_STALLED)
    if clusters is not None:
        silent = silent.where(tasks.c.run_id.in_(select(runs.c.id).where(runs.c.cluster.in_(list(clusters)))))
    with store.explained("read"), store.engine.connect() as connection:
        return tuple(
            StalledTask(
                row.task_id,
                row.run_id,
                row.node,
                row.progress,
                row.phase,
                row.step,
                when(row.updated_at),
                int(now - row.updated_at),
            )
            for row in connection.execute(silent)
        )


def _reasons(connection: Connection, run_ids: list[str]) -> _Reasons:
    """Return the failed nodes of some runs, each with its reason."""
    columns = (tasks.c.run_id, tasks.c.node, tasks.c.error_code, tasks.c.error_message, tasks.c.error_remedy)
    query = select(*columns).where(tasks.c.run_id.in_(run_ids), is_failed()).limit(_MOST_FAILED)
    found: dict[str, list[tuple[str, Failure | None]]] = {}
    for run_id, node, code, reason, remedy in connection.execute(query):
        found.setdefault(run_id, []).append((node, failure(code, reason, remedy)))
    return found


def _plain(value: Any) -> Any:
    # not dataclasses.asdict, which copies each of the names that thousands of nodes have
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        # names of nodes, of which a run may have thousands, are not looked at one by one
        return value.copy() if value and isinstance(value[0], str) else [_plain(item) for item in value]
    return value
