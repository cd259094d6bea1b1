# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter readiness_report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import finding
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import LOST, machine_of
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.tables import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
name: readiness_report
short_description: Summarize which machines are ready to become compute nodes
version_added: "0.1.0"
description:
  - Reads the facts that a check left on each machine. One that could not be examined is not ready, with the reason.
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
    ready (whether all are), nodes (by name ready, code, reason and remedy of the first check that failed, checks, and
    system, slurm, python, cpus, memory_mb, free_mb as found) and table (text).
  type: dict
"""

# Which check a machine failed that could not be examined, by the code of its failure.
CHECKS = {
    Code.PYTHON_TOO_OLD: "Python",
    Code.PYTHON_MISSING: "Python",
    Code.SUDO_MISSING: "privileges",
    Code.PRIVILEGES_MISSING: "privileges",
}


def readiness_report(
    nodes: Sequence[str], hostvars: Mapping[str, Any], common: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return all machines' checks and the table."""
    rows = {name: _row(hostvars[name], common) for name in nodes}
    ready = all(row["ready"] for row in rows.values())
    return {"ready": ready, "nodes": rows, "table": _table(rows)}


def _row(facts: Mapping[str, Any], common: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    node = machine_of(facts)
    checks = [_reached(facts), *common, *((facts.get("slurmd_plan") or {}).get("findings") or [])]
    bad = next((check for check in checks if not check["ok"]), {"code": "", "reason": "", "remedy": ""})
    hardware = (node or {}).get("hardware") or {}
    return {
        "ready": all(check["ok"] for check in checks),
        **{key: bad[key] for key in ("code", "reason", "remedy")},
        "checks": checks,
        "system": node["os"].get("pretty") if node else None,
        "python": node["python"] if node else None,
        "slurm": node["slurm_version"] if node else None,
        "cpus": hardware.get("cpus"),
        "memory_mb": hardware.get("real_memory"),
        "free_mb": dict(node["disks"]) if node else {},
    }


def _reached(facts: Mapping[str, Any]) -> dict[str, Any]:
    where = str(facts.get("ansible_host") or facts.get("inventory_hostname") or "")
    # What keeps a machine that was examined from being ready is among its findings.
    failure = None if "findings" in (facts.get("slurmd_plan") or {}) else facts.get("scale_failure") or LOST.as_dict()
    if not failure:
        return finding("reachable", Code.HOST_UNREACHABLE, True, "an answer over ssh", f"{where} answers", "")  # noqa: FBT003 - a record
    code = Code(failure["code"])
    check = CHECKS.get(code, "reachable")
    remedy = failure.get("remedy") or ""
    return {
        **finding(check, code, False, "a machine that can be examined", failure["reason"], remedy),  # noqa: FBT003 - a record
        "reason": failure["reason"],
    }


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
        f"{name}: {check['reason']} {check['remedy']} ({check['code']})"
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
