"""A run of another process, followed through the database."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Self

from slurmscale.models import Notice, TaskChange
from slurmscale.runs.handle import not_cancelled
from slurmscale.states import RUN_ACTIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmscale.models import Counts, Run, Task
    from slurmscale.store.repository import Store

_POLL = 1.0


class WatchedRun:
    """What `RunHandle` is to the process that started a run.

    Args:
        store: Where it is recorded.
        run: The run.
        recover: Ends runs whose process is gone.
    """

    def __init__(self, store: Store, run: Run, recover: Callable[[], object]) -> None:
        self.id = run.id
        self.nodes = run.nodes
        self.run = run
        self._store = store
        self._recover = recover
        self._known: dict[str, TaskChange] = {}

    @property
    def uncut(self) -> str:
        """How it ends, when it can't be cancelled any more; empty while it can."""
        return self.run.uncut

    @property
    def finished(self) -> bool:
        """Whether the run had ended when it was looked at last."""
        return self.run.status not in RUN_ACTIVE

    def subscribe(self) -> Self:
        """Return itself: a stream of notices."""
        return self

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to close."""

    def get(self, timeout: float = _POLL) -> Notice | None:
        """Wait, then return what changed since the last call; None when nothing did."""
        time.sleep(max(timeout, _POLL))
        self._refresh()
        changes = self.changes()
        changed = tuple(change for change in changes if self._known.get(change.node) != change)
        self._known = {change.node: change for change in changes}
        if not changed and not self.finished:
            return None
        return Notice(self.id, self.run.status, self.run.counts, changed, None, self.run.error)

    def changes(self) -> list[TaskChange]:
        """Return how each node stands."""
        names = [field.name for field in dataclasses.fields(TaskChange)]
        return [TaskChange(**{name: getattr(task, name) for name in names}) for task in self.tasks()]

    def counts(self) -> Counts:
        """Say how the run's tasks stand."""
        return self.run.counts

    def tasks(self) -> list[Task]:
        """Return the run's tasks as they are recorded."""
        return self._store.tasks(self.id)

    def cancel(self, *, force: bool = False) -> None:  # noqa: ARG002 - the other process decides how it ends
        """Ask the process that owns the run to cancel it; returns when it has ended.

        Raises:
            RefusedError: The run cannot be cancelled any more.
        """
        self._refresh()
        if not self.uncut:
            self._store.request_cancel(self.id)
        while not self.finished:
            if self.uncut:
                raise not_cancelled(self.id, self.uncut)
            time.sleep(_POLL)
            self._refresh()

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end; see `RunHandle.wait`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._refresh()
        while not self.finished and (deadline is None or time.monotonic() < deadline):
            time.sleep(_POLL)
            self._refresh()
        return self.run

    def _refresh(self) -> None:
        self._recover()
        self.run = self._store.run(self.id)
