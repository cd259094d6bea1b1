"""The cluster is moved by the commands of the guide, and goes on where it was."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest
import yaml
from testing import GENERATION, INVENTORY, lab_address, lab_host, run_command, run_playbook

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

STATES = "sinfo --noheader --Node --format '%N %T'"
WAITING = "until [ -e /var/tmp/go ]; do sleep 1; done"


def ssh(host: str, command: str) -> str:
    """Return the shell command that runs a command on a host as root."""
    options = f"-i {INVENTORY}/id_ed25519 -o UserKnownHostsFile={INVENTORY}/known_hosts"
    return f"ssh {options} root@{lab_address(host)} {shlex.quote(command)}"


def submit(ctl1: Host, *arguments: str) -> str:
    """Submit a job that ends when it is told to, and return its id."""
    options = " ".join(shlex.quote(one) for one in ("--output=/dev/null", "--chdir=/", "--mem=10", *arguments))
    return str(ctl1.check_output(f"sbatch --parsable {options} --wrap {shlex.quote(WAITING)}"))


def await_output(host: Host, command: str, wanted: str) -> None:
    """Wait until a command prints something."""
    loop = (
        f"for i in $(seq 60); do {command} | grep -qx {shlex.quote(wanted)} && exit; sleep 1; done; {command}; exit 1"
    )
    host.check_output(loop)


@pytest.fixture(scope="module")
def jobs(ctl1: Host) -> dict[str, str]:
    """Return a job that runs on a node, and one that waits."""
    found = {"running": submit(ctl1, "--nodelist=ubuntu1"), "pending": submit(ctl1, "--begin=now+1hour")}
    await_output(ctl1, f"squeue --noheader --format %T --job {found['running']}", "RUNNING")
    return found


@pytest.fixture(scope="module")
def moved(ctl1: Host, jobs: dict[str, str]) -> Host:
    """Move the cluster to ubuntu2, and return that."""
    assert jobs
    ctl1.check_output("systemctl disable --now slurmctld")
    files = "etc/munge/munge.key etc/slurm var/spool/slurmctld"
    run_command(
        f"{ssh('ctl1', f'tar --numeric-owner -C / -cz {files}')} | {ssh('ubuntu2', 'tar --numeric-owner -C / -xpz')}"
    )
    inventory = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    groups = inventory["all"]["children"]
    groups["old_controllers"] = {"hosts": groups["slurm_controllers"]["hosts"]}
    groups["slurm_controllers"]["hosts"] = {"ubuntu2": groups["slurm_nodes"]["hosts"].pop("ubuntu2")}
    (INVENTORY / "hosts.yml").write_text(yaml.safe_dump(inventory))
    for name in ("setup_controller", "scale_up"):
        run = run_playbook(name, timeout=500)
        assert run.returncode == 0, run.stdout
    return lab_host("ubuntu2")


def test_the_nodes_work_with_the_new_controller(moved: Host) -> None:
    assert [" ".join(line.split()) for line in moved.check_output(STATES).splitlines()] == [
        "rocky1 idle",
        "ubuntu1 mixed",
    ]
    for node in ("rocky1", "ubuntu1"):
        arguments = lab_host(node).check_output("tr '\\0' ' ' < /proc/$(pgrep --oldest slurmd)/cmdline")
        assert "--conf-server ubuntu2:6817" in arguments
    answer = moved.check_output("cd / && timeout 60 srun --nodes 2 --mem 10 --time 1 --overcommit hostname")
    assert sorted(answer.splitlines()) == ["rocky1", "ubuntu1"]


def test_jobs_are_what_they_were_and_the_next_number_is_new(moved: Host, jobs: dict[str, str]) -> None:
    assert moved.check_output("squeue --noheader --format %%T --job %s", jobs["running"]) == "RUNNING"
    assert moved.check_output("squeue --noheader --format %%T --job %s", jobs["pending"]) == "PENDING"
    assert int(submit(moved, "--hold")) > max(int(job) for job in jobs.values())


def test_a_job_from_before_ends_as_it_should(moved: Host, jobs: dict[str, str]) -> None:
    node = lab_host("ubuntu1")
    if GENERATION == "22.05":
        # Its steps tell their end to the name that they started with, as the guide says.
        node.check_output("echo %s ctl1 >> /etc/hosts", lab_address("ubuntu2"))
    node.check_output("touch /var/tmp/go")
    await_output(moved, f"scontrol show job {jobs['running']} | grep -o 'JobState=[A-Z_]*'", "JobState=COMPLETED")


def test_nothing_is_left_to_do_and_the_old_controller_stays_off(moved: Host, ctl1: Host, playbook: Playbook) -> None:
    assert moved.service("slurmctld").is_enabled
    run = playbook("scale_up")
    assert run.returncode == 0, run.stdout
    assert not re.search(r"changed=[1-9]", run.stdout)
    assert not ctl1.service("slurmctld").is_running
    looked = playbook("repair_cluster", "-e", "action=check")
    assert looked.returncode == 0, looked.stdout
