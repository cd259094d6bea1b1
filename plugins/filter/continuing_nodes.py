# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter continuing_nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import continuing

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTATION = r"""
name: continuing_nodes
short_description: Return the nodes of a run that have not failed so far
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
"""
EXAMPLES = r"""
- name: Show what is registered next
  ansible.builtin.debug:
    msg: "{{ ['node07'] | ai_infra.slurm.continuing_nodes(hostvars, 'ctl1') | map(attribute='definition') }}"
"""
RETURN = r"""
_value:
  description: >-
    Of each node host, definition (as M(ai_infra.slurm.slurm_nodes) takes it), dynamic (whether slurmd registers it),
    steps (of its plan) and started (whether this run started its slurmd).
  type: list
  elements: dict
"""


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"continuing_nodes": continuing}
