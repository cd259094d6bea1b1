# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter node_names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: node_names
short_description: Resolve the names of nodes in Slurm, and of the controllers that the roles ask
version_added: "0.1.0"
description:
  - What is stated for a host counts, else the short name of the host in the inventory, and the first controller.
options:
  _input:
    description: Names of the nodes in the inventory.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars).
    type: dict
    required: true
  controller:
    description: Name of the first controller in the inventory.
    type: str
    required: true
"""
EXAMPLES = r"""
- name: Show the name of a node in Slurm
  ansible.builtin.debug:
    msg: "{{ (['node07.example.org'] | ai_infra.slurm.node_names(hostvars, 'ctl1'))[0].slurmd_node_name }}"
"""
RETURN = r"""
_value:
  description: >-
    Of each node host (its name in the inventory), slurmd_node_name, preflight_controller, munge_controller and
    slurmd_controller.
  type: list
  elements: dict
"""


def node_names(hosts: Iterable[str], hostvars: Mapping[str, Any], controller: str) -> list[dict[str, str]]:
    """Return the names as variables of each host."""
    return [_names(host, hostvars[host], controller) for host in hosts]


def _names(host: str, variables: Mapping[str, Any], controller: str) -> dict[str, str]:
    asked = ("preflight_controller", "munge_controller", "slurmd_controller")
    name = variables.get("slurmd_node_name", variables["inventory_hostname_short"])
    return {"host": host, "slurmd_node_name": name, **{key: variables.get(key, controller) for key in asked}}


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"node_names": node_names}
