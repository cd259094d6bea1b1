"""Wrong calls and faults: each has a clear answer, and the cluster is as it was."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from conftest import INVENTORY, ROOT, lab_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

GENERATION = os.environ.get("LAB_SLURM", "24.11")
CONFIGURATION = "cat /etc/slurm/slurm.conf /etc/slurm/slurmscale-nodes.conf"


def words(text: str) -> str:
    """Return the text with every run of white space as one blank: long messages are wrapped."""
    return " ".join(text.split())


@pytest.fixture(autouse=True)
def cluster_is_unharmed(ctl1: Host, before: dict[str, Any]) -> Iterator[None]:
    """After every test: the controller answers, and the old node and its job go on."""
    yield
    assert "is UP" in ctl1.check_output("scontrol ping")
    assert ctl1.check_output("squeue --noheader --format '%%T %%N' --job %s", before["job"]) == "RUNNING ubuntu1"
    assert (
        lab_host("ubuntu1").check_output("systemctl show --property InvocationID --value slurmd")
        == before["slurmd_start"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-e", "nodes=rocky3,rocky9"], "rocky9, which the inventory does not know"),
        (["-e", "nodes=rocky3,rocky3"], "names rocky3 twice"),
        (["-e", "nodes="], "nodes selects no host"),
        (["-e", "nodes=rocky3", "--limit", "rocky3"], "--limit (rocky3) leaves out"),
        (["-e", "nodes=rocky3", "--limit", "rocky3,ctl1"], "--limit (rocky3,ctl1) leaves out"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_touched(
    ctl1: Host, playbook: Playbook, arguments: list[str], message: str
) -> None:
    configuration = ctl1.check_output(CONFIGURATION)
    run = playbook("scale_up", *arguments)
    assert run.returncode != 0
    assert message in words(run.stdout)
    assert "changed=0" in run.stdout
    assert ctl1.check_output(CONFIGURATION) == configuration
    assert not lab_host("rocky3").package("munge").is_installed


def test_no_apphub_stops_the_run_and_names_what_was_tried(playbook: Playbook) -> None:
    apphub = lab_host("apphub")
    apphub.check_output("systemctl stop nginx")
    try:
        run = playbook("scale_up", "-e", "nodes=rocky3")
    finally:
        apphub.check_output("systemctl start nginx")
    assert run.returncode != 0
    assert ":8081" in run.stdout
    assert "refused" in words(run.stdout).lower()
    assert not lab_host("rocky3").file("/etc/yum.repos.d/apphub.repo").exists


def test_an_unreachable_node_fails_alone(playbook: Playbook, tmp_path: Path) -> None:
    extra = tmp_path / "ghost.yml"
    extra.write_text(
        json.dumps({"slurm_nodes": {"hosts": {"ghost": {"ansible_host": "127.0.0.1", "ansible_port": 1}}}})
    )
    run = playbook("scale_up", "-i", str(extra), "-e", "nodes=ubuntu2,ghost")
    assert run.returncode != 0
    assert "1 of 2 nodes are well, 1 failed" in run.stdout
    assert "can't be reached" in words(run.stdout)


def test_memory_above_what_the_node_has_is_refused_before_anything_is_installed(playbook: Playbook) -> None:
    stated = json.dumps({"nodes": "rocky3", "slurmd_parameters": {"RealMemory": 9999999}})
    run = playbook("scale_up", "-e", stated)
    assert run.returncode != 0
    assert "RealMemory=9999999 is stated, but the node has" in words(run.stdout)
    assert not lab_host("rocky3").package("munge").is_installed


def test_a_candidate_that_slurm_refuses_never_replaces_the_configuration(ctl1: Host, playbook: Playbook) -> None:
    configuration = ctl1.check_output(CONFIGURATION)
    started = ctl1.check_output("systemctl show --property InvocationID slurmctld")
    stated = json.dumps({"nodes": "rocky3", "slurmd_parameters": {"NoSuchKey": 1}})
    run = playbook("scale_up", "-e", stated)
    assert run.returncode != 0
    assert "NoSuchKey" in run.stdout
    assert ctl1.check_output(CONFIGURATION) == configuration
    assert ctl1.check_output("systemctl show --property InvocationID slurmctld") == started


def test_a_controller_that_dies_with_the_new_configuration_gets_the_old_one_back(
    ctl1: Host, playbook: Playbook
) -> None:
    """Slurm's own commands accept the candidate and slurmctld starts with it, but is killed a second later."""
    configuration = ctl1.check_output(CONFIGURATION)
    kill = "systemd-run --on-active=1 systemctl kill --signal=KILL slurmctld"
    fault = f"if grep -q NodeName=rocky3 /etc/slurm/slurmscale-nodes.conf; then {kill}; fi"
    dropin = "/run/systemd/system/slurmctld.service.d"
    ctl1.check_output(
        "mkdir -p %s && printf %s > %s/fault.conf", dropin, f"[Service]\nExecStartPost=+/bin/sh -c '{fault}'\n", dropin
    )
    ctl1.check_output("systemctl daemon-reload")
    try:
        run = playbook("scale_up", "-e", json.dumps({"nodes": "rocky3", "slurmctld_reconfigure_apply": "restart"}))
    finally:
        ctl1.check_output("rm -r %s && systemctl daemon-reload", dropin)
    assert run.returncode != 0
    assert "restored" in words(run.stdout)
    assert ctl1.check_output(CONFIGURATION) == configuration


def test_a_wrong_munge_key_on_a_node_is_mended(ctl1: Host, playbook: Playbook) -> None:
    node = lab_host("rocky2")
    node.check_output(
        "dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 status=none && systemctl restart munge"
    )
    run = playbook("scale_up", "-e", "nodes=rocky2")
    assert run.returncode == 0, run.stdout
    assert node.file("/etc/munge/munge.key").sha256sum == ctl1.file("/etc/munge/munge.key").sha256sum
    assert "1 of 1 nodes are well" in run.stdout


def test_two_runs_at_once_register_both_their_nodes(ctl1: Host) -> None:
    command = ["ansible-playbook", "-i", str(INVENTORY / "hosts.yml"), str(ROOT / "playbooks" / "scale_up.yml")]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    runs = [
        subprocess.Popen(
            [*command, "-e", f"nodes={node}"],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for node in ("rocky3", "ubuntu4")
    ]
    outputs = [run.communicate(timeout=400)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(outputs)
    states = ctl1.check_output("sinfo --noheader --Node --format '%N %T'").splitlines()
    assert {"rocky3 idle", "ubuntu4 idle"} <= {" ".join(line.split()) for line in states}
