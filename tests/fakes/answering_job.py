"""A playbook on a controller that answers as it is told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from slurmscale.runner.fake import FakeJob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.models import Failure

_TASK = {"play": "Ask", "play_uuid": "play", "task": "Ask the controller", "task_uuid": "task", "task_action": "ask"}


class AnsweringJob(FakeJob):
    """A replay of one play with one task.

    Args:
        report: What the playbook reports; empty when it comes to none.
        host: Name of the controller.
        failure: Why the task fails there, with code, reason and remedy; None when it does not.
        endless: The task goes on until the job is stopped.
    """

    def __init__(
        self,
        report: dict[str, Any],
        host: str = "ctl",
        failure: dict[str, str] | None = None,
        *,
        endless: bool = False,
    ) -> None:
        super().__init__(self._events(host, failure))
        self._report = report
        self._endless = endless
        self._stopped = threading.Event()

    def report(self) -> dict[str, Any]:
        """Return what it was told."""
        return self._report

    def stop(self, reason: Failure, *, force: bool = False) -> None:
        """End the replay, also the endless task."""
        super().stop(reason, force=force)
        self._stopped.set()

    def _events(self, host: str, failure: dict[str, str] | None) -> Iterator[dict[str, Any]]:
        failed = bool(failure) or not self._report
        why = failure or {"code": "task-failed", "reason": "It gave no answer.", "remedy": ""}
        res = {"failure": why, "msg": why["reason"]} if failed else {"changed": False}
        raw = (
            ("playbook_on_start", {}),
            ("playbook_on_play_start", {"play": "Ask", "name": "Ask", "play_uuid": "play"}),
            ("playbook_on_task_start", {**_TASK, "name": _TASK["task"]}),
            ("runner_on_start", {**_TASK, "host": host}),
            ("runner_on_failed" if failed else "runner_on_ok", {**_TASK, "host": host, "res": res}),
            ("playbook_on_stats", {"ok": {} if failed else {host: 1}, "failures": {host: 1} if failed else {}}),
        )
        for counter, (kind, data) in enumerate(raw, 1):
            if kind in {"runner_on_failed", "runner_on_ok"}:
                while self._endless and not self._stopped.wait(0.02):
                    yield None  # type: ignore[misc] # a tick, in which nothing happens
            yield {
                "event": kind, "event_data": data, "counter": counter, "uuid": str(counter),
                "created": "2026-01-01T00:00:00+00:00", "stdout": f"{kind} {data.get('host', '')}",
            }  # fmt: skip
