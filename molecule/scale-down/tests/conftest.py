"""Jobs to submit; hosts and playbooks come from the lab."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import before, ctl1, playbook

if TYPE_CHECKING:
    from testinfra.host import Host

__all__ = ["before", "ctl1", "playbook"]


class Slurm:
    """What the tests ask of the controller."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def submit(self, *where: str) -> str:
        """Start a job where these options of sbatch say and return its id once it runs."""
        command = f"sbatch --parsable --requeue {' '.join(where)} --output /dev/null --chdir / --wrap 'sleep 3600'"
        job = self.host.check_output(command.replace("%", "%%"))
        running = "squeue --noheader --states RUNNING --job %s | grep -q ."
        waiting = f"for i in $(seq 60); do {running} && exit; sleep 0.5; done; exit 1"
        self.host.check_output(waiting, job)
        return str(job)

    def job(self, job: str) -> str:
        """Return state and nodes of a job, also of one that has just ended."""
        return str(self.host.check_output("squeue --noheader --states all --format '%%T %%N' --job %s", job)).strip()

    def cancel(self, job: str) -> None:
        """End a job and wait until its node is free."""
        waiting = "for i in $(seq 60); do squeue --noheader --job %s | grep -q . || exit 0; sleep 0.5; done; exit 1"
        self.host.check_output("scancel %s", job)
        self.host.check_output(waiting, job)

    def state(self, node: str) -> str:
        """Return the state of a node and its reason."""
        return str(self.host.check_output("sinfo --noheader --nodes %s --format '%%T %%E'", node))

    def nodes(self) -> set[str]:
        """Return the nodes that the controller knows."""
        return set(self.host.check_output("sinfo --noheader --Node --format %%N").split())


@pytest.fixture(scope="session")
def slurm(ctl1: Host) -> Slurm:
    return Slurm(ctl1)
