# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter node_outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import outcomes

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTATION = r"""
name: node_outcomes
short_description: Return how a run ended for its nodes
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
  stage:
    description: The message for a node in a playbook that does not verify it.
    type: str
    default: ""
  ended:
    description: When the last step of the run ended, in seconds since 1970.
    type: float
    default: 0
  check_mode:
    description: Whether the run was in check mode, in which no node is verified.
    type: bool
    default: false
"""
EXAMPLES = r"""
- name: Record the results
  ansible.builtin.set_fact:
    scale_outcomes: "{{ groups['scale_prepared'] | ai_infra.slurm.node_outcomes(hostvars, 'ctl1') }}"
"""
RETURN = r"""
_value:
  description: >-
    By node scale_success (with message) or scale_failure (with code, reason and remedy), the other one null,
    scale_changed (whether the run changed anything about it), scale_ended and scale_unverified.
  type: dict
"""


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"node_outcomes": outcomes}
