# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter partition_tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: partition_tests
short_description: Choose for each partition a node on which a test job runs
version_added: "0.1.0"
description:
  - An idle node is preferred, then one with room. A partition without a node that takes jobs gets none, but the reason.
options:
  _input:
    description: What M(ai_infra.slurm.slurm_cluster_info) returns as C(cluster).
    type: dict
    required: true
"""
EXAMPLES = r"""
- name: Show where test jobs would run
  ansible.builtin.debug:
    msg: "{{ preflight_cluster | ai_infra.slurm.partition_tests }}"
"""
RETURN = r"""
_value:
  description: >-
    One entry per partition with the keys partition, node (empty when there is none), busy (whether a job would have to
    wait) and message.
  type: list
  elements: dict
"""

# The best first.
ORDER = ("IDLE", "MIXED", "ALLOCATED")
HELD = frozenset(("DRAIN", "DOWN", "NOT_RESPONDING", "INVAL", "INVALID_REG", "FAIL", "MAINT", "UNKNOWN"))


def partition_tests(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one entry per partition."""
    return [_test(name, partition, cluster["nodes"]) for name, partition in sorted(cluster["partitions"].items())]


def _test(name: str, partition: Mapping[str, Any], nodes: Mapping[str, Any]) -> dict[str, Any]:
    members = {node: facts["state"] for node, facts in nodes.items() if name in facts["partitions"]}
    usable = [node for node, states in members.items() if states[0] in ORDER and not HELD & set(states)]
    usable.sort(key=lambda node: (ORDER.index(members[node][0]), node))
    message = ""
    if partition["state"] != "UP":
        usable, message = [], f"the partition is {partition['state']}"
    elif not usable:
        states = ", ".join(f"{node} {'+'.join(states)}" for node, states in sorted(members.items()))
        message = f"no node of it takes jobs: {states or 'it has none'}"
    node = usable[0] if usable else ""
    return {"partition": name, "node": node, "busy": bool(node) and members[node][0] == "ALLOCATED", "message": message}


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"partition_tests": partition_tests}
