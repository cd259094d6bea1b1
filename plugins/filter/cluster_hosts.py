# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter cluster_hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: cluster_hosts
short_description: Find the nodes of a cluster in the inventory
version_added: "0.1.0"
description:
  - A host's name in Slurm is its C(slurmd_node_name), else its short name in the inventory.
options:
  _input:
    description: Names of the nodes that the controller knows.
    type: list
    elements: str
    required: true
  hosts:
    description: Inventory names of the hosts that may be these nodes.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars).
    type: dict
    required: true
"""
EXAMPLES = r"""
- name: Show which nodes nobody can log in to
  ansible.builtin.debug:
    msg: "{{ (preflight_cluster.nodes | ai_infra.slurm.cluster_hosts(groups['slurm_nodes'], hostvars)).strangers }}"
"""
RETURN = r"""
_value:
  description: >-
    The keys hosts (inventory names of nodes, in the order of the inventory), names (their names in Slurm, by inventory
    name) and strangers (names of nodes that no host stands for).
  type: dict
"""


def cluster_hosts(names: Iterable[str], hosts: Iterable[str], hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """Return which hosts are nodes, and which nodes are no hosts."""
    known = set(names)
    called = {host: _name(hostvars[host]) for host in dict.fromkeys(hosts)}
    found = {host: name for host, name in called.items() if name in known}
    return {"hosts": list(found), "names": found, "strangers": sorted(known - set(found.values()))}


def _name(variables: Mapping[str, Any]) -> str:
    return str(variables.get("slurmd_node_name") or variables["inventory_hostname_short"])


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"cluster_hosts": cluster_hosts}
