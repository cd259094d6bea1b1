# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter scale_report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import LOST, facts_of
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.tables import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
name: scale_report
short_description: Summarize a run, one row per node
version_added: "0.1.0"
description:
  - Reads the facts that the plays of a run left on each node. A node without a result was lost on the way.
options:
  _input:
    description: Names of the nodes of the run.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars).
    type: dict
    required: true
  check_mode:
    description: Whether the run was in check mode, in which no node is verified.
    type: bool
    default: false
"""
EXAMPLES = r"""
- name: Print the table
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts_all | ai_infra.slurm.scale_report(hostvars)).table }}"
"""
RETURN = r"""
_value:
  description: >-
    The keys rows (a list of node, result, code, reason, remedy, seconds) and table (text). Results are done (changed
    and verified), unchanged, removed, planned (check mode), kept (not removed, though it should be) and failed.
  type: dict
"""


LINE_FEED = "\n"


def scale_report(
    nodes: Sequence[str],
    hostvars: Mapping[str, Any],
    check_mode: bool = False,  # noqa: FBT001, FBT002 - a filter's option
) -> dict[str, Any]:
    """Return the rows and the table of a run."""
    local = facts_of("localhost", hostvars)
    started, outcomes = local.get("scale_started", 0), local.get("scale_outcomes") or {}
    rows = [_row(node, {**facts_of(node, hostvars), **outcomes.get(node, {})}, check_mode, started) for node in nodes]
    return {"rows": rows, "table": _table(rows)}


def _row(node: str, facts: Mapping[str, Any], check_mode: bool, started: float) -> dict[str, Any]:  # noqa: FBT001 - passed on
    failure, success = facts.get("scale_failure"), facts.get("scale_success")
    result, reason = "failed", ""
    if failure:
        result = facts.get("scale_outcome", "failed")
    elif success:
        result, reason = (
            success.get("result", "done" if facts.get("scale_changed") else "unchanged"),
            success["message"],
        )
    elif check_mode and "slurmd_plan" in facts:
        result, reason = "planned", "check mode: nothing was changed and no job was run"
    else:
        failure = LOST.as_dict()
    seconds = facts.get("scale_ended", 0) - started
    return {
        "node": node,
        "result": result,
        "code": failure["code"] if failure else "",
        "reason": failure["reason"] if failure else reason,
        "remedy": (failure.get("remedy") or "") if failure else "",
        "seconds": round(seconds, 1) if seconds > 0 else None,
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ("NODE", "RESULT", "TIME", "CODE", "REASON")
    cells = [
        (
            row["node"],
            row["result"],
            f"{row['seconds']:.0f} s" if row["seconds"] else "-",
            row["code"] or "-",
            " ".join(f"{row['reason'].partition(LINE_FEED)[0]} {row['remedy']}".split()),
        )
        for row in rows
    ]
    return "\n".join([*columns([header, *cells]), *_details(rows), "", _count([row["result"] for row in rows])])


def _details(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the further lines of reasons, such as those of a journal, once for all nodes that have the same."""
    nodes: dict[str, list[str]] = {}
    for row in rows:
        further = row["reason"].partition(LINE_FEED)[2].rstrip()
        if further:
            nodes.setdefault(further, []).append(row["node"])
    return [
        line
        for further, names in nodes.items()
        for line in ("", ", ".join(names) + ":", *(f"  {one}" for one in further.splitlines()))
    ]


def _count(results: Sequence[str]) -> str:
    counts = {result: results.count(result) for result in ("removed", "kept")}
    failed = results.count("failed")
    if any(counts.values()):
        return f"{counts['removed']} of {len(results)} nodes are removed, {counts['kept']} kept, {failed} failed."
    return f"{len(results) - failed} of {len(results)} nodes succeeded, {failed} failed."


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"scale_report": scale_report}
