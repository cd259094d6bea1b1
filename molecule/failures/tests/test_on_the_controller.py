"""Faults where nodes are registered: the controller never is without a configuration that works."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
from conftest import CONFIGURATION, details, row
from testing import INVENTORY, ROOT, in_container, run_command, set_down

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("cluster_is_unharmed")

REGISTER = "Update the nodes in the configuration of the controller"
MARKER = "/etc/slurm/slurmscale-backup/in-progress.json"


def change(weight: int) -> tuple[str, str]:
    """Return arguments that change what the controller has of a node."""
    return "-e", json.dumps({"nodes": "rocky1", "slurmd_parameters": {"Weight": weight}})


def weight_of(ctl1: Host, node: str) -> int:
    return int(ctl1.check_output("scontrol --oneliner show node %s | grep -o 'Weight=[0-9]*'", node).split("=")[1])


def test_a_candidate_that_slurm_refuses_never_replaces_the_configuration(ctl1: Host, playbook: Playbook) -> None:
    configuration = ctl1.check_output(CONFIGURATION)
    started = ctl1.check_output("systemctl show --property InvocationID slurmctld")
    run = playbook("scale_up", "-e", json.dumps({"nodes": "rocky1", "slurmd_parameters": {"NoSuchKey": 1}}))
    assert run.returncode != 0
    assert "Nothing was changed, as Slurm refuses the new configuration" in row(run, "rocky1")
    assert "NoSuchKey" in row(run, "rocky1")
    assert ctl1.check_output(CONFIGURATION) == configuration
    assert ctl1.check_output("systemctl show --property InvocationID slurmctld") == started


def test_a_controller_that_dies_with_the_new_configuration_gets_the_old_one_back(
    ctl1: Host, playbook: Playbook
) -> None:
    """Slurm's own commands accept the candidate and slurmctld starts with it, but is killed a second later."""
    configuration = ctl1.check_output(CONFIGURATION)
    kill = "systemd-run --on-active=1 systemctl kill --signal=KILL slurmctld"
    fault = f"if grep -q Weight=21 /etc/slurm/slurmscale-nodes.conf; then {kill}; fi"
    dropin = "/run/systemd/system/slurmctld.service.d"
    ctl1.check_output(
        "mkdir -p %s && printf %s > %s/fault.conf", dropin, f"[Service]\nExecStartPost=+/bin/sh -c '{fault}'\n", dropin
    )
    ctl1.check_output("systemctl daemon-reload")
    try:
        run = playbook("scale_up", *change(21), "-e", "slurmctld_reconfigure_apply=restart")
    finally:
        ctl1.check_output("rm -r %s && systemctl daemon-reload", dropin)
    assert run.returncode != 0
    # Which check finds the daemon gone is a matter of timing; that it was killed is in the journal.
    assert "configuration-rolled-back" in row(run, "rocky1")
    assert re.search("SIGKILL|status=9/KILL", details(run))
    assert "The previous configuration is back and slurmctld answers with it" in details(run)
    assert ctl1.check_output(CONFIGURATION) == configuration


@pytest.mark.parametrize(
    ("task", "said", "down"),
    [
        # Of a node that works nothing is asked, and of one on which nothing is to be done no credential.
        pytest.param(
            "Check names and ports of the nodes from the controller", "it can't be asked", True, marks=pytest.mark.long
        ),
        ("Fetch the munge key from the controller", "The munge key can't be read on ctl1", True),
        pytest.param("Decode the credentials of the nodes", "host-unreachable", True, marks=pytest.mark.long),
        (REGISTER, "ctl1 can't be reached", True),
        # A node that an administrator set DOWN stays so, and gets no job.
        pytest.param("Run a job on each node", "ctl1 can't be reached", False, marks=pytest.mark.long),
    ],
)
def test_a_controller_that_is_lost_in_the_middle_is_named_in_the_table(
    ctl1: Host, struck: Playbook, task: str, said: str, *, down: bool
) -> None:
    """Its Slurm goes on, but nobody can log in any more: no node is to blame for that."""
    configuration = ctl1.check_output(CONFIGURATION)
    if down:
        set_down(ctl1, "rocky1", "test")
    run_command(in_container("rocky1", "systemctl stop slurmd"))
    vanish = "systemctl stop ssh.socket ssh; pkill sshd || true"
    try:
        run = struck(task, in_container("ctl1", vanish), "-e", "nodes=rocky1")
    finally:
        run_command(in_container("ctl1", "systemctl start ssh"))
        run_command(in_container("rocky1", "systemctl start slurmd"))
        # Refused when the node was not DOWN, or has come back by itself.
        ctl1.run("scontrol update NodeName=rocky1 State=RESUME")
    assert run.returncode != 0
    assert said in row(run, "rocky1"), run.stdout
    assert ctl1.check_output(CONFIGURATION) == configuration


def test_a_controller_that_is_lost_while_a_removal_waits_for_jobs(ctl1: Host, struck: Playbook) -> None:
    """The job on ubuntu1 would not end in time; nobody can log in before it is known."""
    configuration = ctl1.check_output(CONFIGURATION)
    vanish = in_container("ctl1", "systemctl stop ssh.socket ssh; pkill sshd || true")
    arguments = ("-e", "nodes=ubuntu1", "-e", "confirm=true", "-e", "drain_timeout=40")
    try:
        run = struck(
            "Drain the nodes and wait for their jobs",
            f"(sleep 8; {vanish}) > /dev/null 2>&1 &",
            *arguments,
            playbook="scale_down",
        )
    finally:
        run_command(in_container("ctl1", "systemctl start ssh"))
        drained = ctl1.check_output("scontrol show node ubuntu1 | grep -E 'State|Reason'")
        ctl1.run("scontrol update NodeName=ubuntu1 State=RESUME")
    assert run.returncode != 0
    assert "ctl1 can't be reached" in row(run, "ubuntu1"), run.stdout
    assert "slurmscale: scale down" in drained
    assert ctl1.check_output(CONFIGURATION) == configuration


