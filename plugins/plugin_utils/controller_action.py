# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Actions that run a module on the controller and report a lost connection as a failure with a reason."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.ssh_sudo_python_failure import contact_failure


class FailsWhenLost(ActionBase):
    """Runs the module of the task.

    Ansible rescues no unreachable host, and ends the whole run when a play loses its only one: nothing would be told of
    the nodes for which the controller was asked.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns; when the host is lost, `failed` with `failure`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            answer: dict[str, Any] = self._execute_module(task_vars=variables, wrap_async=bool(self._task.async_val))
        except AnsibleConnectionFailure as problem:
            host = str(self._task.delegate_to or variables["inventory_hostname"])
            lost = {"unreachable": True, "msg": str(problem)}
            failure = contact_failure(lost, host)
            return result | {"failed": True, "failure": failure, "msg": failure["reason"]}
        return result | answer
