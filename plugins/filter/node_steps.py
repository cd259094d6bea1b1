# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter node_steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import node_steps

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTATION = r"""
name: node_steps
short_description: Return the steps that a role has to take on a node
version_added: "0.1.0"
options:
  _input:
    description: What M(ai_infra.slurm.slurm_node_probe) returns as C(node).
    type: dict
    required: true
  files:
    description: Options of M(ai_infra.slurm.slurm_node_files) by the name of the step that applies them.
    type: dict
    required: true
  packages:
    description: Names of packages that have to be installed.
    type: list
    elements: str
    default: []
  service:
    description: The service that has to run, now and after a boot.
    type: str
    default: ""
  restart:
    description: Whether the service has to be restarted in any case.
    type: bool
    default: false
"""
EXAMPLES = r"""
- name: Show what has to be done for slurmd
  ansible.builtin.debug:
    msg: "{{ preflight_node | ai_infra.slurm.node_steps({'configuration': slurmd_node_files}, service='slurmd') }}"
"""
RETURN = r"""
_value:
  description:
    - The missing steps in their order, none on a node that is as it has to be. V(packages) when one is missing, and the
      service when it does not run, or when files of it are outdated.
  type: list
  elements: str
"""


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"node_steps": node_steps}
