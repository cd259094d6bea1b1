# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action require: fails with a code, a reason and a remedy."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.failures import failed
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.local_action import LocalAction


class ActionModule(LocalAction):
    """Runs on the control machine and connects to nothing."""

    _VALID_ARGS = frozenset(("that", "code", "reason", "remedy", "findings"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return `failed` with `failure` and `failures` when something required does not hold."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        failures = [self._failure(found) for found in self._task.args.get("findings") or [] if found]
        if not boolean(self._task.args.get("that", True)):
            failures.insert(0, self._failure(self._task.args))
        return result | failed(failures) | {"changed": False}

    def _failure(self, found: Any) -> Failure:
        try:
            return Failure(Code(found["code"]), str(found["reason"]).strip(), str(found.get("remedy") or "").strip())
        except (KeyError, TypeError, ValueError) as problem:
            raise AnsibleActionFail(
                f"require needs a known code and a reason, and got {found!r}: {problem}"
            ) from problem
