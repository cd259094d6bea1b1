# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action slurm_node_files: puts together what several roles want, and runs the module."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import node_files


class ActionModule(ActionBase):
    """Runs the module with `parts` in its own options.

    Stated one by one, Ansible would compute all parts again for each option.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        parts = arguments.pop("parts", None)
        if parts is not None:
            arguments = node_files([arguments, *parts])
        answer: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars or {})
        return result | answer
