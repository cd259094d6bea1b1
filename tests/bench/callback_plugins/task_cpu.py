# Copyright the slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Says which task the control machine's CPU goes to."""

from __future__ import annotations

DOCUMENTATION = r"""
name: task_cpu
type: aggregate
short_description: Measure the CPU time that tasks cost the control machine
description:
  - Does nothing unless TASK_CPU_FILE names a file. It gets one JSON object per line - for each worker process what it
    and the ssh that it ran have used, and for each task what the main process used until the next task started.
"""

import json
import os
import resource
import time
from typing import Any

from ansible.executor.process.worker import WorkerProcess
from ansible.plugins.callback import CallbackBase


def used(*whose: int) -> float:
    """Return CPU seconds of this process, of its children, or of both."""
    usages = [resource.getrusage(one) for one in whose]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def label(task: Any) -> str:
    """Return the task as the log names it."""
    return str(task.get_name())


class CallbackModule(CallbackBase):
    """Wraps the workers, which know best what they have used, and reads the clock of the main process."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_cpu"

    def __init__(self) -> None:
        super().__init__()
        path = os.environ.get("TASK_CPU_FILE")
        self.disabled = not path
        if path:
            self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            self.current, self.since, self.at = "(start of ansible-playbook)", 0.0, time.monotonic()
            self._wrap_workers()

    def write(self, **line: Any) -> None:
        """Append a line; small ones are written as a whole, also by many processes."""
        os.write(self.file, json.dumps(line).encode() + b"\n")

    def _wrap_workers(self) -> None:
        run, write = WorkerProcess._run, self.write

        def measured(worker: WorkerProcess) -> None:
            try:
                run(worker)
            finally:
                write(
                    task=label(worker._task), host=worker._host.get_name(), own=used(resource.RUSAGE_SELF),
                    ssh=used(resource.RUSAGE_CHILDREN),
                )  # fmt: skip

        WorkerProcess._run = measured

    def _next(self, name: str) -> None:
        cpu, now = used(resource.RUSAGE_SELF), time.monotonic()
        self.write(task=self.current, main=cpu - self.since, seconds=now - self.at)
        self.current, self.since, self.at = name, cpu, now

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Begin to count for the play."""
        self._next(f"(start of the play {play.get_name()})")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002, FBT001 - Ansible's
        """Begin to count for the task; with the strategy free it starts once per host."""
        self._next(label(task))

    v2_playbook_on_handler_task_start = v2_playbook_on_cleanup_task_start = v2_playbook_on_play_start

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002 - Ansible's
        """Write the last task."""
        self._next("(end)")
