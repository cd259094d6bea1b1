# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What actions have in common that run on the control machine only."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that modules share."""

    DOCUMENTATION = r"""
attributes:
  action:
    description: Runs on the control machine as an action; there is no module for the host.
    support: full
  check_mode:
    description: Does the same as without check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no diff.
    support: N/A
"""
