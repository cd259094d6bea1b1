"""Follows a playbook that somebody else started: the callback slurm_record writes what happens to a stream."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import threading
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmscale.models import Failure

_END = None


class RecordedJob:
    """An ansible-playbook that another process started.

    Args:
        lines: What the callback writes, a JSON object a line: events as ansible-runner gives them, and the lines of the
            plan. It ends with the playbook.
        playbook_pid: Process id of ansible-playbook.
    """

    def __init__(self, lines: IO[str], playbook_pid: int) -> None:
        self._lines = lines
        self._playbook_pid = playbook_pid
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._plan: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.run_dir: Path | None = None
        # it must not be ended when this process is lost: who started it goes on without a record
        self.pid: int | None = None
        self.stopped: Failure | None = None
        self.error: Failure | None = None
        # at once, lest the playbook waits for its reader
        threading.Thread(target=self._read, name="recorded-events", daemon=True).start()

    def start(self) -> None:
        """Nothing has to be started."""

    def stream(self, tick: float) -> Iterator[dict[str, Any] | None]:
        """Yield the events as they come, and None after each `tick` seconds of silence."""
        while True:
            try:
                event = self._events.get(timeout=tick)
            except queue.Empty:
                yield None
                continue
            if event is _END:
                return
            yield event

    def plan_lines(self, wait: float = 0.0) -> list[dict[str, Any]]:
        """Return the new lines of the plan."""
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self._plan.get(timeout=wait) if wait else self._plan.get_nowait())
            while True:
                found.append(self._plan.get_nowait())
        return found

    def report(self) -> dict[str, Any]:
        """Return nothing: the report of the playbook belongs to who started it."""
        return {}

    def stop(self, reason: Failure, *, force: bool = False) -> None:
        """Ask ansible-playbook to end, as Ctrl-C does at its terminal."""
        self.stopped = self.stopped or reason
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._playbook_pid, signal.SIGKILL if force else signal.SIGINT)

    def close(self) -> None:
        """Nothing has to be cleaned up."""

    def _read(self) -> None:
        try:
            for line in self._lines:
                entry = json.loads(line)
                (self._events if "event" in entry else self._plan).put(entry)
        except ValueError:
            # half a line: ansible-playbook was killed
            pass
        finally:
            self._events.put(_END)
