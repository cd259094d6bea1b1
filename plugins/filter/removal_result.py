# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter removal_result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils import removal

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
    description: The variables of the host.
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
    msg: "{{ (vars | ai_infra.slurm.removal_result(drained.nodes['node07'], true)).message }}"
"""
RETURN = r"""
_value:
  description: The keys result (removed, done, unchanged or planned) and message.
  type: dict
"""


def removal_result(
    host: Mapping[str, Any],
    drain: Mapping[str, Any],
    left: bool,  # noqa: FBT001 - a filter's option
    uninstall: bool = False,  # noqa: FBT001, FBT002 - the same
    check_mode: bool = False,  # noqa: FBT001, FBT002 - the same
) -> dict[str, str]:
    """Return the result and the message for the node."""
    return removal.outcome(host, drain, left=left, uninstall=uninstall, check_mode=check_mode)


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"removal_result": removal_result}
