# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter plan_report."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import LOST, facts_of, failure_of
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.tables import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
name: plan_report
short_description: Summarize what a run would do to its nodes and to the controller
version_added: "0.1.0"
description:
  - Reads the plans that were made for the nodes and for the controller. A node without one can't be reached.
options:
  _input:
    description: Names of the nodes in the inventory.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars).
    type: dict
    required: true
  controller:
    description: Name of the controller in the inventory.
    type: str
    required: true
"""
EXAMPLES = r"""
- name: Print the plan
  ansible.builtin.debug:
    msg: "{{ (['node07'] | ai_infra.slurm.plan_report(hostvars, 'ctl1')).table }}"
"""
RETURN = r"""
_value:
  description: >-
    ready (whether all nodes are), nodes (by name ready, steps, registration, which is add, update, keep or dynamic,
    definition, code, reason and remedy),
    controller (host, action, which is none, reconfigure or restart, and diff, a list of path and text) and
    table (text).
  type: dict
"""


def plan_report(nodes: Sequence[str], hostvars: Any, controller: str) -> dict[str, Any]:
    """Return the plan of every node, of the controller, and the table."""
    known = facts_of(controller, hostvars)
    registration = known.get("scale_registration") or {}
    rows = {name: _row(name, facts_of(name, hostvars), known, registration) for name in nodes}
    server = {
        "host": controller,
        "action": registration.get("action", "none"),
        "diff": [{"path": one["after_header"], "text": _unified(one)} for one in registration.get("diff") or []],
    }
    return {
        "ready": all(row["ready"] for row in rows.values()),
        "nodes": rows,
        "controller": server,
        "table": _table(rows, server),
    }


def _row(
    name: str, facts: Mapping[str, Any], controller: Mapping[str, Any], registration: Mapping[str, Any]
) -> dict[str, Any]:
    plan = facts.get("slurmd_plan") or {}
    definition = plan.get("definition") or {}
    failure = failure_of(name, facts, controller) or (None if plan else LOST.as_dict())
    changes = {"added": "add", "updated": "update"}
    found = next((word for key, word in changes.items() if definition.get("name") in (registration.get(key) or [])), "")
    return {
        "ready": not failure,
        "steps": list(plan.get("steps") or []) if not failure else [],
        "registration": "" if failure else "dynamic" if plan.get("dynamic") else found or "keep",
        "definition": definition or None,
        **{key: (failure or {}).get(key) or "" for key in ("code", "reason", "remedy")},
    }


def _unified(change: Mapping[str, Any]) -> str:
    before, after = (str(change.get(key) or "").splitlines(keepends=True) for key in ("before", "after"))
    return "".join(difflib.unified_diff(before, after, str(change["before_header"]), str(change["after_header"])))


def _table(rows: Mapping[str, Mapping[str, Any]], server: Mapping[str, Any]) -> str:
    cells = [
        (
            name,
            "REFUSED" if not row["ready"] else "work" if row["steps"] or row["registration"] in changing else "none",
            row["registration"] or "-",
            ", ".join(row["steps"]) or " ".join(f"{row['reason']} {row['remedy']}".split()) or "-",
        )
        for changing in [("add", "update")]
        for name, row in rows.items()
    ]
    action = {"none": "is not touched", "reconfigure": "is reconfigured", "restart": "is restarted once"}
    diffs = [line for change in server["diff"] for line in change["text"].splitlines()]
    return "\n".join(
        [
            *columns([("NODE", "PLAN", "SLURM.CONF", "STEPS"), *cells]),
            "",
            f"The controller {server['host']} {action[server['action']]}.",
            *diffs,
        ]
    )


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"plan_report": plan_report}
