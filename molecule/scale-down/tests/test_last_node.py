"""The last node leaves, the controller stays, and a machine that left may come back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from testing import lab_host

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from conftest import Slurm
    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]


def test_the_last_node_leaves_when_its_job_is_cancelled(
    slurm: Slurm, ctl1: Host, before: dict[str, Any], playbook: Playbook
) -> None:
    waiting = ctl1.check_output(
        "sbatch --parsable --nodelist ubuntu1 --begin now+1hour --output /dev/null --chdir / --wrap true"
    )
    run = playbook("scale_down", "-e", "nodes=ubuntu1 confirm=true jobs=cancel drain_timeout=120")
    assert run.returncode == 0, run.stdout
    assert "1 of 1 nodes are removed, 0 kept, 0 failed." in run.stdout
    assert slurm.nodes() == set()
    assert "is UP" in ctl1.check_output("scontrol ping")
    for job in (before["job"], waiting):
        assert "JobState=CANCELLED" in ctl1.check_output("scontrol show job %s", job)


def test_a_second_run_changes_nothing_and_says_why(playbook: Playbook) -> None:
    run = playbook("scale_down", "-e", "nodes=ubuntu1,ubuntu2 confirm=true")
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("is not in the cluster") >= 2
    assert not re.search(r"changed=[1-9]", run.stdout)


def test_a_machine_that_left_comes_back(slurm: Slurm, playbook: Playbook) -> None:
    run = playbook("scale_up", "-e", "nodes=ubuntu2", timeout=500)
    assert run.returncode == 0, run.stdout
    assert slurm.nodes() == {"ubuntu2"}
    assert slurm.state("ubuntu2").startswith("idle")


def test_a_node_that_is_invalid_and_runs_nothing_leaves(slurm: Slurm, ctl1: Host, playbook: Playbook) -> None:
    own = "/etc/slurm/slurmscale-nodes.conf"
    ctl1.check_output("sed -i '/NodeName=ubuntu2/s/RealMemory=[0-9]*/RealMemory=9000000/' %s", own)
    ctl1.check_output("scontrol reconfigure")
    lab_host("ubuntu2").check_output("systemctl restart slurmd")
    waiting = "for i in $(seq 60); do sinfo --noheader --format %%T | grep -q inval && exit; sleep 0.5; done; exit 1"
    ctl1.check_output(waiting)
    run = playbook("scale_down", "-e", "nodes=ubuntu2 confirm=true drain_timeout=30")
    assert run.returncode == 0, run.stdout
    assert slurm.nodes() == set()
