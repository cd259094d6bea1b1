# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter node_outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: node_outcome
short_description: Says how a run ended for a node
version_added: "0.1.0"
description:
  - Reads what the roles and the plays recorded about the node and about its controller.
options:
  _input:
    description: The variables of the node.
    type: dict
    required: true
  controller:
    description: The variables of its controller.
    type: dict
    required: true
  stage:
    description: What is told of the node in a playbook that does not verify it.
    type: str
    default: ""
  journal:
    description: The last lines of slurmd's journal, for a node that is not verified.
    type: str
    default: ""
"""
EXAMPLES = r"""
- name: Show whether the node is ready for use
  ansible.builtin.debug:
    msg: "{{ hostvars['node07'] | ai_infra.slurm.node_outcome(hostvars['ctl1']) }}"
"""
RETURN = r"""
_value:
  description: >-
    The keys proof (with message) or failure (with code, reason and remedy), the other one null, and changed, whether
    the run changed anything about the node.
  type: dict
"""


def node_outcome(
    facts: Mapping[str, Any], controller: Mapping[str, Any], stage: str = "", journal: str = ""
) -> dict[str, Any]:
    """Return how the run ended for the node."""
    return outcome(facts, controller, stage, journal)


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"node_outcome": node_outcome}
