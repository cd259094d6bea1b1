"""The operations by name."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from slurmscale.operations.apphub import CHECK_APPHUB, PUBLISH_APPHUB
from slurmscale.operations.cluster import DISCOVER_CLUSTER, SETUP_CONTROLLER
from slurmscale.operations.definition import Result
from slurmscale.operations.jobs import CANCEL_JOB, QUERY_JOBS, READ_JOB_OUTPUT, SUBMIT_JOB
from slurmscale.operations.repair import REPAIR_CHECK, REPAIR_FIX, REPAIR_TEST
from slurmscale.operations.rotate_munge_key import ROTATE_MUNGE_KEY
from slurmscale.operations.scale_down import SCALE_DOWN
from slurmscale.operations.scale_up import CHECK, PLAN, SCALE_UP
from slurmscale.operations.upgrade import UPGRADE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmscale.operations.definition import Definition


class Operation(StrEnum):
    """What a run does."""

    PLAN = "plan"
    SCALE_UP = "scale-up"
    SCALE_DOWN = "scale-down"
    CHECK = "check"
    REPAIR_CHECK = "repair-check"
    REPAIR_FIX = "repair-fix"
    REPAIR_TEST = "repair-test"
    UPGRADE = "upgrade"
    ROTATE_MUNGE_KEY = "rotate-munge-key"
    PUBLISH_APPHUB = "publish-apphub"
    CHECK_APPHUB = "check-apphub"
    SETUP_CONTROLLER = "setup-controller"
    DISCOVER_CLUSTER = "discover-cluster"
    SUBMIT_JOB = "submit-job"
    QUERY_JOBS = "query-jobs"
    CANCEL_JOB = "cancel-job"
    READ_JOB_OUTPUT = "read-job-output"

    @property
    def definition(self) -> Definition:
        """What it is."""
        return DEFINITIONS[self]

    @property
    def preview(self) -> Operation | None:
        """The operation that shows beforehand what it would do."""
        return next((one for one in Operation if one.definition is self.definition.preview), None)

    @property
    def playbook(self) -> str:
        """File name of the playbook that does it."""
        return self.definition.playbook

    @property
    def reports(self) -> bool:
        """Whether the playbook writes a report, which tells the result."""
        return self.definition.result is not Result.NODES

    @property
    def task_type(self) -> str:
        """Type of the task records of such a run."""
        return self.definition.task_type


DEFINITIONS: dict[Operation, Definition] = {
    Operation.PLAN: PLAN,
    Operation.SCALE_UP: SCALE_UP,
    Operation.SCALE_DOWN: SCALE_DOWN,
    Operation.CHECK: CHECK,
    Operation.REPAIR_CHECK: REPAIR_CHECK,
    Operation.REPAIR_FIX: REPAIR_FIX,
    Operation.REPAIR_TEST: REPAIR_TEST,
    Operation.UPGRADE: UPGRADE,
    Operation.ROTATE_MUNGE_KEY: ROTATE_MUNGE_KEY,
    Operation.PUBLISH_APPHUB: PUBLISH_APPHUB,
    Operation.CHECK_APPHUB: CHECK_APPHUB,
    Operation.SETUP_CONTROLLER: SETUP_CONTROLLER,
    Operation.DISCOVER_CLUSTER: DISCOVER_CLUSTER,
    Operation.SUBMIT_JOB: SUBMIT_JOB,
    Operation.QUERY_JOBS: QUERY_JOBS,
    Operation.CANCEL_JOB: CANCEL_JOB,
    Operation.READ_JOB_OUTPUT: READ_JOB_OUTPUT,
}


def of_playbook(playbook: str, variables: Mapping[str, Any]) -> Operation | None:
    """Say which operation a call of a playbook is.

    Args:
        playbook: File name of the playbook.
        variables: Its extra variables.

    Returns:
        The one whose own variables are stated, else the one that needs none of them; None when it is none.
    """
    found = [operation for operation, definition in DEFINITIONS.items() if definition.playbook == playbook]

    def stated(operation: Operation) -> int:
        own = operation.definition.variables
        same = [str(variables.get(name)).lower() == str(value).lower() for name, value in own.items()]
        return len(own) if all(same) else -1

    return max(found, key=stated, default=None)
