# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter removal_plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils import removal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: removal_plan
short_description: Divide nodes by how they are removed from the controller
version_added: "0.1.0"
description:
  - Static nodes are taken out of the configuration in one step, dynamic ones are deleted one by one. A node that is
    kept gets the drain of this run taken back.
options:
  _input:
    description: >-
      The variables of the hosts that are to leave, with C(slurmd_node_name) and, of one that is kept, C(scale_failure).
    type: list
    elements: dict
    required: true
  drained:
    description: What M(ai_infra.slurm.slurm_drain) returned as C(nodes).
    type: dict
    required: true
  known:
    description: The nodes of the controller, from M(ai_infra.slurm.slurm_cluster_info).
    type: dict
    required: true
"""
EXAMPLES = r"""
- name: Show what is taken out of the configuration
  ansible.builtin.debug:
    msg: "{{ (leaving | ai_infra.slurm.removal_plan(drained.nodes, preflight_cluster.nodes)).static }}"
"""
RETURN = r"""
_value:
  description: >-
    The keys static (nodes to take out of the configuration, each with a name), hosts (their inventory names) and
    drained (names of nodes that are kept though this run drained them).
  type: dict
"""


def removal_plan(
    leaving: Iterable[Mapping[str, Any]], drained: Mapping[str, Any], known: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Return how each node is removed."""
    return removal.plan(leaving, drained, known)


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"removal_plan": removal_plan}
