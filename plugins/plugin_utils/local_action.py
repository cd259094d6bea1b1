# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Actions that run on the control machine only."""

from __future__ import annotations

from ansible.plugins.action import ActionBase


class LocalAction(ActionBase):
    """Runs on the control machine and connects to nothing."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
