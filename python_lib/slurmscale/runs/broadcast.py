"""Progress is pushed to whoever watches: in-process subscribers, each with a queue of its own.

The terminal uses it, services put a WebSocket behind it. A subscriber that does not keep up is never waited for: its
oldest notices are merged into the next, so it sees fewer steps but the same end.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from slurmscale.models import Notice, TaskChange
from slurmscale.states import RUN_ACTIVE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from slurmscale.models import Run


def end_of(run: Run) -> Notice:
    """Return the notice of the end of a run, as it is recorded."""
    return Notice(run.id, run.status, run.counts, error=run.error)


class Subscription:
    """A stream of notices, of one run or of all; iterate over it or call `get`."""

    def __init__(self, broadcaster: Broadcaster, run_id: str | None) -> None:
        self._broadcaster = broadcaster
        self.run_id = run_id
        self._pending: dict[str, Notice] = {}
        self._ready = threading.Condition()
        self._closed = False

    def put(self, notice: Notice) -> None:
        """Take a notice; one of the same run that was not fetched yet is merged into it."""
        with self._ready:
            waiting = self._pending.get(notice.run_id)
            self._pending[notice.run_id] = _merge(waiting, notice) if waiting else notice
            self._ready.notify()

    def get(self, timeout: float | None = None) -> Notice | None:
        """Wait for the next notice; None when the time is over or the subscription is closed."""
        with self._ready:
            self._ready.wait_for(lambda: self._pending or self._closed, timeout)
            if not self._pending:
                return None
            return self._pending.pop(next(iter(self._pending)))

    def close(self) -> None:
        """Stop receiving."""
        self._broadcaster.unsubscribe(self)
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def __iter__(self) -> Iterator[Notice]:
        """Yield notices until the run has ended, or for ever when subscribed to all."""
        while (notice := self.get()) is not None:
            yield notice
            if self.run_id is not None and notice.status not in RUN_ACTIVE:
                return

    def __enter__(self) -> Self:
        """Return the subscription; it is closed when the block is left."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop receiving."""
        self.close()


class Broadcaster:
    """Passes notices on to all subscriptions; safe from any thread."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._lock = threading.Lock()

    def subscribe(self, run_id: str | None = None) -> Subscription:
        """Receive the notices of one run, or of all."""
        subscription = Subscription(self, run_id)
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        with self._lock:
            self._subscriptions = [known for known in self._subscriptions if known is not subscription]

    def publish(self, notice: Notice) -> None:
        """Hand a notice to everybody who asked for it; never blocks."""
        with self._lock:
            receivers = [known for known in self._subscriptions if known.run_id in (None, notice.run_id)]
        for receiver in receivers:
            receiver.put(notice)


def _merge(older: Notice, newer: Notice) -> Notice:
    tasks: dict[str, TaskChange] = {change.node: change for change in older.tasks}
    tasks.update((change.node, change) for change in newer.tasks)
    return replace(newer, tasks=tuple(tasks.values()))
