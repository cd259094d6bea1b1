"""Every playbook works with slurm.conf, programs and unit of the slurmctld that runs, and with its user on nodes."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from testing import GENERATION, INVENTORY, SLURM, lab_host, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

NODES = ("rocky1", "ubuntu1")
MACHINES = {"rocky1": "rocky1", "ubuntu1": "machine7"}
SLURM_AT = "SLURM_CONF=/opt/slurm/etc/slurm.conf /opt/slurm/bin/"


def states(ctl1: Host) -> dict[str, str]:
    """Return the state of each node."""
    lines = ctl1.check_output(SLURM_AT + "sinfo --noheader --Node --format '%%N %%T'").splitlines()
    return dict(line.split() for line in lines)


@pytest.fixture(autouse=True)
def nothing_at_the_usual_places(ctl1: Host) -> None:
    assert not ctl1.file("/etc/slurm").exists
    assert not ctl1.exists("scontrol")


def test_nodes_joined(ctl1: Host) -> None:
    assert states(ctl1) == {"rocky1": "idle", "ubuntu1": "idle"}
    assert "Include slurmscale-nodes.conf" in ctl1.file("/opt/slurm/etc/slurm.conf").content_string


@pytest.mark.parametrize("node", NODES)
def test_a_node_has_the_user_of_the_controller_and_logs_where_it_is_stated(node: str) -> None:
    host = lab_host(node)
    assert host.check_output("id --user hpc; getent group hpc-services | cut -d: -f3").split() == ["4711", "4712"]
    machine = MACHINES[node]
    assert host.check_output("hostname") == machine
    assert "slurmd started" in host.file(f"/var/log/hpc/slurmd-{machine}.log").content_string
    assert host.file(f"/var/spool/hpc/{machine}-{node}/cred_state").exists


def test_a_node_has_the_address_of_ansible_where_the_name_of_its_machine_leads_nowhere(
    ctl1: Host, playbook: Playbook
) -> None:
    hosts = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]["slurm_nodes"]["hosts"]
    assert f"NodeAddr={hosts['rocky1']['ansible_host']} " in ctl1.check_output(SLURM_AT + "scontrol show node rocky1")
    other = ctl1.check_output(SLURM_AT + "scontrol show node ubuntu1")
    assert f"NodeAddr={hosts['ubuntu1']['ansible_host']} NodeHostName=machine7 " in other
    again = playbook("scale_up", "-e", "nodes=rocky[1]")
    assert re.search(r"rocky1 +unchanged", again.stdout), again.stdout


def test_verify_runs_a_job_on_each_node(playbook: Playbook) -> None:
    done = playbook("verify_nodes")
    assert done.returncode == 0, done.stdout
    assert unwrap(done.stdout).count("COMPLETED") >= len(NODES)


def test_repair_finds_nothing_wrong(playbook: Playbook) -> None:
    done = playbook("repair_cluster", "-e", "action=check")
    assert done.returncode == 0, done.stdout


def test_repair_tests_each_partition_with_a_job(playbook: Playbook) -> None:
    done = playbook("repair_cluster", "-e", "action=test")
    assert done.returncode == 0, done.stdout
    # Debian builds Slurm under the name slurm-wlm, which the stand-ins for Rocky have from it.
    cpus = lab_host("rocky1").check_output("nproc")
    assert f"rocky1, {cpus} CPUs, root, slurm-wlm {SLURM}" in unwrap(done.stdout)


def test_repair_starts_the_unit_of_the_controller(ctl1: Host, playbook: Playbook) -> None:
    ctl1.check_output("systemctl stop hpc-controller")
    done = playbook("repair_cluster", "-e", "action=fix")
    assert done.returncode == 0, done.stdout
    assert ctl1.service("hpc-controller").is_running


def run_jobs(report: Path, playbook: Playbook, action: str, **variables: object) -> dict[str, Any]:
    """Do something with jobs of an ordinary user and return what is told of it."""
    given = {"action": action, "job_user": "alice", "report": str(report), **variables}
    done = playbook("run_jobs", "-e", json.dumps(given))
    assert done.returncode == 0, done.stdout
    told: dict[str, Any] = json.loads(report.read_text())
    return told


def test_a_job_of_an_ordinary_user_runs_and_reaches_the_controller(playbook: Playbook, tmp_path: Path) -> None:
    report = tmp_path / "jobs.json"
    # The job itself has no variable that leads it to the file of the controller, which is not on its node.
    submitted = run_jobs(report, playbook, "submit", job_command="srun hostname")
    job_id = submitted["job_id"]
    told: dict[str, Any] = {}
    for _ in range(20):
        told = run_jobs(report, playbook, "query", job_ids=[job_id])["jobs"][job_id]
        if told["state"] not in {"PENDING", "RUNNING", "COMPLETING"}:
            break
        time.sleep(1)
    assert told["state"] == "COMPLETED", told
    told = run_jobs(report, playbook, "read", job_path=told["output"], job_host=told["batch_host"])
    assert told["text"].strip() in MACHINES.values()


def test_a_job_of_an_ordinary_user_is_cancelled(playbook: Playbook, tmp_path: Path) -> None:
    report = tmp_path / "jobs.json"
    job_id = run_jobs(report, playbook, "submit", job_command="sleep 600")["job_id"]
    told = run_jobs(report, playbook, "cancel", job_ids=[job_id])["jobs"][job_id]
    # Its processes may take a moment to end.
    assert told["state"] in {"CANCELLED", "COMPLETING"}


def test_upgrade_drains_resumes_and_verifies(ctl1: Host, playbook: Playbook) -> None:
    # As a run leaves it that was interrupted.
    ctl1.check_output(SLURM_AT + "scontrol update NodeName=ubuntu1 State=DRAIN Reason='slurmscale: upgrade'")
    version = lab_host("ubuntu1").check_output("dpkg-query -W -f '${Version}' slurmd")
    done = playbook("upgrade_nodes", "-e", "nodes=ubuntu1", "-e", f"slurm_version={version}")
    assert done.returncode == 0, done.stdout
    assert states(ctl1)["ubuntu1"] == "idle"


def test_the_key_is_rotated(ctl1: Host, playbook: Playbook) -> None:
    key = ctl1.check_output("sha256sum /etc/munge/munge.key")
    done = playbook("rotate_munge_key")
    assert done.returncode == 0, done.stdout
    assert ctl1.check_output("sha256sum /etc/munge/munge.key") != key


def test_scale_down_removes_a_node(ctl1: Host, playbook: Playbook) -> None:
    done = playbook("scale_down", "-e", "nodes=ubuntu1", "-e", "confirm=true", "-e", "uninstall=true")
    assert done.returncode == 0, done.stdout
    # Slurm marks a node with * until it has answered the slurmctld that has read its configuration anew.
    answered = SLURM_AT + "sinfo --noheader --Node --nodes rocky1 --format %%T | grep --quiet --line-regexp idle"
    ctl1.check_output(f"for try in $(seq 60); do {answered} && exit; sleep 1; done; exit 1")
    assert states(ctl1) == {"rocky1": "idle"}
    assert not lab_host("ubuntu1").file("/var/log/hpc").exists
    assert not lab_host("ubuntu1").file("/var/spool/hpc").exists
    assert not lab_host("ubuntu1").user("hpc").exists


@pytest.mark.skipif(GENERATION == "22.05", reason="It has no auth/slurm.")
def test_a_cluster_without_munge_is_refused_before_anything_is_done(ctl1: Host, playbook: Playbook) -> None:
    conf = "/opt/slurm/etc/slurm.conf"
    ctl1.check_output("head -c 1024 /dev/urandom > /opt/slurm/etc/slurm.key")
    ctl1.check_output("cd /opt/slurm/etc && chown hpc slurm.key && chmod 600 slurm.key")
    ctl1.check_output(f"sed -i -e 's#auth/munge#auth/slurm#' -e 's#cred/munge#cred/slurm#' {conf}")
    ctl1.check_output("systemctl restart hpc-controller")
    ctl1.check_output(f"for try in $(seq 60); do {SLURM_AT}scontrol ping | grep -q UP && exit; sleep 1; done; exit 1")
    assert "auth/slurm" in ctl1.check_output(SLURM_AT + "scontrol show config | grep AuthType")
    run = playbook("scale_up", "-e", "nodes=ubuntu1")
    assert run.returncode != 0
    assert re.search(r"ubuntu1 +failed .*auth-type-unsupported", run.stdout), run.stdout
    assert "AuthType=auth/munge" in unwrap(run.stdout)
    assert not lab_host("ubuntu1").package("slurmd").is_installed
    assert not lab_host("ubuntu1").file("/etc/munge/munge.key").exists
    assert "ubuntu1" not in states(ctl1)
