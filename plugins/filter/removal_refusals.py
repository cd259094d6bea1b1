# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter removal_refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils import removal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: removal_refusals
short_description: Return the reasons why a node can't be removed from a cluster
version_added: "0.1.0"
description:
  - Decides before anything is touched, from the facts of the controller and of the node. Whether jobs run is not
    decided here; they can be waited for.
options:
  _input:
    description: The node's name in Slurm.
    type: str
    required: true
  cluster:
    description: What M(ai_infra.slurm.slurm_cluster_info) returns as C(cluster).
    type: dict
    required: true
  node:
    description: What M(ai_infra.slurm.slurm_node_probe) returns as C(node); nothing when it could not be run.
    type: dict
  unreachable:
    description: The failure, with code, reason and remedy, for which the machine's facts could not be gathered.
    type: dict
  force:
    description: Whether the user says that a node that does not answer is dead.
    type: bool
    default: false
  uninstall:
    description: Whether packages, key and configuration are removed, too.
    type: bool
    default: false
"""
EXAMPLES = r"""
- name: Require that the node may be removed
  ai_infra.slurm.require:
    findings: "{{ 'node07' | ai_infra.slurm.removal_refusals(preflight_cluster, preflight_node) }}"
"""
RETURN = r"""
_value:
  description: Failures with code, reason and remedy, none when the node may be removed.
  type: list
  elements: dict
"""


def removal_refusals(  # noqa: PLR0917 - a filter's options are its arguments
    name: str,
    cluster: Mapping[str, Any],
    node: Mapping[str, Any] | None = None,
    unreachable: Mapping[str, str] | None = None,
    force: bool = False,  # noqa: FBT001, FBT002 - a filter's option
    uninstall: bool = False,  # noqa: FBT001, FBT002 - the same
) -> list[dict[str, str]]:
    """Return the reasons why the node can't be removed."""
    found = removal.refusals(name, cluster, node, unreachable=unreachable, force=force, uninstall=uninstall)
    return [failure.as_dict() for failure in found]


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"removal_refusals": removal_refusals}
