# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter registration_findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils import registration as checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: registration_findings
short_description: Says what keeps a cluster from taking a node as it is asked for
version_added: "0.1.0"
description:
  - Compares the version of Slurm to install, and the way in which the node is registered, with the cluster.
options:
  _input:
    description: What M(ai_infra.slurm.slurm_cluster_info) returns as C(cluster).
    type: dict
    required: true
  name:
    description: The node's name in Slurm.
    type: str
    required: true
  version:
    description: The version of Slurm to install, whole (V(24.11.5-4)) or its beginning (V(24.11)).
    type: str
    required: true
  registration:
    description: static, or dynamic for a node that registers by itself.
    type: str
    default: static
  dynamic:
    description: Whether slurmd registers the node by itself.
    type: bool
    default: false
  nodes:
    description: Names of the nodes of the run.
    type: list
    elements: str
    default: []
"""
EXAMPLES = r"""
- name: Require that the cluster can take the node
  ai_infra.slurm.require:
    findings: "{{ preflight_cluster | ai_infra.slurm.registration_findings('node07', '24.11') | rejectattr('ok') }}"
"""
RETURN = r"""
_value:
  description: One entry per check with the keys check, code, ok, needed, found, reason and remedy.
  type: list
  elements: dict
"""


def registration_findings(  # noqa: PLR0917 - a filter's options are its arguments
    cluster: Mapping[str, Any],
    name: str,
    version: str,
    registration: str = "static",
    dynamic: bool = False,  # noqa: FBT001, FBT002 - the same
    nodes: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Return one entry per check."""
    joining = len({*(cluster.get("nodes") or {}), *nodes})
    return [
        *checks.wanted_version(version, cluster),
        *checks.way(name, cluster, registration, dynamic=dynamic, joining=joining),
    ]


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"registration_findings": registration_findings}
