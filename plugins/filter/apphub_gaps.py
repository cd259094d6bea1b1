# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter apphub_gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.missing_packages import apphub_gaps

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTATION = r"""
name: apphub_gaps
short_description: Return what an AppHub lacks for a machine
version_added: "0.1.0"
description:
  - Looks packages up in the catalog of an AppHub. Connects to nothing and changes nothing.
options:
  _input:
    description: The catalog, C(/pkgs/catalog.json).
    type: dict
    required: true
  repository:
    description: The machine's repository, such as V(deb/ubuntu/noble) or V(rpm/el9).
    type: str
    required: true
  arch:
    description: The machine's architecture as the kernel calls it, such as V(x86_64).
    type: str
    required: true
  packages:
    description: Names of the packages that the machine needs.
    type: list
    elements: str
    required: true
  version:
    description: >-
      Version of Slurm that is wanted, whole or only its beginning, such as V(24.11). It counts for packages whose name
      starts with slurm. Empty when any will do.
    type: str
    default: ""
"""
EXAMPLES = r"""
- name: Require the packages of a node
  ai_infra.slurm.require:
    findings: "{{ catalog | ai_infra.slurm.apphub_gaps('rpm/el9', 'x86_64', ['munge', 'slurm-slurmd'], '24.11') }}"
"""
RETURN = r"""
_value:
  description: The keys code, reason and remedy of each thing that is missing, with what is there instead.
  type: list
  elements: dict
"""


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"apphub_gaps": apphub_gaps}
