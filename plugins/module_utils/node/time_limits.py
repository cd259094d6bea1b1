# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""How long nodes may take where a playbook says nothing else."""

from __future__ import annotations

#: Seconds until a node is available, and again until its job has ended: scale_timeout and repair_timeout.
READY_SECONDS = 120
#: Minutes that Slurm lets a job run which verifies a node: time_limit of slurm_job. READY_SECONDS cancel it before.
JOB_MINUTES = 2
#: Seconds until no job is on a node: drain_timeout.
DRAIN_SECONDS = 300
