# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter partition_results."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.tables import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCUMENTATION = r"""
name: partition_results
short_description: Summarize the test jobs of all partitions
version_added: "0.1.0"
description:
  - Puts together where test jobs ran, how they ended, and their output.
options:
  _input:
    description: What P(ai_infra.slurm.partition_tests#filter) returns.
    type: list
    elements: dict
    required: true
  jobs:
    description: Results of a loop of M(ai_infra.slurm.slurm_job) over those with a node.
    type: list
    elements: dict
    required: true
  shown:
    description: Results of a loop of C(scontrol show job) over these jobs, whose comment is their output.
    type: list
    elements: dict
    required: true
"""
EXAMPLES = r"""
- name: Print the table
  ansible.builtin.debug:
    msg: "{{ (tests | ai_infra.slurm.partition_results(jobs.results, shown.results)).table }}"
"""
RETURN = r"""
_value:
  description: >-
    ok (whether each partition ran its job), tests (partition, node, ok, job_id, state, message, output) and table.
  type: dict
"""


def partition_results(
    tests: Sequence[Mapping[str, Any]], jobs: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the results and the table."""
    ended = {result["item"]["partition"]: (result, show) for result, show in zip(jobs, shown, strict=True)}
    rows = [_row(test, *ended.get(test["partition"], ({}, {}))) for test in tests]
    return {"ok": all(row["ok"] for row in rows), "tests": rows, "table": _table(rows)}


def _row(test: Mapping[str, Any], result: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    job = (result.get("jobs") or {}).get(test["node"]) or {}
    output = re.search(r"^\s*Comment=(.*)$", shown.get("stdout") or "", re.MULTILINE)
    return {
        "partition": test["partition"],
        "node": test["node"],
        "ok": bool(job.get("ok")),
        "job_id": job.get("job_id"),
        "state": job.get("state"),
        "message": job.get("message") or test["message"] or str(result.get("msg") or "no job was submitted"),
        "output": output.group(1).strip() if output else "",
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ("PARTITION", "NODE", "JOB", "RESULT", "OUTPUT")
    cells = [
        (row["partition"], row["node"] or "-", row["job_id"] or "-", row["message"], row["output"] or "-")
        for row in rows
    ]
    passed = sum(row["ok"] for row in rows)
    return "\n".join([*columns([header, *cells]), "", f"{passed} of {len(rows)} partitions run jobs."])


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"partition_results": partition_results}
