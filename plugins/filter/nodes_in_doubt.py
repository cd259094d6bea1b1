# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter nodes_in_doubt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.settled import in_doubt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: nodes_in_doubt
short_description: Return the nodes of which the facts of a cluster do not prove that they take jobs
version_added: "0.1.0"
description:
  - The facts count for a minute; with older ones all nodes are in doubt.
options:
  _input:
    description: Names of the nodes in Slurm.
    type: list
    elements: str
    required: true
  cluster:
    description: What M(ai_infra.slurm.slurm_cluster_info) found.
    type: dict
    required: true
"""
EXAMPLES = r"""
- name: Show which nodes have to be waited for
  ansible.builtin.debug:
    msg: "{{ ['node07'] | ai_infra.slurm.nodes_in_doubt(preflight_cluster) }}"
"""
RETURN = r"""
_value:
  description: Names of nodes.
  type: list
  elements: str
"""


def nodes_in_doubt(names: Iterable[str], cluster: Mapping[str, Any]) -> list[str]:
    """Return the names of those nodes."""
    return in_doubt(names, cluster, time.time())


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"nodes_in_doubt": nodes_in_doubt}
