"""Carries runs in threads of this process, some at a time; by itself it begins the runs that wait for any process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

import structlog

from slurmscale.errors import NoRoomError, RefusedError, RunLostError, SlurmscaleError, StoreUnavailableError
from slurmscale.periodic import PeriodicCall
from slurmscale.runs.recovery import give_up
from slurmscale.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmscale.models import Run
    from slurmscale.runs.handle import RunHandle
    from slurmscale.settings import Settings
    from slurmscale.store.repository import Store

_LOOK_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Runs(Protocol):
    """What an executor needs of the library's entry."""

    settings: Settings
    store: Store

    def execute(self, run_id: str) -> RunHandle:
        """Begin a run that waits."""

    def recover(self) -> list[Run]:
        """Give up or hand over runs whose process is gone."""


class Executor(Protocol):
    """Sees to it that runs are begun."""

    def submit(self, run_id: str) -> None:
        """Have a run begun that was just recorded."""

    def close(self, wait: float = 0.0) -> None:
        """Begin no more runs, and wait for the active ones."""


def look_after_runs(look: Callable[[], None]) -> PeriodicCall:
    """Begin to call what an executor does about runs now and then."""
    return PeriodicCall(look, _LOOK_SECONDS, "executor", "the waiting runs can not be looked at").start()


class Carrier:
    """Active runs of this process, a thread each.

    Args:
        scaling: The library's entry.
        max_runs: Runs in progress at the same time.
        per_cluster: Likewise of one cluster.
    """

    def __init__(self, scaling: Runs, max_runs: int, per_cluster: int) -> None:
        self._scaling = scaling
        self._max_runs = max_runs
        self._per_cluster = per_cluster
        self._changed = threading.Condition()
        self._queue: dict[str, Run] = {}
        self._later: dict[str, Run] = {}
        """Runs that could not be begun because the database was away."""
        self._at_work: dict[str, Run] = {}
        self._handles: dict[str, RunHandle] = {}
        self._closing = threading.Event()
        self._looking = look_after_runs(self._look)

    def submit(self, run_id: str) -> None:
        """Begin a run as soon as there is room for it, after those that were submitted before.

        Args:
            run_id: The run, or a shard of one by its key; it must wait.

        Raises:
            NotFoundError: There is no such run.
        """
        run = self._scaling.store.carried(run_id)
        with self._changed:
            if run_id not in self._at_work:
                self._queue.setdefault(run_id, run)
                self._begin()

    def close(self, wait: float = 0.0) -> None:
        """Begin no more runs, wait for the active ones, then stop them and leave them to another process.

        A run that must not be cut is waited for to its end.

        Args:
            wait: Seconds to wait at most.
        """
        self._closing.set()
        deadline = time.monotonic() + wait
        with self._changed:
            waiting = [*self._queue.values(), *self._later.values()]
            self._queue.clear()
            self._later.clear()
            self._changed.wait_for(lambda: not self._at_work, wait)
        self._looking.close()
        for run in waiting:
            self._give_up(run)
        left: set[str] = set()
        with self._changed:
            while self._at_work:
                for run_id in self._handles.keys() - left:
                    threading.Thread(target=self._leave, args=[self._handles[run_id]], daemon=True).start()
                    left.add(run_id)
                # woken by each end, and by a run that was just about to begin
                self._changed.wait(max(1.0, deadline - time.monotonic()))

    # -- with the condition held

    def _begin(self) -> None:
        """Begin what there is room for."""
        while not self._closing.is_set() and (run := self._next()) is not None:
            del self._queue[run.key]
            self._at_work[run.key] = run
            threading.Thread(target=self._carry, args=[run], name=f"carry-{run.key}", daemon=True).start()

    def _next(self) -> Run | None:
        if len(self._at_work) >= self._max_runs:
            return None
        busy = [run.cluster for run in self._at_work.values()]
        return next((run for run in self._queue.values() if busy.count(run.cluster) < self._per_cluster), None)

    # -- in threads of their own

    def _carry(self, run: Run) -> None:
        later = False
        try:
            handle = self._scaling.execute(run.key)
            with self._changed:
                self._handles[run.key] = handle
                self._changed.notify_all()
            handle.wait()
        except StoreUnavailableError as exc:
            later = True
            log.warning("a run could not be begun yet", run=run.key, error=exc.reason)
        except NoRoomError:
            self._no_room(run)
        except RefusedError as exc:
            # cancelled or taken by another process meanwhile; or it can't be begun, and its record says why
            log.info("a run was not begun", run=run.key, reason=exc.reason)
        except SlurmscaleError as exc:
            log.warning("a run could not be carried to its end", run=run.key, error=exc.reason)
        except Exception:
            log.exception("a run could not be carried", run=run.key)
        finally:
            with self._changed:
                del self._at_work[run.key]
                self._handles.pop(run.key, None)
                if later and not self._closing.is_set():
                    self._later[run.key] = run
                self._begin()
                self._changed.notify_all()

    def _leave(self, handle: RunHandle) -> None:
        try:
            handle.leave()
        except RefusedError as exc:
            log.warning("the end of a run is waited for", run=handle.id, reason=exc.reason)

    def _look(self) -> None:
        self._scaling.recover()
        with self._changed:
            queued = list(self._queue.values())
        for run in queued:
            self._show_life(run)
        waiting = self._waiting()
        with self._changed:
            self._queue = self._later | self._queue
            self._later = {}
            for run in waiting:
                if run.key not in self._at_work:
                    self._queue.setdefault(run.key, run)
            self._begin()

    def _waiting(self) -> list[Run]:
        """Return runs that wait for any process and are to be begun here."""
        return []

    def _no_room(self, run: Run) -> None:
        """Do what is to be done about a run that must wait for others of its cluster."""

    def _show_life(self, run: Run) -> None:
        """Renew the lease of a run that was requested here."""
        if not run.owner_id:
            return
        try:
            self._scaling.store.record(run)
        except RunLostError:
            with self._changed:
                self._queue.pop(run.key, None)

    def _give_up(self, run: Run) -> None:
        if not run.owner_id:
            return
        try:
            if self._scaling.store.carried(run.key).status is RunStatus.PENDING:
                give_up(self._scaling.store, run, "")
        except SlurmscaleError as exc:
            log.warning("a waiting run could not be handed over", run=run.key, error=exc.reason)


class LocalExecutor(Carrier):
    """Begins the runs that wait, in this process.

    Args:
        scaling: The library's entry.
        max_runs: Runs in progress at the same time; the setting when None.
    """

    def __init__(self, scaling: Runs, max_runs: int | None = None) -> None:
        super().__init__(scaling, max_runs or scaling.settings.max_runs, scaling.settings.max_runs_per_cluster)

    def _waiting(self) -> list[Run]:
        return self._scaling.store.waiting_runs()
