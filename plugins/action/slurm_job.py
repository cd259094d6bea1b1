# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action slurm_job: the module, and why it could not run when the connection is lost."""

from __future__ import annotations

from ansible_collections.ai_infra.slurm.plugins.plugin_utils.lost_connection import FailsWhenLost


class ActionModule(FailsWhenLost):
    """Runs the module."""
