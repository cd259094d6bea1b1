"""Scale a cluster up and down, check nodes, and see how far it is: what the command, services and tests call.

Example::

    with Scaling() as scaling:
        handle = scaling.scale_up("lab", "node[07-12]")
        for notice in handle.subscribe():
            print(notice.progress)
        run = handle.wait()
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from slurmscale import settings
from slurmscale.errors import Code, NotFoundError, RefusedError, SlurmscaleError, StoreUnavailableError
from slurmscale.models import CANCELLED, Cluster, Failure, LogLine, Run, RunOptions, Task
from slurmscale.operations import Operation, Result, Scope
from slurmscale.runner import processes
from slurmscale.runner.ansible import AnsibleJob
from slurmscale.runs import known_clusters as clusters
from slurmscale.runs.broadcast import Broadcaster, Subscription, end_of
from slurmscale.runs.discovery import Clusters
from slurmscale.runs.handle import RunHandle, not_cancelled
from slurmscale.runs.jobs import Jobs
from slurmscale.runs.launch_builder import PreparedRun, prepare_run, repeat
from slurmscale.runs.logins import ClusterLogins
from slurmscale.runs.recovery import recover
from slurmscale.runs.request import Request, request_of
from slurmscale.runs.watched_run import WatchedRun
from slurmscale.scaling_status import ScalingStatus, StalledTask, StatusRecords, read_stalled, read_status
from slurmscale.states import FAILED, RUN_ACTIVE, RunStatus
from slurmscale.store.repository import Store
from slurmscale.store.tables import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from types import TracebackType

    from slurmscale.runner.protocol import Job, Launch
    from slurmscale.runs.known_clusters import Nodes
    from slurmscale.runs.request import Sealer
    from slurmscale.store.idempotency import RequestKey
    from slurmscale.store.run_queue import RunQueue

_CANCEL_WAIT = 15.0
_DAY = 86_400.0
_MOST_NAMED = 5


class Scaling:
    """The library's entry.

    Args:
        config: Settings; read from the environment when None.
        make_job: Makes the job that runs a playbook; tests and demos put a replay here.
        sealer: Seals the secrets of runs that wait, so that another process can take them up; without one they stay in
            this process's memory. Likewise logins of clusters, which are kept only with one.
        make_queue: Makes the queue through which runs that are asked for reach workers; without one a process begins
            its own.

    Raises:
        StoreError: The database can't be opened or written.
    """

    def __init__(
        self,
        config: settings.Settings | None = None,
        *,
        make_job: Callable[[Launch], Job] = AnsibleJob,
        sealer: Sealer | None = None,
        make_queue: Callable[[Store], RunQueue] | None = None,
    ) -> None:
        self.settings = config or settings.load()
        self.store = Store(self.settings.url, self.settings.lease_seconds, self.settings.shard_size)
        self.queue = make_queue(self.store) if make_queue else None
        self.store.queue = self.queue
        self.logins = ClusterLogins(self.store, sealer)
        self.clusters = Clusters(self.settings, self.store, make_job, self.logins, self._begin)
        self.jobs = Jobs(self.settings, self.store, self._cluster_with_login, make_job, self._begin)
        self.broadcaster = Broadcaster()
        self._data_dir = self.settings.data_dir.expanduser().absolute()
        self._make_job = make_job
        self._sealer = sealer
        self._lock = threading.Lock()
        self._handles: dict[str, RunHandle] = {}
        self._prepared: dict[str, PreparedRun] = {}
        """Runs that were requested here and wait; their secrets are nowhere else."""
        self._unstarted: dict[str, tuple[Run, Failure]] = {}
        """Runs that were taken up here and could be neither begun nor ended, because the database was away."""
        self.recover()

    def __enter__(self) -> Self:
        """Return itself; the database is closed when the block is left."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the database."""
        self.close()

    def close(self) -> None:
        """Close the database; active runs in this process must have ended."""
        self.store.close()

    # -- runs

    def scale_up(self, cluster: Cluster | str, nodes: Nodes, options: RunOptions | None = None) -> RunHandle:
        """Make compute nodes of machines, register them and verify them with a job.

        Args:
            cluster: A cluster, the name of a known one, or the path of an inventory.
            nodes: The nodes.
            options: Choices for this run.

        Returns:
            The active run.

        Raises:
            RefusedError: Nothing was changed; the text says why.
            StoreError: Nothing was changed; the database can't be written.
        """
        return self.run(Operation.SCALE_UP, cluster, nodes, options)

    def scale_down(self, cluster: Cluster | str, nodes: Nodes, options: RunOptions | None = None) -> RunHandle:
        """Drain nodes and take them out of the cluster; parameters as in `scale_up`."""
        return self.run(Operation.SCALE_DOWN, cluster, nodes, options)

    def check(self, cluster: Cluster | str, nodes: Nodes, options: RunOptions | None = None) -> RunHandle:
        """Look whether nodes are ready, without changing anything; parameters as in `scale_up`."""
        return self.run(Operation.CHECK, cluster, nodes, options)

    def retry(self, run_id: str, options: RunOptions | None = None, nodes: Nodes = ()) -> RunHandle:
        """Run the nodes of a run again that did not succeed.

        Args:
            run_id: A run that has ended.
            options: Choices; those of the run are kept where they say nothing.
            nodes: Nodes whose address or login is given anew, such as their passwords.

        Raises:
            RefusedError: The run is still active, all its nodes succeeded, or a secret has to be given again.
        """
        return self._begin(self._repeated(run_id, options, nodes))

    def request_retry(  # noqa: PLR0913 - what is given anew, and who asks, each by its name
        self,
        run_id: str,
        options: RunOptions | None = None,
        nodes: Nodes = (),
        *,
        only: Collection[str] = (),
        requested_by: str | None = None,
        key: RequestKey | None = None,
    ) -> Run:
        """Ask for a retry, of `only` some failed nodes if any are named; parameters as in `retry` and `request`."""
        repeated = self._repeated(run_id, options, nodes, only)
        return self._record(dataclasses.replace(repeated, requested_by=requested_by, queued=True, key=key))

    def _repeated(self, run_id: str, options: RunOptions | None, nodes: Nodes, only: Collection[str] = ()) -> Request:
        run = self.find_run(run_id)
        if run.status in RUN_ACTIVE:
            raise RefusedError(f"Run {run.id} is still in progress. Cancel it first, or wait for it.")
        if run.operation.definition.result is Result.JOBS:
            # nobody would remember the job
            raise RefusedError(f"A run of {run.operation.value} is not repeated.", "Ask for it again: slurmscale job")
        failed = [task.node for task in self.store.tasks(run.id, status=FAILED) if not only or task.node in only]
        if not failed and (run.status is RunStatus.COMPLETED or run.operation.definition.scope is Scope.NODES):
            raise RefusedError(f"All nodes of run {run.id} are done, there is nothing to do again.")
        given = clusters.nodes_by_name(nodes) if nodes else {}
        again = failed if run.operation.definition.scope.takes_nodes else []
        nodes, options = repeat(run, again, options or RunOptions(), given, self.settings)
        cluster = dataclasses.replace(self.find_cluster(run.inventory or run.cluster), name=run.cluster)
        return self._asked(run.operation, cluster, nodes, options, run.id)

    def run(
        self,
        operation: Operation,
        cluster: Cluster | str,
        nodes: Nodes = (),
        options: RunOptions | None = None,
        *,
        retry_of: str | None = None,
    ) -> RunHandle:
        """Start an operation; `scale_up` and the others are this with a fixed operation.

        Args:
            operation: What is to be done; its options go into `options.extra_vars`.
            cluster: A cluster, the name of a known one, or the path of an inventory.
            nodes: The nodes; may be left out where the operation's scope says which they are.
            options: Choices for this run.
            retry_of: The run that this one repeats.
        """
        return self._begin(self._asked(operation, cluster, nodes, options, retry_of))

    def validate(
        self, operation: Operation, cluster: Cluster | str, nodes: Nodes = (), options: RunOptions | None = None
    ) -> None:
        """Refuse what `run` would refuse, and begin nothing; parameters as there.

        Raises:
            RefusedError: The text says why.
        """
        self._prepare(self._asked(operation, cluster, nodes, options))

    def request(  # noqa: PLR0913 - the same
        self,
        operation: Operation,
        cluster: Cluster | str,
        nodes: Nodes = (),
        options: RunOptions | None = None,
        *,
        requested_by: str | None = None,
        key: RequestKey | None = None,
    ) -> Run:
        """Ask for an operation that an executor begins, as soon as it may; its nodes are claimed at once.

        Secrets stay in the memory of this process, or are sealed when there is a key. When the process is lost, another
        one takes the run up, unless its secrets were only in memory.

        Args:
            operation: As in `run`, as are the following ones.
            cluster: Where.
            nodes: The nodes.
            options: Choices for this run.
            requested_by: The user who asks.
            key: Of the request, which is recorded with the run; see `IdempotencyKeys`.

        Returns:
            The run; it waits.

        Raises:
            RefusedError: Nothing was changed; the text says why.
            StoreError: Nothing was changed; the database can't be written.
        """
        asked = self._asked(operation, cluster, nodes, options)
        return self._record(dataclasses.replace(asked, requested_by=requested_by, queued=True, key=key))

    def _asked(
        self,
        operation: Operation,
        cluster: Cluster | str,
        nodes: Nodes,
        options: RunOptions | None,
        retry_of: str | None = None,
    ) -> Request:
        if not operation.definition.recorded:
            raise RefusedError(f"{operation.value} is no run.", "Use Scaling.jobs.")
        options = options or RunOptions()
        recover(self.store, self._data_dir)
        cluster = self.find_cluster(cluster) if isinstance(cluster, str) else cluster
        cluster = self.logins.with_login(cluster)
        if cluster.config.get("max_nodes"):
            cluster = clusters.with_later_nodes(self.store, cluster)
        needed = bool(nodes) or operation.definition.scope is Scope.NODES
        return Request(operation, cluster, clusters.nodes_by_name(nodes) if needed else {}, options, retry_of)

    def _begin(self, request: Request) -> RunHandle:
        return self.execute(self._record(request).id)

    def _record(self, request: Request) -> Run:
        self.recover()
        prepared = self._prepare(request)
        run = prepared.run
        self.store.delete_logs(time.time() - self.settings.log_days * _DAY)
        self.store.delete_run_secrets(time.time() - _DAY)
        sealed = self._sealed(run, request) if run.queued and run.request["secret"] else None
        if self.queue is not None and run.queued:
            # a worker prepares it again, with what it finds where it is
            run = dataclasses.replace(run, **NOBODY)
            self.store.create_run(run, sealed, request.key)
            return run
        self.store.create_run(run, sealed, request.key)
        with self._lock:
            self._prepared[run.id] = prepared
        return run

    def _prepare(self, request: Request, told: Mapping[str, Any] | None = None) -> PreparedRun:
        kept = self.logins.opened(request.cluster.name, request.options.credential)
        return prepare_run(self.settings, request, told, kept)

    def _sealed(self, run: Run, request: Request) -> str | None:
        if self._sealer is not None:
            return self._sealer.seal(run.id, json.dumps(request.document()))
        if self.queue is not None:
            raise RefusedError(
                "The secrets of a request reach a worker only when they are sealed.",
                "Set SLURMSCALE_SECRET_KEY_FILE.",
                code="credentials-needed",
            )
        return None

    def execute(self, run_id: str) -> RunHandle:
        """Begin a run that waits, or go on with one whose process was lost: on those nodes that are not finished.

        Args:
            run_id: The run, or the key of a shard of one.

        Returns:
            The active run, or that part of it.

        Raises:
            NotFoundError: There is no such run.
            RefusedError: It does not wait any more, or it can't be begun; then it has failed.
            StoreError: The database can't be read or written.
        """
        run = self.store.carried(run_id)
        with self._lock:
            # of a later attempt less is left to be done than was prepared
            prepared = None if run.attempt or run.shard else self._prepared.get(run.id)
        recorded = None if prepared else self._recorded(run)
        try:
            most = self.settings.max_runs_per_cluster if self.queue is not None and run.queued else None
            run = self.store.take(run, processes.owner(), processes.worker_name(), most)
        except RefusedError:
            # also of a run that finds no room: with a queue, nothing is kept here
            self._forget_prepared(run.id)
            raise
        self._forget_prepared(run.id)
        try:
            return self._start(run, prepared, recorded)
        except Exception as exc:
            known = exc if isinstance(exc, SlurmscaleError) else None
            reason = f"The run could not be started: {exc}"
            redacted = prepared.redactor(reason) if prepared else reason
            with self._lock:
                self._unstarted[run.key] = run, Failure(known.code if known else Code.INTERNAL_ERROR, redacted)
            self._end_unstarted_runs()
            raise

    def _end_unstarted_runs(self) -> None:
        with self._lock:
            unstarted = list(self._unstarted.values())
        for run, failure in unstarted:
            try:
                self.store.end_run(run, RunStatus.FAILED, failure)
            except StoreUnavailableError:
                # this process lives, so nobody else ends it
                continue
            with self._lock:
                self._unstarted.pop(run.key, None)

    def _forget_prepared(self, run_id: str) -> None:
        with self._lock:
            self._prepared.pop(run_id, None)

    def _recorded(self, run: Run) -> dict[str, Any]:
        """Return the document of a run's request, secrets included."""
        if run.request and not run.request["secret"]:
            return run.request
        sealed = self.store.run_secret(run.id)
        if sealed is None or self._sealer is None:
            why = "sealed, and this process has no key" if sealed else "in the memory of the process it was asked from"
            raise RefusedError(
                f"The secrets of run {run.id} are {why}.", "Ask for it again.", code="credentials-needed"
            )
        opened: dict[str, Any] = json.loads(self._sealer.open(run.id, sealed))
        return opened

    def _start(self, run: Run, prepared: PreparedRun | None, request: dict[str, Any] | None) -> RunHandle:
        own = set(run.nodes)
        recorded = [task for task in self.store.tasks(run.id) if task.node in own]
        if prepared is None:
            left = [task.node for task in recorded if task.active]
            told = self.store.prepared(run) if run.shard else None
            prepared = self._prepare(request_of(run, request or run.request, left), told)
        job = self._make_job(prepared.launch)
        asked = processes.seconds_since_boot()
        self.store.record(run, run_dir=str(job.run_dir) if job.run_dir else None)
        handle = RunHandle(run, job, self.store, self.broadcaster, prepared.redactor, recorded, self._data_dir)
        with self._lock:
            self._handles = {key: known for key, known in self._handles.items() if not known.finished}
            self._handles[run.key] = handle
        handle.start(asked)
        return handle

    def recover(self) -> list[Run]:
        """Bring in results that could not be recorded, and give up or hand over runs whose process is gone.

        Returns:
            The runs that were ended.
        """
        self._end_unstarted_runs()
        return recover(self.store, self._data_dir)

    def cancel(self, run_id: str, *, wait: float = _CANCEL_WAIT) -> Run:
        """Cancel a run, wherever it runs.

        Args:
            run_id: The run.
            wait: Seconds to wait for its end at most.

        Returns:
            The run; still active when its process did not answer in time.

        Raises:
            NotFoundError: There is no such run.
            RefusedError: The run has ended already, or cannot be cancelled any more.
        """
        run = self.find_run(run_id)
        run_id = run.id
        if run.status not in RUN_ACTIVE:
            raise RefusedError(f"Run {run_id} has ended already: {run.status.value}.")
        if run.status is RunStatus.PENDING and self.store.end_run(run, RunStatus.CANCELLED, CANCELLED):
            # nobody has taken it up
            self._forget_prepared(run_id)
            run = self.store.run(run_id)
            self.broadcaster.publish(end_of(run))
            return run
        handle = self._handles.get(run_id)
        if handle is not None:
            handle.cancel()
            return handle.wait(wait)
        if run.uncut:
            raise not_cancelled(run_id, run.uncut)
        if self.store.request_cancel(run_id):
            run = self.store.run(run_id)
            self.broadcaster.publish(end_of(run))
            return run
        deadline = time.monotonic() + wait
        while (run := self.store.run(run_id)).status in RUN_ACTIVE and time.monotonic() < deadline:
            if run.uncut:
                # it came too late
                raise not_cancelled(run_id, run.uncut)
            time.sleep(0.2)
            self.recover()
        return run

    def watch(self, run_id: str | None = None) -> RunHandle | WatchedRun:
        """Follow a run, of this process or of another one; the newest active one when None.

        Raises:
            NotFoundError: There is no such run, or none is active.
        """
        found = [self.find_run(run_id)] if run_id else self.store.runs(limit=1, active=True)
        if not found:
            raise NotFoundError("No run is active.", "See those that have ended: slurmscale runs")
        run = found[0]
        return self._handles.get(run.id) or WatchedRun(self.store, run, self.recover)

    def prune(self, before: float) -> int:
        """Delete the records of runs that began before a time, in seconds since the epoch, and have ended.

        Returns:
            How many.
        """
        return self.store.delete_runs(before)

    # -- looking

    def find_run(self, text: str) -> Run:
        """Return the run of an id, of the beginning of one, or of the beginning of its last part.

        Raises:
            NotFoundError: There is none, or more than one.
        """
        found = self.store.runs_like(text)
        if len(found) == 1:
            return self.store.run(found[0])
        if found:
            more = ", ..." if len(found) > _MOST_NAMED else ""
            raise NotFoundError(f"{text} is the beginning of {', '.join(found[:_MOST_NAMED])}{more}.", "Write more.")
        return self.store.run(text)

    def status(self, clusters: Collection[str] | None = None) -> ScalingStatus:
        """Return the scaling status over the set window, of some clusters or of all."""
        self.recover()
        return self.read_status(clusters).status()

    def read_status(self, clusters: Collection[str] | None = None) -> StatusRecords:
        """Read what the status is made of, over the set window, of some clusters or of all."""
        config = self.settings
        return read_status(
            self.store,
            window=config.window_hours * 3600,
            recent=config.recent_operations,
            stalled_after=config.stalled_minutes * 60,
            clusters=clusters,
        )

    def read_stalled(self, clusters: Collection[str] | None = None) -> tuple[StalledTask, ...]:
        """Read which nodes in progress are without recent activity, of some clusters or of all."""
        return read_stalled(self.store, self.settings.stalled_minutes * 60, clusters=clusters)

    def runs(self, limit: int = 20, cluster: str | None = None) -> list[Run]:
        """Return the newest runs, of one cluster or of all."""
        return self.store.runs(limit=limit, cluster=cluster)

    def report(self, run_id: str) -> dict[str, Any] | None:
        """Return what the playbook of a run reported besides the result of each node; None when it did not."""
        return self.store.report(self.find_run(run_id).id)

    def tasks(self, run_id: str | None = None) -> list[Task]:
        """Return the tasks of a run, of the newest one when None."""
        return self.store.tasks(self.find_run(run_id).id if run_id else self._newest_run())

    def _newest_run(self) -> str:
        newest = self.store.runs(limit=1)
        if not newest:
            raise NotFoundError("There has been no run yet.", "Start one with slurmscale up.")
        return newest[0].id

    def log(self, node: str | None = None, run_id: str | None = None, *, after: int = 0) -> list[LogLine]:
        """Return the whole log of a node, or what belongs to no node of a run: the part of the controller.

        Args:
            node: The node; None for what belongs to none.
            run_id: The run; the newest one when None.
            after: Leave out lines up to this id.
        """
        return self.store.log(self.run_of_log(node, run_id).id, node, after=after)

    def run_of_log(self, node: str | None = None, run_id: str | None = None) -> Run:
        """Return the run that a log belongs to; parameters as in `log`."""
        if run_id is None:
            return self.store.run(self.store.latest_task(node).run_id if node else self._newest_run())
        run = self.find_run(run_id)
        if node is not None and node not in run.nodes:
            raise NotFoundError(f"Node {node} is not part of run {run.id}.", f"Its nodes: slurmscale tasks {run.id}")
        return run

    def subscribe(self, run_id: str | None = None) -> Subscription:
        """Receive notices of progress of the runs of this process."""
        return self.broadcaster.subscribe(run_id)

    # -- clusters

    def find_cluster(self, name: str | None) -> Cluster:
        """Return the cluster of a name, or make one of an inventory's path; see `clusters.find`."""
        return clusters.find(self.store, name or self.settings.inventory)

    def _cluster_with_login(self, name: str | None) -> Cluster:
        return self.logins.with_login(self.find_cluster(name))

    def add_cluster(self, cluster: Cluster) -> None:
        """Remember a cluster; see `clusters.add`."""
        clusters.add(self.store, cluster)
