# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter readiness_report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness_checks import entry
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.tables import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
name: readiness_report
short_description: Sums up which machines are ready to become compute nodes
version_added: "0.1.0"
description:
  - Reads the facts that a check left on each machine. One that could not be looked at is not ready, with the reason.
options:
  _input:
    description: Names of the machines.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars).
    type: dict
    required: true
  common:
    description: Checks that concern all machines, such as those of the controller.
    type: list
    elements: dict
    default: []
"""
EXAMPLES = r"""
- name: Print the table
  ansible.builtin.debug:
    msg: "{{ (['node07'] | ai_infra.slurm.readiness_report(hostvars)).table }}"
"""
RETURN = r"""
_value:
  description: >-
    ready (whether all are), nodes (by name ready, reason and remedy of the first thing that is not well, checks, and
    system, slurm, python, cpus, memory_mb, free_mb as found) and table (text).
  type: dict
"""

# What Ansible says when it can't become root or finds no Python; everything else is a matter of the connection.
CAUSES = (
    (
        ("sudo", "become", "privilege", "su:"),
        "privileges",
        "uid 0",
        "Set ansible_become_password or allow the user to become root without one (sudo -l shows it).",
    ),
    (
        ("interpreter", "python"),
        "Python",
        "3.8 or later",
        "Install python3, or set ansible_python_interpreter to the one that is there.",
    ),
)


def readiness_report(
    nodes: Sequence[str], hostvars: Mapping[str, Any], common: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return all machines' checks and the table."""
    rows = {name: _row(hostvars[name], common) for name in nodes}
    ready = all(row["ready"] for row in rows.values())
    return {"ready": ready, "nodes": rows, "table": _table(rows)}


def _row(facts: Mapping[str, Any], common: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    node, failure = facts.get("preflight_node"), facts.get("check_failure")
    checks = [_reached(facts, failure)] if node or failure else [_lost()]
    checks += [*common, *(facts.get("preflight_readiness") or [])]
    if node and failure:
        checks.append(_hardware(failure))
    bad = [check for check in checks if not check["ok"]]
    hardware = (node or {}).get("hardware") or {}
    return {
        "ready": not bad,
        "reason": f"{bad[0]['check']}: needed {bad[0]['needed']}, found {bad[0]['found']}" if bad else "",
        "remedy": bad[0]["remedy"] if bad else "",
        "checks": checks,
        "system": node["os"].get("pretty") if node else None,
        "python": node["python"] if node else None,
        "slurm": node["slurm_version"] if node else None,
        "cpus": hardware.get("cpus"),
        "memory_mb": hardware.get("real_memory"),
        "free_mb": dict(node["disks"]) if node else {},
    }


def _reached(facts: Mapping[str, Any], failure: Mapping[str, Any] | None) -> dict[str, Any]:
    where = str(facts.get("ansible_host") or facts.get("inventory_hostname") or "")
    if facts.get("preflight_node"):
        return entry("reachable", True, "an answer over ssh", f"{where} answers", "")  # noqa: FBT003 - a record
    said = " ".join(str((failure or {}).get("reason")).split())
    if "can't be reached" not in said:
        for words, check, needed, remedy in CAUSES:
            if any(word in said.lower() for word in words):
                return entry(check, False, needed, said, remedy)  # noqa: FBT003 - a record
    remedy = (
        "Check that it is up, its address, user and key (ansible_host, ansible_user, ansible_ssh_private_key_file)."
    )
    found = said.partition(" Check that")[0]
    return entry("reachable", False, "an answer over ssh", found, remedy)  # noqa: FBT003 - a record


def _lost() -> dict[str, Any]:
    said = "the connection was lost during the check"
    return entry("reachable", False, "an answer over ssh", said, "Run again when it answers.")  # noqa: FBT003 - a record


def _hardware(failure: Mapping[str, Any]) -> dict[str, Any]:
    found = " ".join(str(failure["reason"]).split())
    remedy = "Correct slurmd_parameters of this node."
    return entry("definition", False, "a definition that the hardware meets", found, remedy)  # noqa: FBT003 - a record


def _table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    header = ("NODE", "READY", "SYSTEM", "SLURM", "CPUS", "MEMORY", "FREE")
    cells = [
        (
            name,
            "yes" if row["ready"] else "NO",
            row["system"] or "-",
            row["slurm"] or "-",
            str(row["cpus"] or "-"),
            f"{row['memory_mb']} MB" if row["memory_mb"] else "-",
            ", ".join(f"{path} {free} MB" for path, free in row["free_mb"].items()) or "-",
        )
        for name, row in rows.items()
    ]
    reasons = [
        f"{name}: {check['check']}: needed {check['needed']}, found {check['found']}. {check['remedy']}"
        for name, row in rows.items()
        for check in row["checks"]
        if not check["ok"]
    ]
    ready = sum(row["ready"] for row in rows.values())
    return "\n".join([*columns([header, *cells]), "", *reasons, f"{ready} of {len(rows)} nodes are ready."])


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"readiness_report": readiness_report}
