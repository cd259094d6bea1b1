# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""How a run ended for a node, from what its plays recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.reasons import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import node_changed

if TYPE_CHECKING:
    from collections.abc import Mapping

LOST = Failure(
    Code.HOST_UNREACHABLE, "The connection was lost before the node was done.", "Run again when the node answers."
)


def outcome(
    facts: Mapping[str, Any], controller: Mapping[str, Any], stage: str = "", journal: str = ""
) -> dict[str, Any]:
    """Return how a node ended that nothing failed on so far.

    Args:
        facts: The variables of the node.
        controller: The variables of its controller, with what waiting for the nodes and their jobs returned.
        stage: What is told of the node in a playbook that does not verify it; empty when it was verified.
        journal: The last lines of slurmd's journal.

    Returns:
        proof (what is told of a node that is ready for use) or failure, the other one None, and changed.
    """
    name = facts["slurmd_definition"]["name"]
    changed = node_changed(facts) or _registered(name, controller)
    found = {"ok": True, "message": stage} if stage else _verified(name, controller)
    if found["ok"]:
        return {"proof": found, "failure": None, "changed": changed}
    reported = found.get("failure") or {}
    failure = {
        "code": reported.get("code") or Code.NODE_NOT_VERIFIED.value,
        "reason": reported.get("reason") or found["message"],
        "remedy": reported.get("remedy") or "",
    }
    if journal:
        failure["reason"] += f" The last lines of slurmd's journal: {journal}"
    return {"proof": None, "failure": failure, "changed": changed}


def _registered(name: str, controller: Mapping[str, Any]) -> bool:
    result = controller.get("slurmctld_reconfigure_result") or {}
    return bool(controller.get("slurmctld_reconfigure_changed")) and name in [
        *(result.get("added") or []),
        *(result.get("updated") or []),
    ]


def _verified(name: str, controller: Mapping[str, Any]) -> Mapping[str, Any]:
    for registered, key in (("scale_jobs", "jobs"), ("scale_available", "nodes")):
        found: Mapping[str, Any] | None = ((controller.get(registered) or {}).get(key) or {}).get(name)
        if found:
            return found
    problem = controller.get("scale_verify_failure")
    return {"ok": False, "message": "The controller did not get as far as this node.", "failure": problem}
