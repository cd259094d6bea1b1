# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter unregistered_nodes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import continuing, facts_of
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.settled import to_register

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DOCUMENTATION = r"""
name: unregistered_nodes
short_description: Return what has to be registered of the nodes of a run
version_added: "0.1.0"
description:
  - Compares what is to be registered with the facts of the cluster, which M(ai_infra.slurm.slurm_cluster_info) gathered
    less than a minute ago. In doubt all nodes are returned, also where a variable of the role slurmctld-reconfigure is
    stated.
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
    description: Name of the controller in the inventory.
    type: str
    required: true
  acted:
    description: Names of the nodes that were set up in this run.
    type: list
    elements: str
    default: []
"""
EXAMPLES = r"""
- name: Show what would be registered
  ansible.builtin.debug:
    msg: "{{ ['node07'] | ai_infra.slurm.unregistered_nodes(hostvars, 'ctl1') }}"
"""
RETURN = r"""
_value:
  description: >-
    The definitions of the nodes, as M(ai_infra.slurm.slurm_nodes) takes them, without dynamic ones; none when the facts
    prove that a run of that module would do nothing.
  type: list
  elements: dict
"""


def unregistered_nodes(
    hosts: Sequence[str], hostvars: Any, controller: str, acted: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the definitions."""
    return to_register(continuing(hosts, hostvars, controller), facts_of(controller, hostvars), acted, time.time())


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"unregistered_nodes": unregistered_nodes}
