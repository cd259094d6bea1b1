# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What modules have in common that only read."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that modules share."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Changes nothing in any case.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""