@pytest.mark.long
def test_a_controller_that_is_gone_when_nodes_are_to_be_registered(ctl1: Host, struck: Playbook) -> None:
    configuration = ctl1.check_output(CONFIGURATION)
    try:
        run = struck(REGISTER, in_container("ctl1", "systemctl stop slurmctld"), *change(22))
    finally:
        ctl1.check_output("systemctl start slurmctld")
    assert run.returncode != 0
    assert "Nothing was changed, as slurmctld has to answer before its nodes are changed" in row(run, "rocky1")
    assert "Start it, then run again" in row(run, "rocky1")
    assert ctl1.check_output(CONFIGURATION) == configuration


def test_a_controller_that_goes_after_nodes_were_registered(ctl1: Host, struck: Playbook, playbook: Playbook) -> None:
    try:
        run = struck(
            "Wait until the nodes are available",
            in_container("ctl1", "systemctl stop slurmctld"),
            *change(23),
            "-e",
            "scale_timeout=10",
        )
    finally:
        ctl1.check_output("systemctl start slurmctld")
    assert run.returncode != 0
    assert "Unable to contact slurm controller" in row(run, "rocky1")
    assert "The controller must answer before" in row(run, "rocky1")
    assert "systemctl status slurmctld" in row(run, "rocky1")
    again = playbook("scale_up", *change(23))
    assert again.returncode == 0, again.stdout
    assert weight_of(ctl1, "rocky1") == 23


def test_a_full_disk_below_the_configuration(ctl1: Host, playbook: Playbook) -> None:
    """Full from the start; what gets full later hinders no way back, as test_config_files shows."""
    configuration = ctl1.check_output(CONFIGURATION)
    # In memory, where each small file takes a page. Backups of before would be dropped for the new one.
    steps = [
        "rm -rf /etc/slurm/slurmscale-backup",
        "cp -a /etc/slurm /run/slurm.kept",
        "mount -t tmpfs -o size=128k tmpfs /etc/slurm",
        "cp -a /run/slurm.kept/. /etc/slurm",
        "{ cat /dev/zero > /etc/slurm/fill 2>/dev/null || true; }",
    ]
    run_command(in_container("ctl1", " && ".join(steps)))
    try:
        run = playbook("scale_up", *change(24))
        there, marker = ctl1.check_output(CONFIGURATION), ctl1.file(MARKER).exists
    finally:
        run_command(in_container("ctl1", "umount /etc/slurm && rm -r /run/slurm.kept"))
    assert run.returncode != 0
    assert "No space left on device: '/etc/slurm/" in row(run, "rocky1")
    assert "df -h /etc/slurm" in row(run, "rocky1")
    assert there == configuration
    assert not marker


@pytest.mark.long
def test_a_killed_run_is_continued_by_the_next(ctl1: Host, struck: Playbook, playbook: Playbook) -> None:
    """Killed while the controller takes the new configuration; what was begun on it goes on meanwhile."""
    killed = struck(REGISTER, "(sleep 2; kill -9 $PPID) >/dev/null 2>&1 &", *change(25))
    assert killed.returncode < 0
    run = playbook("scale_up", *change(25))
    assert run.returncode == 0, run.stdout
    assert weight_of(ctl1, "rocky1") == 25


def test_a_run_that_is_killed_on_the_controller_itself_is_recovered_by_the_next(
    ctl1: Host, struck: Playbook, playbook: Playbook
) -> None:
    """Killed between the new file and its proof, as by the machine's end."""
    kill = (
        f"while [ ! -e {MARKER} ]; do sleep 0.02; done; "
        "kill -9 $(sed 's/process \\([0-9]*\\),.*/\\1/' /run/slurmscale-nodes.lock)"
    )
    killed = struck(
        REGISTER, in_container("ctl1", f"systemd-run --quiet --collect /bin/sh -c {shlex.quote(kill)}"), *change(26)
    )
    assert killed.returncode != 0
    assert ctl1.file(MARKER).exists
    run = playbook("scale_up", *change(26))
    assert run.returncode == 0, run.stdout
    assert not ctl1.file(MARKER).exists
    assert weight_of(ctl1, "rocky1") == 26


def test_two_runs_at_once_register_both_their_nodes(ctl1: Host) -> None:
    command = ["ansible-playbook", "-i", str(INVENTORY / "hosts.yml"), str(ROOT / "playbooks" / "scale_up.yml")]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    wanted = {"rocky2": 31, "ubuntu2": 32}
    runs = [
        subprocess.Popen(
            [*command, "-e", json.dumps({"nodes": node, "slurmd_parameters": {"Weight": weight}})],
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for node, weight in wanted.items()
    ]
    outputs = [run.communicate(timeout=400)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(outputs)
    assert {node: weight_of(ctl1, node) for node in wanted} == wanted
    states = ctl1.check_output("sinfo --noheader --Node --format '%N %T'").splitlines()
    assert {"rocky2 idle", "ubuntu2 idle"} <= {" ".join(line.split()) for line in states}
