"""A new munge key for the whole cluster."""

from __future__ import annotations

from slurmscale.operations.common import SECONDS
from slurmscale.operations.definition import Definition, Option, Scope, Uncut

_HOSTS = r"[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*"
_ROTATION_ENDS = "It ends by itself, with the new key on all hosts or with the old one."

ROTATE_MUNGE_KEY = Definition(
    "rotate_munge_key.yml",
    "Give the whole cluster a new munge key.",
    Scope.WHOLE_CLUSTER,
    "munge-key-rotation",
    "slurm:repair",
    repeatable=False,
    options=(
        Option("skip_unreachable", "Leave out hosts that can't be reached; they keep the old key.", bool),
        Option("also", "Further hosts with the cluster's key, e.g. login1,login2.", str, _HOSTS),
        Option("lead", "Seconds until the hosts switch (default: 20 and a quarter per host).", int, SECONDS),
        Option(
            "hold",
            "Seconds after which the old key returns unless all are verified (default: 120 and one per host).",
            int,
            SECONDS,
        ),
    ),
    whole=True,
    risk=f"Nothing is changed while the hosts are checked. From then on it cannot be cancelled. {_ROTATION_ENDS}",
    uncut=Uncut("Stage a new key on the controller", _ROTATION_ENDS),
    question="Give all hosts of cluster {cluster} a new munge key?",
)
