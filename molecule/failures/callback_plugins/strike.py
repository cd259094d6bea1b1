# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Lets a fault happen at a known moment of a run."""

from __future__ import annotations

import os
import subprocess

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: strike
type: aggregate
short_description: Run a command when a task begins
description: The first time that the task named by STRIKE_TASK begins, the shell command STRIKE_COMMAND runs before it.
"""


class CallbackModule(CallbackBase):
    """Waits for the task; no task goes on while a callback runs."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "strike"

    def __init__(self) -> None:
        super().__init__()
        self.waiting = "STRIKE_TASK" in os.environ

    def v2_playbook_on_task_start(self, task, is_conditional) -> None:  # noqa: ANN001, ARG002 - ansible-core's signature
        # A task of a role is called "ROLE : TASK".
        if self.waiting and task.get_name().rpartition(" : ")[2] == os.environ["STRIKE_TASK"]:
            self.waiting = False
            subprocess.run(os.environ["STRIKE_COMMAND"], shell=True, check=True, timeout=60)  # noqa: S602 - a test's own
            self._display.display(f"STRUCK at {task.get_name()}")
