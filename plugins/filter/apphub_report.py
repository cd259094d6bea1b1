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
short_description: Sums up what is wrong with AppHubs
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
  description: well (whether nothing is wrong), findings and table (text).
  type: dict
"""


def apphub_report(findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the findings in order, the verdict and the table."""
    # What is wrong must not be looked for.
    rows = sorted(findings, key=lambda row: bool(row["ok"]))
    cells = [(row["where"], row["check"], row["subject"], "ok" if row["ok"] else "WRONG", _text(row)) for row in rows]
    wrong = sum(not row["ok"] for row in rows)
    last = (
        f"{wrong} of {len(rows)} checks found something wrong." if wrong else f"{len(rows)} checks, nothing is wrong."
    )
    header = ("WHERE", "CHECK", "SUBJECT", "RESULT", "FOUND")
    return {"well": not wrong, "findings": rows, "table": "\n".join([*columns([header, *cells]), "", last])}


def _text(row: Mapping[str, Any]) -> str:
    return ". ".join(filter(None, (str(row["found"]), row["remedy"])))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"apphub_report": apphub_report}
