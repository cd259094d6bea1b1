# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter node_files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import node_files

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTATION = r"""
name: node_files
short_description: Combine the files of several roles for one run of slurm_node_files
version_added: "0.1.0"
description:
  - Merges options of M(ai_infra.slurm.slurm_node_files). A file without content must not be there, a secret is given
    in base64, and the directory of each file is added.
options:
  _input:
    description: A dict of the module's options for each role. The content of a secret may be given as text.
    type: list
    elements: dict
    required: true
"""
EXAMPLES = r"""
- name: Show what would be written in one run
  ansible.builtin.debug:
    msg: "{{ [apphub_client_node_files, slurmd_node_files] | ai_infra.slurm.node_files }}"
"""
RETURN = r"""
_value:
  description: The options sysusers, directories, files, words and absent.
  type: dict
"""


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"node_files": node_files}
