# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter prepared_nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import continuing, facts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

DOCUMENTATION = r"""
name: prepared_nodes
short_description: Sums up what registering and starting prepared nodes needs to know of them
version_added: "0.1.0"
description:
  - Reads what the roles and the plays recorded about the nodes and about their controller.
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
    description: The nodes on which something was done.
    type: list
    elements: str
    required: true
"""
EXAMPLES = r"""
- name: Show what is registered later
  ansible.builtin.debug:
    msg: "{{ ['node07'] | ai_infra.slurm.prepared_nodes(hostvars, 'ctl1', ['node07']) }}"
"""
RETURN = r"""
_value:
  description: >-
    By node, of those that nothing failed on, definition (as M(ai_infra.slurm.slurm_nodes) takes it), dynamic (whether
    slurmd registers it), steps (of its plan), acted (whether something was done) and restart (whether slurmd, when it
    runs, has to be restarted).
  type: dict
"""


def prepared_nodes(
    hosts: Iterable[str], hostvars: Any, controller: str, acted: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Return by host what later runs have to know of it."""
    return {
        node["host"]: {
            "definition": node["definition"],
            "dynamic": node["dynamic"],
            "steps": node["steps"],
            "acted": node["host"] in acted,
            "restart": bool(facts_of(node["host"], hostvars).get("scale_restart")),
        }
        for node in continuing(hosts, hostvars, controller)
    }


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"prepared_nodes": prepared_nodes}
