# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter removal_failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils import removal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: removal_failure
short_description: Return why a node that was to be drained is kept
version_added: "0.1.0"
description:
  - Adds to what M(ai_infra.slurm.slurm_drain) returned whether the node stays drained, and what to do.
options:
  _input:
    description: What M(ai_infra.slurm.slurm_drain) returned for the node.
    type: dict
    required: true
  keep_drained:
    description: Whether a drain of this run is not taken back.
    type: bool
    default: false
  check_mode:
    description: Whether nothing was drained.
    type: bool
    default: false
"""
EXAMPLES = r"""
- name: Require that no job is on the node
  ai_infra.slurm.require:
    findings: ["{{ drained.nodes['node07'] | ai_infra.slurm.removal_failure }}"]
"""
RETURN = r"""
_value:
  description: The keys code, reason and remedy; nothing when the node is drained and free of jobs.
  type: dict
"""


def removal_failure(
    drain: Mapping[str, Any],
    keep_drained: bool = False,  # noqa: FBT001, FBT002 - a filter's option
    check_mode: bool = False,  # noqa: FBT001, FBT002 - the same
) -> dict[str, str] | None:
    """Return why the node is kept."""
    if drain["ok"]:
        return None
    return removal.busy(drain, keep_drained=keep_drained, check_mode=check_mode).as_dict()


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"removal_failure": removal_failure}
