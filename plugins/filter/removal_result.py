# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter removal_result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils import removal
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import facts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: removal_result
short_description: Return the result of the removal of a node
version_added: "0.1.0"
description:
  - For a node that is not in the cluster any more; the others have a failure.
options:
  _input:
    description: The node in the inventory.
    type: str
    required: true
  hostvars:
    description: The variables of all hosts.
    type: dict
    required: true
  drain:
    description: What M(ai_infra.slurm.slurm_drain) returned for the node; empty when it was not in the cluster.
    type: dict
    required: true
  left:
    description: Whether this run took it out of the cluster.
    type: bool
    required: true
  uninstall:
    description: Whether packages, key and configuration were to be removed, too.
    type: bool
    default: false
  check_mode:
    description: Whether nothing was changed.
    type: bool
    default: false
"""
EXAMPLES = r"""
- name: Show the result
  ansible.builtin.debug:
    msg: "{{ ('node07' | ai_infra.slurm.removal_result(hostvars, drained.nodes['node07'], left=true)).message }}"
"""
RETURN = r"""
_value:
  description: The keys result (removed, done, unchanged or planned) and message.
  type: dict
"""


def removal_result(
    host: str,
    hostvars: Any,
    drain: Mapping[str, Any],
    *,
    left: bool,
    uninstall: bool = False,
    check_mode: bool = False,
) -> dict[str, str]:
    """Return the result and the message for the node."""
    return removal.outcome(facts_of(host, hostvars), drain, left=left, uninstall=uninstall, check_mode=check_mode)


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"removal_result": removal_result}
