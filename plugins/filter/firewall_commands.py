# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter firewall_commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.firewall import closing, needed_ports, opening

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: firewall_commands
short_description: Tells how the firewall of a node is made to let its cluster in
version_added: "0.1.0"
description:
  - Names the ports at which a node has to be reached, that of slurmd and those of C(SrunPortRange), as commands
    for the firewall that is on there.
options:
  _input:
    description: The C(firewall) of M(ai_infra.slurm.slurm_node_probe).
    type: dict
    required: true
  cluster:
    description: What M(ai_infra.slurm.slurm_cluster_info) returns as C(cluster).
    type: dict
    required: true
  port:
    description: Port of slurmd on this node, where it is another than the cluster's.
    type: int
  close:
    description: >-
      Return the commands that close what was opened, instead of those that open what is closed. Of ufw these are the
      rules with our comment; firewalld does not tell who has opened a port, so it is what is open of these ports.
    type: bool
    default: false
"""
EXAMPLES = r"""
- name: Open the ports of slurmd
  ansible.builtin.command:
    argv: "{{ item }}"
  loop: "{{ preflight_node.firewall | ai_infra.slurm.firewall_commands(preflight_cluster) }}"
"""
RETURN = r"""
_value:
  description: Commands as lists of words; none where no firewall is on, or nothing is to be done.
  type: list
  elements: list
"""


def firewall_commands(
    firewall: Mapping[str, Any] | None,
    cluster: Mapping[str, Any],
    port: int | None = None,
    *,
    close: bool = False,
) -> list[list[str]]:
    """Return the commands."""
    ports = needed_ports(cluster, port)
    return closing(firewall, ports) if close else opening(firewall, ports)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"firewall_commands": firewall_commands}
