"""Nodes follow their controller to a later release, each when it is free, and the job that runs meanwhile ends well."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from testing import SLURM, kill, lab_host, start_playbook, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def package(ctl1: Host) -> str:
    """Return the version of the controller's package."""
    return str(ctl1.check_output("dpkg-query -W -f '${Version}' slurmctld"))


def release(version: str) -> str:
    """Return Slurm's own version of a package's: 26.05.5 for 26.05.5-1."""
    return version.partition("-")[0]


def runs(ctl1: Host, node: str) -> str:
    """Return the version that a node's slurmd tells the controller, once it is that of its program."""
    installed = lab_host(node).check_output("slurmd -V").split()[-1]
    telling = f"scontrol --oneliner show node {node} | grep -o ' Version=[^ ]*' | cut -d = -f 2"
    ctl1.check_output(f"for i in $(seq 60); do [ $({telling}) = {installed} ] && exit; sleep 0.5; done; exit 1")
    return str(installed)


def job_state(ctl1: Host, job: str) -> str:
    return str(ctl1.check_output("scontrol --oneliner show job %s | grep -o 'JobState=[A-Z]*' | cut -d = -f 2", job))


def test_nodes_and_job_of_the_old_release_go_on_under_the_new_controller(
    ctl1: Host, before: dict[str, Any], package: str
) -> None:
    assert ctl1.check_output("slurmctld -V").split()[-1] == release(package)
    assert release(package).split(".")[:2] != SLURM.split(".")[:2]
    assert [runs(ctl1, node) for node in ("ubuntu1", "ubuntu2")] == [SLURM, SLURM]
    assert job_state(ctl1, before["job"]) == "RUNNING"


def test_a_node_is_upgraded_while_the_job_of_another_runs(
    ctl1: Host, before: dict[str, Any], package: str, playbook: Playbook
) -> None:
    run = playbook("upgrade_nodes", "-e", f"slurm_version={package} nodes=ubuntu2")
    assert run.returncode == 0, run.stdout
    assert re.search(r"ubuntu2 +done .*job \d+ COMPLETED", run.stdout), run.stdout
    assert [runs(ctl1, node) for node in ("ubuntu1", "ubuntu2")] == [SLURM, release(package)]
    assert job_state(ctl1, before["job"]) == "RUNNING"


def test_nodes_of_both_releases_work_together(ctl1: Host) -> None:
    command = "cd / && timeout 90 srun --nodes 2 --mem 10 --time 1 --overcommit hostname"
    assert sorted(ctl1.check_output(command).split()) == ["ubuntu1", "ubuntu2"]


def test_the_node_of_the_job_is_upgraded_once_the_job_has_ended(
    ctl1: Host, before: dict[str, Any], package: str, tmp_path: Path
) -> None:
    with (tmp_path / "output").open("w") as output:
        run = start_playbook("upgrade_nodes", "-e", f"slurm_version={package}", output=output)
    try:
        draining = "sinfo --noheader --nodes ubuntu1 --format %T | grep -q draining"
        ctl1.check_output(f"for i in $(seq 240); do {draining} && exit; sleep 0.5; done; exit 1")
        time.sleep(10)
        assert run.poll() is None
        assert job_state(ctl1, before["job"]) == "RUNNING"
        assert runs(ctl1, "ubuntu1") == SLURM
        lab_host("ubuntu1").check_output("touch /var/tmp/end")
        run.wait(300)
    finally:
        kill(run)
    said = (tmp_path / "output").read_text()
    assert run.returncode == 0, said
    assert re.search(r"ubuntu1 +done .*job \d+ COMPLETED", said), said
    assert re.search(r"ubuntu2 +unchanged ", said), said
    assert job_state(ctl1, before["job"]) == "COMPLETED"
    assert lab_host("ubuntu1").check_output("cat /var/tmp/whole") == "whole"
    assert [runs(ctl1, node) for node in ("ubuntu1", "ubuntu2")] == [release(package)] * 2
    states = ctl1.check_output("sinfo --noheader --Node --format '%N %T %E'").splitlines()
    assert {unwrap(line) for line in states} == {"ubuntu1 idle none", "ubuntu2 idle none"}


def test_a_second_run_changes_nothing(playbook: Playbook, package: str) -> None:
    run = playbook("upgrade_nodes", "-e", f"slurm_version={package}")
    assert run.returncode == 0, run.stdout
    assert not re.search(r"changed=[1-9]", run.stdout)


def test_no_node_goes_back_to_the_old_release(playbook: Playbook) -> None:
    run = playbook("upgrade_nodes", "-e", f"slurm_version={SLURM}")
    assert run.returncode != 0
    assert f"{SLURM} would be a step back" in unwrap(run.stdout)
