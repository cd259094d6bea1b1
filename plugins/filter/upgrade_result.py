# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter upgrade_result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: upgrade_result
short_description: Return the result of the upgrade of a node
version_added: "0.1.0"
description:
  - For a node that has the new version. One that somebody else drained stays drained and runs no test job.
options:
  _input:
    description: What P(ai_infra.slurm.upgrade_plan#filter) returned before the upgrade.
    type: dict
    required: true
  held:
    description: The reason of somebody else's drain; empty when the node was resumed.
    type: str
    default: ""
  available:
    description: What M(ai_infra.slurm.slurm_drain) returned for the node when it was resumed.
    type: dict
    default: {}
  job:
    description: What M(ai_infra.slurm.slurm_job) returned for the node; empty when no job was submitted.
    type: dict
    default: {}
"""
EXAMPLES = r"""
- name: Show how the upgrade ended
  ansible.builtin.debug:
    msg: "{{ plan | ai_infra.slurm.upgrade_result(available=available.nodes['node07'], job=jobs.jobs['node07']) }}"
"""
RETURN = r"""
_value:
  description: The keys message, and failure (code, reason and remedy, or nothing).
  type: dict
"""


def upgrade_result(
    plan: Mapping[str, Any],
    held: str = "",
    available: Mapping[str, Any] | None = None,
    job: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the message and the failure of a node that has the new version."""
    versions = f"{', '.join(dict.fromkeys(plan['before'].values()))} -> {plan['version']}"
    if held:
        return {"message": f"{versions}, stays drained: {held}", "failure": None}
    result = job or available or {"ok": False, "message": "The controller did not answer."}
    if result["ok"]:
        return {"message": f"{versions}, {result['message']}", "failure": None}
    reported = result.get("failure") or {}
    code = Code(reported.get("code", Code.NODE_NOT_VERIFIED))
    reason = f"{reported.get('reason', result['message'])} It has the new version and is drained."
    failure = Failure(code, reason, reported.get("remedy") or "Correct the node, then run again.")
    return {"message": versions, "failure": failure.as_dict()}


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"upgrade_result": upgrade_result}
