"""Dynamic nodes join and leave, and the controller's configuration and process stay what they were."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from testing import lab_host

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

DYNAMIC = ["rocky1", "ubuntu2"]


def nodes(ctl1: Host) -> set[str]:
    return set(ctl1.check_output("sinfo --noheader --Node --format %%N").split())


@pytest.fixture(autouse=True)
def the_controller_is_untouched(ctl1: Host, before: dict[str, Any]) -> Iterator[None]:
    yield
    assert ctl1.check_output("sha256sum /etc/slurm/slurm.conf /etc/slurm/slurmscale-nodes.conf") == before["files"]
    assert ctl1.check_output("systemctl show --property MainPID --property InvocationID slurmctld") == before["daemon"]


@pytest.mark.parametrize("node", DYNAMIC)
def test_a_node_joined_by_itself_with_its_features_and_ran_a_job(ctl1: Host, node: str) -> None:
    shown = ctl1.check_output("scontrol --oneliner show node %s", node)
    assert re.search(r"State=IDLE\+DYNAMIC_NORM", shown)
    assert "AvailableFeatures=" + node.rstrip("12") in shown
    jobs = ctl1.check_output("scontrol --oneliner show job").splitlines()
    proofs = [job for job in jobs if re.search(rf"\bNodeList={node}\b", job) and "JobName=slurmscale" in job]
    assert proofs
    assert all("JobState=COMPLETED" in job for job in proofs)


def test_a_job_spans_static_and_dynamic_nodes(ctl1: Host) -> None:
    hosts = ctl1.check_output("srun --chdir / --nodes 3 --ntasks-per-node 1 hostname").split()
    assert sorted(hosts) == ["rocky1", "ubuntu1", "ubuntu2"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("nodes=rocky1 slurm_node_registration=static", "registration-unsuitable"),
        ("nodes=ubuntu1 slurm_node_registration=dynamic", "registration-unsuitable"),
        ("nodes=rocky1 slurm_node_registration=magic", "request-invalid"),
    ],
)
def test_a_node_does_not_change_its_kind(ctl1: Host, playbook: Playbook, arguments: str, code: str) -> None:
    run = playbook("scale_up", "-e", arguments)
    assert run.returncode != 0
    assert f"code: {code}" in run.stdout
    assert nodes(ctl1) == {"rocky1", "ubuntu1", "ubuntu2"}


def test_dynamic_nodes_leave_for_good(ctl1: Host, playbook: Playbook) -> None:
    run = playbook("scale_down", "-e", "nodes=rocky1,ubuntu2 confirm=true")
    assert run.returncode == 0, run.stdout
    assert "2 of 2 nodes are removed, 0 kept, 0 failed." in run.stdout
    # A slurmd that still ran would have registered by then.
    time.sleep(5)
    assert nodes(ctl1) == {"ubuntu1"}
    for node in DYNAMIC:
        assert not lab_host(node).service("slurmd").is_running
        assert not lab_host(node).service("slurmd").is_enabled


def test_a_second_removal_changes_nothing(playbook: Playbook) -> None:
    run = playbook("scale_down", "-e", "nodes=rocky1,ubuntu2 confirm=true")
    assert run.returncode == 0, run.stdout
    assert not re.search(r"changed=[1-9]", run.stdout)


def test_one_comes_back_as_a_dynamic_node(ctl1: Host, playbook: Playbook) -> None:
    run = playbook("scale_up", "-e", "nodes=ubuntu2 slurm_node_registration=dynamic", timeout=500)
    assert run.returncode == 0, run.stdout
    assert nodes(ctl1) == {"ubuntu1", "ubuntu2"}
