"""Scaling down."""

from __future__ import annotations

from slurmscale.operations.common import DRAIN_TIMEOUT, JOBS
from slurmscale.operations.definition import Definition, Option, Scope

SCALE_DOWN = Definition(
    "scale_down.yml",
    "Drain nodes and take them out of the cluster.",
    Scope.NODES,
    "slurm-node-removal",
    "slurm:remove:nodes",
    options=(
        JOBS,
        DRAIN_TIMEOUT,
        Option("keep_drained", "Leave a node that is kept because it is busy drained, for a later run.", bool),
        Option("force", "Remove also nodes that don't answer because they are dead.", bool),
        Option("uninstall", "Also remove packages, key and configuration from the nodes.", bool),
    ),
    variables={"confirm": True},
    risk="Nodes may stay drained by it; running it again goes on there.",
    question="Take {nodes} out of cluster {cluster}?",
)
