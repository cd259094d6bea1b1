# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action slurm_job: runs the module, and reports a lost connection as a failure with a reason."""

from __future__ import annotations

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.controller_action import FailsWhenLost


class ActionModule(FailsWhenLost):
    """Runs the module."""
