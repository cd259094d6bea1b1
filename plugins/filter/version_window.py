# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter version_window."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import versions

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTATION = r"""
name: version_window
short_description: Says why nodes of a version of Slurm can't work with a controller
version_added: "0.1.0"
description:
  - slurmd must not be newer than slurmctld, and not older than Slurm's window of releases. Asks nobody.
options:
  _input:
    description: The nodes' version, whole (V(24.11.5-4)) or its beginning (V(24.11)).
    type: str
    required: true
  controller:
    description: Version of slurmctld.
    type: str
    required: true
"""
EXAMPLES = r"""
- name: Refuse a version that the controller can't work with
  ansible.builtin.assert:
    that: slurm_version | ai_infra.slurm.version_window('24.11.5') == ''
"""
RETURN = r"""
_value:
  description: The reason, with what to do; empty when they work together.
  type: str
"""


def version_window(version: str, controller: str) -> str:
    """Return why nodes of a version can't work with this controller; empty when they can."""
    if not re.match(r"\d+\.\d+(\.\d+)?(?![0-9a-zA-Z])", version):
        return f"slurm_version must be a version such as 24.11.5 or 24.11.5-4, but is {version!r}"
    if versions.is_newer(version, controller):
        return f"{version} is newer than slurmctld, which is {controller}; upgrade the controller first"
    if versions.is_too_old(version, controller):
        oldest = versions.oldest_slurmd(controller)
        return f"slurmctld {controller} works with slurmd {oldest} and later, not with {version}"
    return ""


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"version_window": version_window}
