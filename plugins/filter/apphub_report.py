# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter apphub_report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.tables import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
name: apphub_report
short_description: Summarize the findings of apphub_check
version_added: "0.1.0"
description:
  - Writes a table of what was found, what is wrong first.
options:
  _input:
    description: What M(ai_infra.slurm.apphub_check) found, each finding with C(where), the address or the machine.
    type: list
    elements: dict
    required: true
"""
EXAMPLES = r"""
- name: Print the table
  ansible.builtin.debug:
    msg: "{{ (findings | ai_infra.slurm.apphub_report).table }}"
"""
RETURN = r"""
_value:
  description: >-
    well (whether nothing is wrong), findings (what is wrong first), failures (what is wrong only) and table (text).
  type: dict
"""


def apphub_report(findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the findings in order, those that are failures, and the table."""
    # What is wrong comes first, where it is seen.
    rows = sorted(findings, key=lambda row: bool(row["ok"]))
    cells = [(row["where"], row["check"], row["subject"], row["code"] or "ok", _text(row)) for row in rows]
    wrong = [row for row in rows if not row["ok"]]
    if wrong:
        last = f"{len(wrong)} of {len(rows)} checks found something wrong."
    else:
        last = f"{len(rows)} checks, nothing is wrong."
    table = "\n".join([*columns([("WHERE", "CHECK", "SUBJECT", "RESULT", "REASON"), *cells]), "", last])
    return {"well": not wrong, "findings": rows, "failures": wrong, "table": table}


def _text(row: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (str(row["reason"]), row["remedy"])))


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"apphub_report": apphub_report}
