# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter outdated_files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import outdated_files

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTATION = r"""
name: outdated_files
short_description: Return the files of a node that differ from what is wanted
version_added: "0.1.0"
options:
  _input:
    description: What M(ai_infra.slurm.slurm_node_probe) returns as C(node).
    type: dict
    required: true
  wanted:
    description: Options of M(ai_infra.slurm.slurm_node_files). A file may state C(sha256) in place of its content.
    type: dict
    required: true
"""
EXAMPLES = r"""
- name: Show what has to be written
  ansible.builtin.debug:
    msg: "{{ preflight_node | ai_infra.slurm.outdated_files(slurmd_node_files) }}"
"""
RETURN = r"""
_value:
  description: Their paths, in alphabetical order. A file that the probe was not asked for is among them.
  type: list
  elements: str
"""


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"outdated_files": outdated_files}
