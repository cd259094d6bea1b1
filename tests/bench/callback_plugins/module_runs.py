# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Counts module runs per host, delegated ones for the host they run on."""

from __future__ import annotations

DOCUMENTATION = r"""
name: module_runs
type: aggregate
short_description: Count module runs per host
description: Writes a JSON object of host and number of module runs to the file named by MODULE_RUNS_FILE.
"""

import json
import os
from collections import Counter
from pathlib import Path

from ansible.plugins.callback import CallbackBase

# What runs on the control machine alone; everything else runs a module on the host.
LOCAL = {
    "add_host", "apphub_select", "assert", "debug", "fail", "group_by", "include_role", "include_tasks", "include_vars",
    "import_role", "import_tasks", "meta", "node_plan", "node_result", "pause", "require", "set_fact", "set_stats",
    "validate_argument_spec", "validate_variables",
}  # fmt: skip
# These look at the file first: two module runs when they change it.
TWICE = {"copy", "template"}


class CallbackModule(CallbackBase):
    """Counts every result of a task that ran a module."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "module_runs"

    def __init__(self) -> None:
        super().__init__()
        self.runs: Counter[str] = Counter()
        self.tasks: dict[str, list[str]] = {}

    def _count(self, result) -> None:
        task = result._task
        action = task.action.rsplit(".", 1)[-1]
        if action in LOCAL:
            return
        host = task.delegate_to or result._host.get_name()
        # Package modules have results of their own; only those of a loop are one module run each.
        items = result._result["results"] if task.loop else [result._result]
        done = sum(not item.get("skipped") for item in items)
        self.runs[host] += done * (2 if action in TWICE and result._result.get("changed") else 1)
        self.tasks.setdefault(host, []).append(task.get_name())

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = _count

    def v2_playbook_on_stats(self, stats) -> None:  # noqa: ARG002 - the same
        Path(os.environ["MODULE_RUNS_FILE"]).write_text(json.dumps({"runs": self.runs, "tasks": self.tasks}))
