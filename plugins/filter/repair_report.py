# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter repair_report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.tables import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
name: repair_report
short_description: Summarize what is wrong with a cluster and what was fixed
version_added: "0.1.0"
description:
  - Compares what was found before with what is found after a repair, and writes a table.
options:
  _input:
    description: What was found, as P(ai_infra.slurm.cluster_findings#filter) returns it.
    type: list
    elements: dict
    required: true
  after:
    description: What is found after a repair; leave it out when nothing was repaired.
    type: list
    elements: dict
  failures:
    description: The failure that stopped the repair of a host, with code, reason and remedy, by host.
    type: dict
    default: {}
"""
EXAMPLES = r"""
- name: Print the table
  ansible.builtin.debug:
    msg: "{{ (findings | ai_infra.slurm.repair_report).table }}"
"""
RETURN = r"""
_value:
  description: >-
    findings (each with host, check, code, result, reason, remedy, needed, found), well (whether nothing is wrong but
    what somebody meant to be so) and table (text). Results are found, note, fixed and left.
  type: dict
"""


def repair_report(
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]] | None = None,
    failures: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Return the findings with their results and the table."""
    rows = _rows(before, after, failures or {})
    open_rows = [row for row in rows if row["result"] in ("found", "left")]
    return {"well": not open_rows, "findings": rows, "table": _table(rows)}


def _rows(
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]] | None,
    failures: Mapping[str, Mapping[str, str]],
) -> list[dict[str, Any]]:
    if after is None:
        return [_row(one, "note" if one["note"] else "found", one["remedy"]) for one in before]
    left = {_key(one): one for one in after}
    rows = [_row(one, "fixed", "") for one in before if _key(one) not in left]
    for one in after:
        # A step that failed tells more than the advice to do what was just tried.
        failure = failures.get(one["host"])
        remedy = f"The fix failed: {failure['reason']} {failure['remedy']}" if failure and one["fix"] else one["remedy"]
        rows.append(_row(one, "note" if one["note"] else "left", remedy))
    return rows


def _key(one: Mapping[str, Any]) -> tuple[str, str, str]:
    # Several steps or files may be wrong on one host.
    return one["host"], one["check"], str(one.get("pid", ""))


def _row(one: Mapping[str, Any], result: str, remedy: str) -> dict[str, Any]:
    kept = {key: one[key] for key in ("host", "check", "code", "reason", "needed", "found")}
    return {**kept, "result": result, "remedy": " ".join(remedy.split())}


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "Nothing is wrong."
    header = ("HOST", "CHECK", "RESULT", "CODE", "REASON")
    cells = [
        (
            row["host"],
            row["check"],
            row["result"],
            row["code"],
            row["reason"] + (f". {row['remedy']}" if row["remedy"] else ""),
        )
        for row in rows
    ]
    counts = [
        f"{sum(row['result'] == result for row in rows)} {result}"
        for result in ("found", "fixed", "left", "note")
        if any(row["result"] == result for row in rows)
    ]
    return "\n".join([*columns([header, *cells]), "", ", ".join(counts) + "."])


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"repair_report": repair_report}
