# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action node_result: how a run ended for one node."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.ai_infra.slurm.plugins.module_utils.reasons import Code, Failure


class ActionModule(ActionBase):
    """Runs on the control machine and connects to nothing."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("failure",))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return `ok`, or `failed` with the reason that was recorded for the node."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        recorded = self._task.args.get("failure")
        if recorded:
            failure = Failure(Code(recorded["code"]), recorded["reason"], recorded.get("remedy") or "")
            result |= {"failed": True, "msg": failure.message, "failure": failure.as_dict()}
        return result | {"changed": False}
