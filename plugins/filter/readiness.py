# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter readiness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils import readiness as checks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: readiness
short_description: Says what keeps a machine from becoming a compute node
version_added: "0.1.0"
description:
  - Compares what was found on a machine with what its controller and the product need. Changes and runs nothing.
options:
  _input:
    description: What M(ai_infra.slurm.slurm_node_probe) returns as C(node).
    type: dict
    required: true
  cluster:
    description: What M(ai_infra.slurm.slurm_cluster_info) returns as C(cluster).
    type: dict
    required: true
  max_skew:
    description: Seconds by which the clocks may differ. Munge refuses credentials from 300 on.
    type: int
    default: 60
  min_free_mb:
    description: Megabytes that must be free where packages and the spool go.
    type: int
    default: 512
  min_memory_mb:
    description: Megabytes of memory that the machine must have.
    type: int
    default: 256
  take_over:
    description: Whether a machine of another cluster may be taken when no job runs on it.
    type: bool
    default: false
  reach:
    description: >-
      How the controller sees the machine - name (the one it knows it by), network (what
      M(ai_infra.slurm.slurm_cluster_info) returns), own (whether both are one machine), problem (why the
      controller could not be asked), and state, when the machine is a node that works already, which proves all this.
    type: dict
    default: {}
"""
EXAMPLES = r"""
- name: Say what is missing
  ansible.builtin.debug:
    msg: "{{ preflight_node | ai_infra.slurm.readiness(preflight_cluster) | rejectattr('ok') }}"
"""
RETURN = r"""
_value:
  description: One entry per check with the keys check, code, ok, needed, found, reason and remedy.
  type: list
  elements: dict
"""


def readiness(  # noqa: PLR0917 - a filter's options are its arguments
    node: Mapping[str, Any],
    cluster: Mapping[str, Any],
    max_skew: float = 60,
    min_free_mb: int = 512,
    min_memory_mb: int = 256,
    reach: Mapping[str, Any] | None = None,
    take_over: bool = False,  # noqa: FBT001, FBT002 - the same
) -> list[dict[str, Any]]:
    """Return one entry per check."""
    limits = checks.Limits(max_skew, min_free_mb, min_memory_mb)
    return checks.assess(node, cluster, limits, reach=reach, take_over=take_over)


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"readiness": readiness}
