"""Carries a run's events to the tracker, the store and the subscribers.

It knows no Ansible process: live events and replayed ones take the same way.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from slurmscale.models import Counts, Failure, LogLine, Notice
from slurmscale.progress.events import Event, Kind, Outcome, parse, readable, shortened, warnings_of
from slurmscale.progress.task_weights import is_bookkeeping
from slurmscale.states import RUN_ACTIVE, RunStatus
from slurmscale.store.tables import error_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slurmscale.progress.tracker import Tracker
    from slurmscale.runs.broadcast import Broadcaster
    from slurmscale.store.writer import Writer

_LINES_PER_FLUSH = 2_000
_FLUSH_SECONDS = 0.05
_TICK_SECONDS = 0.5
_TAIL = 30
_MOST_WARNINGS = 50
_BORING = frozenset({"playbook_on_start", "runner_on_start", "runner_on_async_poll"})


class EventPipeline:
    """Records one run.

    Args:
        run_id: The run.
        tracker: Its progress.
        writer: Takes it to the store.
        broadcaster: Takes it to the subscribers.
        redact: Masks the run's secrets in a text.
        part: It is a shard of the run, whose end is not the run's.
        warnings: Of earlier attempts.
    """

    def __init__(  # noqa: PLR0913 - the way that events take, part by part
        self,
        run_id: str,
        tracker: Tracker,
        writer: Writer,
        broadcaster: Broadcaster,
        redact: Callable[[str], str] = str,
        *,
        part: bool = False,
        warnings: Iterable[str] = (),
    ) -> None:
        self.tracker = tracker
        self._run_id = run_id
        self._writer = writer
        self._broadcaster = broadcaster
        self._redact = redact
        self._part = part
        self._lines: list[LogLine] = []
        self._counts = Counts()
        self._flushed = 0.0
        self._ticked = 0.0
        self._tail: list[str] = []
        self._warnings = list(warnings)
        self.has_stats = False
        self.plays: set[str] = set()
        """Names of the plays that have begun."""
        self.contacts: dict[str, float] = {}
        """Seconds until each host had answered the first module that was run on it, or could not be reached."""

    @property
    def tail(self) -> str:
        """What ansible-playbook said last outside of any host: its complaint when it could not start."""
        return "\n".join(self._tail)

    def event(self, raw: dict[str, Any]) -> None:
        """Take one raw event."""
        event = parse(raw, time.time())
        self.tracker.handle(event)
        self.has_stats |= event.kind is Kind.STATS
        if event.kind is Kind.PLAY_START:
            self.plays.add(event.play)
        if event.kind is Kind.RESULT and event.host not in (None, "localhost") and event.host not in self.contacts:
            self._note_contact(event)
        if event.text and event.name not in _BORING:
            self._log(event)
        self._note_warnings(event)
        if len(self._lines) >= _LINES_PER_FLUSH or event.time - self._flushed > _FLUSH_SECONDS:
            self.flush(event.time)

    def _masked(self, value: Any) -> Any:
        """Return data for programs with the run's secrets masked."""
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, dict):
            return {key: self._masked(item) for key, item in value.items()}
        return [self._masked(item) for item in value] if isinstance(value, list) else value

    def flush(self, now: float) -> None:
        """Hand over what changed since the last time."""
        self._flushed = now
        changes = self.tracker.take_changes()
        if not changes and not self._lines:
            return
        counts = self.tracker.counts()
        status_changed = (counts.active, counts.success) != (self._counts.active, self._counts.success)
        self._counts = counts
        left = self.tracker.remaining
        remaining = None if left is None else round(left)
        self._writer.put(changes, self._lines, counts, urgent=status_changed, remaining=remaining)
        self._lines = []
        self._publish(RunStatus.RUNNING, changes)

    def tick(self, now: float) -> None:
        """Hand over what came last, and now and then let the clock move the nodes; called many times a second."""
        if not 0 <= now - self._ticked < _TICK_SECONDS:
            self._ticked = now
            self.tracker.tick(now)
        self.flush(now)

    def finish(
        self, status: RunStatus, error: Failure | None, now: float, report: dict[str, Any] | None = None
    ) -> Failure | None:
        """Record how the run ended, and what its playbook reported, at once; nothing may follow.

        Returns:
            The error as it was recorded, with secrets masked.
        """
        changes = self.tracker.take_changes()
        if error is not None:
            error = Failure(error.code, self._redact(error.reason), self._redact(error.remedy))
        self._counts = self.tracker.counts()
        ended = {"status": status, "completed_at": now, "remaining": None, **error_columns(error)}
        told = self._masked(report) if report else None
        self._writer.put(changes, self._lines, self._counts, urgent=True, report=told, **ended)
        self._lines = []
        if not self._part:
            self._publish(status, changes, error)
        return error

    def _note_contact(self, event: Event) -> None:
        seconds = event.data.get("duration")
        reached = event.outcome is not Outcome.SKIPPED and not is_bookkeeping(event.action)
        # what is delegated is another host's
        if reached and isinstance(seconds, int | float) and "_ansible_delegated_vars" not in event.res:
            self.contacts[str(event.host)] = float(seconds)

    def _note_warnings(self, event: Event) -> None:
        told = [shortened(self._redact(text)) for text in warnings_of(event)]
        new = [text for text in dict.fromkeys(told) if text not in self._warnings]
        if new and len(self._warnings) < _MOST_WARNINGS:
            self._warnings = [*self._warnings, *new][:_MOST_WARNINGS]
            self._writer.put(warnings=self._warnings)

    def _publish(self, status: RunStatus, changes: list[Any], error: Failure | None = None) -> None:
        remaining = self.tracker.remaining if status in RUN_ACTIVE else None
        self._broadcaster.publish(Notice(self._run_id, status, self._counts, tuple(changes), remaining, error))

    def _log(self, event: Event) -> None:
        text = shortened(self._redact(readable(event.text)))
        host = event.host if event.host in self.tracker.nodes else None
        if event.kind is Kind.OUTPUT or (event.outcome in (Outcome.FAILED, Outcome.UNREACHABLE) and host is None):
            self._tail = [*self._tail[1 - _TAIL :], text]
        self._lines.append(
            LogLine(
                node=host,
                counter=event.counter,
                created_at=event.time,
                event=event.name,
                task=event.full_name,
                text=text,
            )
        )
