"""What keeps a node in the cluster, what makes it go, and that a kept one is as it was before."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from testing import ROOT, lab_host, unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Slurm
    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]


def podman(*arguments: str) -> None:
    """Run podman on a container of this lab."""
    environment = {**os.environ, "CONTAINERS_CONF": str(ROOT / "molecule/lab/containers.conf")}
    subprocess.run(["podman", *arguments], env=environment, check=True, timeout=60, stdout=subprocess.DEVNULL)


@pytest.fixture(autouse=True)
def cluster_is_unharmed(slurm: Slurm, ctl1: Host, before: dict[str, Any]) -> Iterator[None]:
    """After every test: the controller answers, and the job of another node goes on."""
    yield
    assert "is UP" in ctl1.check_output("scontrol ping")
    assert slurm.job(before["job"]) == "RUNNING ubuntu1"


@pytest.fixture(scope="module")
def drained_job(slurm: Slurm, ctl1: Host) -> str:
    """Start a job on a node that somebody else drains then, and return the job's id."""
    job = slurm.submit("--constraint=rocky")
    assert slurm.job(job) == "RUNNING rocky2"
    ctl1.check_output("scontrol update NodeName=rocky2 State=DRAIN Reason='disk is failing'")
    return job


@pytest.fixture(scope="module")
def plain_job(slurm: Slurm) -> str:
    """Start a job on a node that nobody drained, and return its id."""
    return slurm.submit("--nodelist=ubuntu3")


def test_busy_nodes_are_kept_with_their_jobs_named_and_only_our_drain_is_taken_back(
    slurm: Slurm, drained_job: str, plain_job: str, playbook: Playbook
) -> None:
    run = playbook("scale_down", "-e", "nodes=rocky2,ubuntu3 confirm=true drain_timeout=3")
    assert run.returncode != 0
    assert "0 of 2 nodes are removed, 2 kept, 0 failed." in run.stdout
    assert f"ubuntu3 still runs jobs {plain_job} after 3 s. The drain of this run was taken back." in unwrap(run.stdout)
    assert slurm.job(plain_job) == "RUNNING ubuntu3"
    assert slurm.state("ubuntu3").startswith("mixed")
    assert f"rocky2 still runs jobs {drained_job} after 3 s. It stays drained: disk is failing." in unwrap(run.stdout)
    assert slurm.job(drained_job) == "RUNNING rocky2"
    assert slurm.state("rocky2") == "draining disk is failing"


def test_a_kept_node_stays_drained_when_asked(slurm: Slurm, ctl1: Host, plain_job: str, playbook: Playbook) -> None:
    run = playbook("scale_down", "-e", "nodes=ubuntu3 confirm=true drain_timeout=3 keep_drained=true")
    assert "It stays drained: slurmscale: scale down." in unwrap(run.stdout)
    assert slurm.state("ubuntu3") == "draining slurmscale: scale down"
    assert slurm.job(plain_job) == "RUNNING ubuntu3"
    slurm.cancel(plain_job)
    ctl1.check_output("scontrol update NodeName=ubuntu3 State=RESUME")


def test_a_node_that_pending_jobs_ask_for_is_kept_and_our_reason_is_cleared(
    slurm: Slurm, ctl1: Host, playbook: Playbook
) -> None:
    job = ctl1.check_output(
        "sbatch --parsable --nodelist ubuntu3 --begin now+1hour --output /dev/null --chdir / --wrap true"
    )
    run = playbook("scale_down", "-e", "nodes=ubuntu3 confirm=true drain_timeout=3")
    assert run.returncode != 0
    assert "node-requested-by-jobs" in run.stdout
    assert re.search(rf"asked for by the pending jobs {job}\b", unwrap(run.stdout)), run.stdout
    assert slurm.nodes() == {"rocky2", "ubuntu1", "ubuntu3"}
    assert slurm.job(job).startswith("PENDING")
    # A restart reads the state of the nodes again.
    ctl1.check_output("systemctl restart slurmctld")
    ctl1.check_output("until sinfo --noheader --nodes ubuntu3 --format %%T | grep -qx idle; do sleep 0.5; done")
    assert slurm.state("ubuntu3") == "idle none"
    assert "Reason" not in ctl1.check_output("scontrol show node ubuntu3")
    slurm.cancel(job)


