# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter managed_nodes_conf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.managed_nodes_conf import render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: managed_nodes_conf
short_description: Return the text of slurmscale-nodes.conf
version_added: "0.1.0"
description:
  - Returns what M(ai_infra.slurm.slurm_nodes) keeps in that file. A new controller begins with it, for no nodes yet.
options:
  _input:
    description: The parameters of each node, by its name. May be empty.
    type: dict
    required: true
"""
EXAMPLES = r"""
- name: Create the file of managed nodes
  ansible.builtin.copy:
    content: "{{ {} | ai_infra.slurm.managed_nodes_conf }}"
    dest: /etc/slurm/slurmscale-nodes.conf
    mode: "0644"
    force: false
"""
RETURN = r"""
_value:
  description: The text of the file.
  type: str
"""


def managed_nodes_conf(nodes: Mapping[str, Mapping[str, str]]) -> str:
    """Return the text of the file."""
    return render({name: dict(params) for name, params in nodes.items()}, (), ",".join)


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"managed_nodes_conf": managed_nodes_conf}
