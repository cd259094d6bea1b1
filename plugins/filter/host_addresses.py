# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter host_addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.hosts_file import node_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: host_addresses
short_description: Tells under which address the controller knows each node
version_added: "0.1.0"
description:
  - Returns the names and addresses that nodes need in C(/etc/hosts) where no name service tells them.
options:
  _input:
    description: The variables of the machines that are to become nodes.
    type: list
    elements: dict
    required: true
  cluster:
    description: What M(ai_infra.slurm.slurm_cluster_info) returns as C(cluster).
    type: dict
    required: true
  network:
    description: What it returns as C(network) when it is asked to resolve the names and addresses of all of them.
    type: dict
    required: true
"""
EXAMPLES = r"""
- name: Record the addresses of the nodes
  ansible.builtin.set_fact:
    preflight_addresses: "{{ machines | ai_infra.slurm.host_addresses(preflight_cluster, preflight_reach.network) }}"
  vars:
    machines: "{{ groups['slurm_nodes'] | map('extract', hostvars) }}"
"""
RETURN = r"""
_value:
  description: For each name in Slurm the address. Nodes of which the controller has no address are left out.
  type: dict
  sample: {"node07": "10.0.0.7"}
"""


def host_addresses(
    machines: Iterable[Mapping[str, Any]], cluster: Mapping[str, Any], network: Mapping[str, Any]
) -> dict[str, str]:
    """Return the addresses."""
    return node_addresses(machines, cluster, network)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"host_addresses": host_addresses}