def test_a_node_of_a_reservation_is_refused_with_its_name_and_the_others_go_on_with_their_jobs_requeued(
    slurm: Slurm, ctl1: Host, drained_job: str, playbook: Playbook
) -> None:
    reserved = "ReservationName=upkeep Users=root Nodes=ubuntu3 StartTime=now+1hour Duration=60"
    ctl1.check_output(f"scontrol create reservation {reserved}")
    run = playbook("scale_down", "-e", "nodes=rocky2,ubuntu3 confirm=true drain_timeout=60 jobs=requeue")
    ctl1.check_output("scontrol delete ReservationName=upkeep")
    assert run.returncode != 0
    assert "ubuntu3 belongs to the reservation upkeep" in unwrap(run.stdout)
    assert "1 of 2 nodes are removed, 1 kept, 0 failed." in run.stdout
    assert slurm.nodes() == {"ubuntu1", "ubuntu3"}
    assert slurm.state("ubuntu3").startswith("idle")
    # The drain that an administrator had set on rocky2 did not hinder it.
    assert "with reason 'disk is failing'" in unwrap(run.stdout)
    # No other node is as it wants.
    assert slurm.job(drained_job).startswith("PENDING")
    slurm.cancel(drained_job)


def test_slurmd_of_a_node_that_left_is_stopped_for_good_and_its_packages_stay() -> None:
    service = lab_host("rocky2").service("slurmd")
    assert not service.is_running
    assert not service.is_enabled
    assert lab_host("rocky2").package("slurm-slurmd").is_installed


def test_a_node_in_somebodys_file_is_refused_with_file_and_line(ctl1: Host, playbook: Playbook, tmp_path: Path) -> None:
    extra = tmp_path / "handmade.yml"
    machine = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    extra.write_text(json.dumps({"slurm_nodes": {"hosts": {"handmade": machine}}}))
    ctl1.check_output("echo 'NodeName=handmade NodeAddr=127.0.0.1 CPUs=1' >> /etc/slurm/slurm.conf")
    ctl1.check_output("systemctl restart slurmctld")
    ctl1.check_output("for i in $(seq 60); do scontrol ping | grep -q UP && exit; sleep 0.5; done; exit 1")
    run = playbook("scale_down", "-i", str(extra), "-e", "nodes=handmade confirm=true force=true")
    ctl1.check_output("sed -i /handmade/d /etc/slurm/slurm.conf; systemctl restart slurmctld")
    ctl1.check_output("for i in $(seq 60); do scontrol ping | grep -q UP && exit; sleep 0.5; done; exit 1")
    assert run.returncode != 0
    assert re.search(r"handmade is defined in /etc/slurm/slurm.conf line \d+, which slurmscale", unwrap(run.stdout))


def test_an_unreachable_node_is_busy_until_somebody_calls_it_dead(slurm: Slurm, playbook: Playbook) -> None:
    # Only there: another job has all of ubuntu1.
    job = slurm.submit("--exclusive")
    assert slurm.job(job) == "RUNNING ubuntu3"
    podman("stop", "--time", "1", f"slurmscale-{os.environ.get('LAB_PREFIX', 'lab-test')}-ubuntu3")
    run = playbook("scale_down", "-e", "nodes=ubuntu3 confirm=true drain_timeout=120")
    assert run.returncode != 0
    assert "it counts as busy." in unwrap(run.stdout)
    assert "When the machine is dead: -e force=true" in unwrap(run.stdout)
    assert slurm.nodes() == {"ubuntu1", "ubuntu3"}
    run = playbook("scale_down", "-e", "nodes=ubuntu3 confirm=true drain_timeout=120 force=true uninstall=true")
    assert run.returncode == 0, run.stdout
    assert "can not be reached, so nothing was stopped or uninstalled there" in unwrap(run.stdout)
    assert slurm.nodes() == {"ubuntu1"}
    # Slurm took it back into the queue.
    assert slurm.job(job).startswith("PENDING")
    slurm.host.check_output("scancel %s", job)
