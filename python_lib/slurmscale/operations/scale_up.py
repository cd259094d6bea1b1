"""Scaling up: the plan, the check of the machines, and the scale-up itself."""

from __future__ import annotations

from slurmscale.operations.common import PACKAGES, SCALE_TIMEOUT, TAKE_OVER, VERSION
from slurmscale.operations.definition import Definition, Option, Result, Scope, Stage

_SLURM_VERSION = Option("slurm_version", "Version to install (default: the controller's).", str, VERSION)

PLAN = Definition(
    "scale_up.yml",
    "Show what scaling up would do to each node and to the controller; changes nothing.",
    Scope.NODES,
    "slurm-node-plan",
    "slurm:check:nodes",
    changes=False,
    result=Result.PLAN,
    options=(TAKE_OVER, _SLURM_VERSION),
    variables={"plan_only": True},
)

CHECK = Definition(
    "check_nodes.yml",
    "Check whether nodes are ready to be scaled up; changes nothing.",
    Scope.NODES,
    "slurm-node-check",
    "slurm:check:nodes",
    changes=False,
    result=Result.READINESS,
    options=(TAKE_OVER,),
)

SCALE_UP = Definition(
    "scale_up.yml",
    "Make compute nodes of machines: install, register, verify with a job.",
    Scope.NODES,
    "slurm-node",
    "slurm:scale:nodes",
    options=(TAKE_OVER, _SLURM_VERSION, SCALE_TIMEOUT),
    risk=f"Nodes are left half installed, and running it again goes on there. {PACKAGES}",
    question="Scale {nodes} up in cluster {cluster}?",
    preview=PLAN,
    stages=(
        Stage("prepare", "prepare_nodes.yml", 0, 70),
        Stage("register", "register_prepared.yml", 70, 80, together=True),
        Stage("start", "start_nodes.yml", 80, 100),
    ),
)
