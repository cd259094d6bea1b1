"""The operations that runs perform, and the playbook of each."""

from __future__ import annotations

from enum import StrEnum


class Operation(StrEnum):
    """What a run does to its nodes."""

    SCALE_UP = "scale-up"
    SCALE_DOWN = "scale-down"
    CHECK = "check"

    @property
    def playbook(self) -> str:
        """File name of the playbook that does it."""
        return {"scale-up": "scale_up.yml", "scale-down": "scale_down.yml", "check": "check_nodes.yml"}[self.value]

    @property
    def reports(self) -> bool:
        """Whether the playbook tells each node's result in a report instead of failing the node."""
        return self is Operation.CHECK

    @property
    def task_type(self) -> str:
        """Type of the task records of such a run."""
        return {"scale-up": "slurm-node", "scale-down": "slurm-node-removal", "check": "slurm-node-check"}[self.value]
