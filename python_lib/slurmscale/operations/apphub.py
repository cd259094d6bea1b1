"""What is done to AppHubs."""

from __future__ import annotations

from slurmscale.operations.definition import Definition, Result, Scope

PUBLISH_APPHUB = Definition(
    "publish_apphub.yml",
    "Publish the packages of the AppHub's folders, signed.",
    Scope.APPHUB,
    "apphub-publication",
    "slurm:repair",
    risk="What was published before stays published; running it again goes on there.",
)

CHECK_APPHUB = Definition(
    "check_apphub.yml",
    "Check the AppHubs; changes nothing.",
    Scope.APPHUB,
    "apphub-check",
    "slurm:check:nodes",
    changes=False,
    result=Result.APPHUB,
)
