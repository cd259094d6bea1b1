"""The repair of a cluster, which lists, fixes or tests."""

from __future__ import annotations

from typing import Any

from slurmscale.operations.common import SECONDS
from slurmscale.operations.definition import Definition, Option, Result, Scope

_REPAIR_TIMEOUT = Option(
    "repair_timeout",
    "Seconds until a fixed node must be available, or a test job must have ended (default: 120).",
    int,
    SECONDS,
)


def _repair(action: str, summary: str, *, changes: bool, **more: Any) -> Definition:
    return Definition(
        "repair_cluster.yml",
        summary,
        Scope.CLUSTER,
        "slurm-repair",
        "slurm:repair" if changes else "slurm:check:nodes",
        changes=changes,
        # a job that was submitted twice does no harm, a half fixed host wants to be looked at
        repeatable=not changes,
        result=Result.REPAIR,
        options=(_REPAIR_TIMEOUT,),
        variables={"action": action},
        **more,
    )


REPAIR_CHECK = _repair("check", "List what is wrong with a cluster; changes nothing.", changes=False)

REPAIR_FIX = _repair(
    "fix",
    "Fix what is safe to fix, and say what is left.",
    changes=True,
    risk="A fix may be half done; check again afterwards.",
    question="Fix what is safe to fix of that on cluster {cluster}?",
    preview=REPAIR_CHECK,
)

REPAIR_TEST = _repair(
    "test",
    "Run a job in each partition.",
    changes=False,
    risk="A test job may be left in the queue.",
)
