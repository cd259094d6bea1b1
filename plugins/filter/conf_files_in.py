# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter conf_files_in."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: conf_files_in
short_description: Place a cluster's configuration files in a node's directory
version_added: "0.1.0"
description:
  - Turns what M(ai_infra.slurm.slurm_conf_files) returns into the directories and files that
    M(ai_infra.slurm.slurm_node_files) has to make on a node. Files behind links, as on a shared file system, are kept
    behind them.
options:
  _input:
    description: The files, each with a path that is relative to the directory of slurm.conf or absolute.
    type: list
    elements: dict
    required: true
  directory:
    description: Where the node's packages look for slurm.conf.
    type: str
    required: true
"""
EXAMPLES = r"""
- name: Bring the files
  ai_infra.slurm.slurm_node_files:
    directories: "{{ (conf.files | ai_infra.slurm.conf_files_in('/etc/slurm')).directories }}"
    files: "{{ (conf.files | ai_infra.slurm.conf_files_in('/etc/slurm')).files }}"
"""
RETURN = r"""
_value:
  description: The keys directories and files.
  type: dict
"""


def conf_files_in(files: Iterable[Mapping[str, Any]], directory: str) -> dict[str, list[dict[str, Any]]]:
    """Return the directories and files for a node whose slurm.conf lies in the directory."""
    placed = [{**file, "path": posixpath.join(directory, file["path"]), "follow": True} for file in files]
    directories = dict.fromkeys([directory, *(posixpath.dirname(file["path"]) for file in placed)])
    return {"directories": [{"path": path} for path in directories], "files": placed}


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"conf_files_in": conf_files_in}
