# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter files_changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import files_changed

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTATION = r"""
name: files_changed
short_description: Return whether a run of slurm_node_files changed anything for one role
version_added: "0.1.0"
options:
  _input:
    description: What M(ai_infra.slurm.slurm_node_files) returned, or an empty dict when it did not run.
    type: dict
    required: true
  wanted:
    description: The part of its options that the role wanted.
    type: dict
    required: true
"""
EXAMPLES = r"""
- name: Show whether slurmd must be restarted
  ansible.builtin.debug:
    msg: "{{ written | ai_infra.slurm.files_changed(slurmd_node_files) }}"
"""
RETURN = r"""
_value:
  description: Whether it did.
  type: bool
"""


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"files_changed": files_changed}
