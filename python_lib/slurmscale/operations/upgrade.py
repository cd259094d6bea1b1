"""The upgrade of Slurm on nodes."""

from __future__ import annotations

from slurmscale.operations.common import DRAIN_TIMEOUT, JOBS, PACKAGES, SCALE_TIMEOUT, VERSION
from slurmscale.operations.definition import Definition, Option, Scope

UPGRADE = Definition(
    "upgrade_nodes.yml",
    "Upgrade Slurm on nodes, batch by batch: drain, upgrade, resume, verify with a job.",
    Scope.NODES_OR_ALL,
    "slurm-node-upgrade",
    "slurm:repair",
    repeatable=False,
    options=(
        Option(
            "slurm_version",
            "Version to upgrade to, e.g. 24.11.5-4; `slurmscale apphub check` shows which ones there are.",
            str,
            VERSION,
            required=True,
        ),
        Option("batch", "Nodes at once, a number or a percentage (default: 10%).", str, r"[1-9]\d{0,4}%?"),
        JOBS,
        DRAIN_TIMEOUT,
        SCALE_TIMEOUT,
    ),
    risk=f"Nodes of the batch in progress may stay drained; running it again goes on there. {PACKAGES}",
    question="Upgrade {nodes} of cluster {cluster} to Slurm {slurm_version}, batch by batch?",
)
