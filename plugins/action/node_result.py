# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action node_result: returns how a run ended for one node."""

from __future__ import annotations

from typing import Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.local_action import LocalAction
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import facts_of


class ActionModule(LocalAction):
    """Runs on the control machine and connects to nothing."""

    _VALID_ARGS = frozenset(("failure",))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return `ok`, or `failed` with the reason that was recorded for the node, on itself or with those of all."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        outcomes = facts_of("localhost", variables["hostvars"]).get("scale_outcomes") or {}
        own = outcomes.get(variables["inventory_hostname"]) or {}
        recorded = own.get("scale_failure") or self._task.args.get("failure")
        if recorded:
            failure = Failure(Code(recorded["code"]), recorded["reason"], recorded.get("remedy") or "")
            result |= {"failed": True, "msg": failure.message, "failure": failure.as_dict()}
        return result | {"changed": False}
