# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""How a run ended for its nodes, from what its plays recorded on them and on their controller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import node_changed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LOST = Failure(
    Code.HOST_UNREACHABLE, "The connection was lost before the node was done.", "Run again when the node answers."
)


def facts_of(host: str, hostvars: Any) -> Mapping[str, Any]:
    """Return what was recorded of a host as it is, nothing of an unknown one.

    Facts hold no templates, and reading them through one is slow.
    """
    if host not in hostvars:
        return {}
    known: Mapping[str, Any] = hostvars.raw_get(host) if hasattr(hostvars, "raw_get") else hostvars[host]
    return known


def machine_of(facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what was measured of a machine, None when it was not asked or did not answer."""
    found: Mapping[str, Any] = facts.get("preflight_node") or {}
    return found if "os" in found else None


def failure_of(host: str, facts: Mapping[str, Any], controller: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return why a node leaves the run, None as long as nothing failed on it.

    Args:
        host: The node in the inventory.
        facts: Its variables.
        controller: The variables of its controller.
    """
    name = ((facts.get("slurmd_plan") or {}).get("definition") or {}).get("name")
    # When registering was planned, and when it was done.
    results = [controller.get(key) or {} for key in ("scale_registration", "slurmctld_reconfigure_result")]
    refused = next((result["refused"][name] for result in results if name in (result.get("refused") or {})), None)
    # Only nodes that are to be worked on are planned with the controller.
    planned = controller.get("scale_plan_failure") if (facts.get("slurmd_plan") or {}).get("steps") else None
    lost = LOST.as_dict() if (facts.get("slurmd_service") or {}).get("unreachable") else None
    own = facts.get("scale_failure") or lost or refused or planned or controller.get("scale_register_failure")
    credential = (controller.get("scale_credentials") or {}).get(host) or {}
    return own or credential.get("failure")


def continuing(hosts: Iterable[str], hostvars: Any, controller: str) -> list[dict[str, Any]]:
    """Return the nodes that nothing failed on so far; one without a plan never came as far.

    Returns:
        Of each host, definition (as slurm_nodes takes it), dynamic (whether slurmd registers it), steps (of its plan)
        and started (whether this run started its slurmd).
    """
    known = facts_of(controller, hostvars)
    found = []
    for host in hosts:
        facts = facts_of(host, hostvars)
        if "slurmd_plan" in facts and not failure_of(host, facts, known):
            found.append(
                {
                    "host": host,
                    "definition": facts["slurmd_plan"]["definition"],
                    "dynamic": bool(facts["slurmd_plan"].get("dynamic")),
                    "steps": facts["slurmd_plan"].get("steps") or [],
                    "started": bool((facts.get("slurmd_service") or {}).get("changed")),
                }
            )
    return found


def outcomes(
    hosts: Iterable[str], hostvars: Any, controller: str, *, stage: str = "", ended: float = 0, check_mode: bool = False
) -> dict[str, dict[str, Any]]:
    """Return how the run ended for each of the nodes that were to become, or to stay, nodes of the cluster.

    Args:
        hosts: The nodes in the inventory.
        hostvars: The variables of all hosts.
        controller: The controller in the inventory.
        stage: The message for a node in a playbook that does not verify it; empty when it was verified.
        ended: When the last step of the run ended, in seconds since 1970.
        check_mode: No node was verified.

    Returns:
        By host the variables scale_success (what is told of a node that is ready for use), scale_failure (code, reason
        and remedy; one of both is None), scale_changed, scale_ended and scale_unverified (it should have been verified,
        and was not).
    """
    known = facts_of(controller, hostvars)
    return {host: _outcome(host, facts_of(host, hostvars), known, stage, ended, check_mode) for host in hosts}


def _outcome(  # noqa: PLR0917 - passed on
    host: str,
    facts: Mapping[str, Any],
    controller: Mapping[str, Any],
    stage: str,
    ended: float,
    check_mode: bool,  # noqa: FBT001 - passed on
) -> dict[str, Any]:
    failure = failure_of(host, facts, controller)
    if failure or check_mode:
        return {
            "scale_success": None,
            "scale_failure": failure,
            "scale_ended": facts.get("scale_ended", ended),
            "scale_unverified": False,
        }
    name = facts["slurmd_plan"]["definition"]["name"]
    found: Mapping[str, Any] = {"ok": True, "message": stage} if stage else _verified(name, controller)
    changed = node_changed(facts) or _registered(name, controller)
    result = {"scale_success": found, "scale_failure": None, "scale_changed": changed, "scale_ended": ended}
    if found["ok"]:
        return {**result, "scale_unverified": False}
    reported = found.get("failure") or {}
    reason = reported.get("reason") or found["message"]
    journal = (facts.get("scale_journal") or {}).get("stdout")
    if journal:
        reason += f"\nThe last lines of slurmd's journal:\n{journal}"
    code, remedy = reported.get("code") or Code.NODE_NOT_VERIFIED.value, reported.get("remedy") or ""
    failure = {"code": code, "reason": reason, "remedy": remedy}
    return {**result, "scale_success": None, "scale_failure": failure, "scale_unverified": True}


def _registered(name: str, controller: Mapping[str, Any]) -> bool:
    result = controller.get("slurmctld_reconfigure_result") or {}
    return bool(controller.get("slurmctld_reconfigure_changed")) and name in [
        *(result.get("added") or []),
        *(result.get("updated") or []),
    ]


def _verified(name: str, controller: Mapping[str, Any]) -> Mapping[str, Any]:
    problem = controller.get("scale_verify_failure")
    for registered, key in (("scale_jobs", "jobs"), ("scale_available", "nodes")):
        found: Mapping[str, Any] | None = ((controller.get(registered) or {}).get(key) or {}).get(name)
        # That it became available is not enough when its job was never run.
        if found and not (problem and registered == "scale_available" and found["ok"]):
            return found
    return {"ok": False, "message": "The controller did not get as far as this node.", "failure": problem}
