"""What is done to a cluster as a whole: its first controller is set up, or asked what the cluster is."""

from __future__ import annotations

from slurmscale.operations.common import PACKAGES, VERSION
from slurmscale.operations.definition import Definition, Option, Result, Scope

SETUP_CONTROLLER = Definition(
    "setup_controller.yml",
    "Make a Slurm controller of a bare machine.",
    Scope.CONTROLLER,
    "slurm-controller",
    "slurm:repair",
    options=(
        Option("slurmctld_cluster_name", "Name of the new cluster.", str, r"[a-z0-9_-]{1,40}", "--cluster-name"),
        Option("slurm_version", "Version to install.", str, VERSION),
    ),
    risk=f"The controller is left half set up, and running it again goes on there. {PACKAGES}",
    question="Install Slurm on the first controller of cluster {cluster}, write slurm.conf and start slurmctld?",
)

DISCOVER_CLUSTER = Definition(
    "discover_cluster.yml",
    "Find out whether a cluster can be worked with, and what it is; changes nothing.",
    Scope.CONTROLLER,
    "slurm-cluster",
    "slurm:clusters:write",
    changes=False,
    result=Result.CLUSTER,
    options=(
        Option(
            "discover_fingerprint",
            "Fingerprint of the controller's ssh key, as somebody compared it.",
            str,
            r"SHA256:[A-Za-z0-9+/]{43}",
            "--fingerprint",
        ),
    ),
    claims=False,
)
