"""Replays recorded events instead of running Ansible: for demos, tests and front ends."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from slurmscale.models import Failure


class FakeJob:
    """A job whose events are given.

    Args:
        events: Events as ansible-runner gives them, in order.
        plan: Lines of the plan.
        speed: 1 for the recorded speed, 10 for ten times as fast, None for as fast as possible.
    """

    def __init__(
        self, events: Iterable[dict[str, Any]], plan: Iterable[dict[str, Any]] = (), *, speed: float | None = None
    ) -> None:
        self._recorded = events
        self._plan = list(plan)
        self._speed = speed
        self._stop = threading.Event()
        self.run_dir: Path | None = None
        self.pid: int | None = None
        self.stopped: Failure | None = None
        self.error: Failure | None = None

    def start(self) -> None:
        """Nothing has to be started."""

    def stream(self, tick: float) -> Iterator[dict[str, Any] | None]:
        """Yield the recorded events, at the chosen speed."""
        previous: float | None = None
        for event in self._recorded:
            if self._speed:
                created = datetime.fromisoformat(event["created"]).timestamp()
                yield from self._pause((created - (previous or created)) / self._speed, tick)
                previous = created
            if self._stop.is_set():
                return
            yield event

    def plan_lines(self, wait: float = 0.0) -> list[dict[str, Any]]:  # noqa: ARG002 - the interface's parameter
        """Return the whole plan, once."""
        lines, self._plan = self._plan, []
        return lines

    def report(self) -> dict[str, Any]:
        """Return nothing: a replay has no report."""
        return {}

    def stop(self, reason: Failure, *, force: bool = False) -> None:  # noqa: ARG002 - the interface's parameter
        """End the replay."""
        self.stopped = self.stopped or reason
        self._stop.set()

    def close(self) -> None:
        """Nothing has to be cleaned up."""

    def _pause(self, seconds: float, tick: float) -> Iterator[None]:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._stop.is_set():
            self._stop.wait(min(left, tick))
            yield None
