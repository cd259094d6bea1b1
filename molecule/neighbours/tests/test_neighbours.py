"""A node of another cluster, with a real job on it, is left alone until it is stated and nothing runs there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from testing import lab_host

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

KEY = "/etc/munge/munge.key"
STATE = (
    f"sha256sum {KEY} /etc/sysconfig/slurmd; systemctl show --property InvocationID slurmd munge; ls /etc/yum.repos.d"
)


def status(other: Host, job: str) -> str:
    return other.check_output("squeue --noheader --format '%%T %%N' --job %s", job)


def code(run: subprocess.CompletedProcess[str], node: str) -> str:
    """Return the code that the table has for a node."""
    (found,) = re.findall(rf"^ +{node} +failed +\S+(?: s)? +(\S+)", run.stdout, re.MULTILINE)
    return str(found)


def test_a_node_of_another_cluster_is_not_ready_and_what_was_found_is_told(
    other: Host, job: str, playbook: Playbook, tmp_path: Path
) -> None:
    report = tmp_path / "ready.json"
    run = playbook("check_nodes", "-e", "nodes=rocky1", "-e", f"report={report}")
    assert run.returncode == 2, run.stdout
    (found,) = [check for check in json.loads(report.read_text())["nodes"]["rocky1"]["checks"] if not check["ok"]]
    assert found["code"] == "node-of-other-cluster"
    assert found["found"] == f"cluster neighbour of controller ubuntu2; slurmd runs, with jobs {job}"
    assert status(other, job) == "RUNNING rocky1"


@pytest.mark.parametrize("name", ["scale_up", "prepare_nodes", "register_nodes", "verify_nodes"])
def test_nothing_is_changed_on_a_node_of_another_cluster(
    ctl1: Host, other: Host, job: str, playbook: Playbook, name: str
) -> None:
    before = lab_host("rocky1").check_output(STATE)
    run = playbook(name, "-e", "nodes=rocky1")
    assert run.returncode == 2, run.stdout
    assert code(run, "rocky1") == "node-of-other-cluster"
    assert lab_host("rocky1").check_output(STATE) == before
    assert status(other, job) == "RUNNING rocky1"
    assert "rocky1" not in ctl1.check_output("sinfo --noheader --Node --format %%N")


def test_a_node_is_not_taken_over_while_a_job_runs_on_it(other: Host, job: str, playbook: Playbook) -> None:
    before = lab_host("rocky1").check_output(STATE)
    run = playbook("scale_up", "-e", "nodes=rocky1", "-e", "take_over=true")
    assert run.returncode == 2, run.stdout
    assert code(run, "rocky1") == "node-runs-jobs"
    assert lab_host("rocky1").check_output(STATE) == before
    assert status(other, job) == "RUNNING rocky1"


def test_munge_that_something_else_uses_is_left_alone(playbook: Playbook) -> None:
    host = lab_host("ubuntu1")
    before = host.file(KEY).sha256sum
    run = playbook("scale_up", "-e", "nodes=ubuntu1")
    assert run.returncode == 2, run.stdout
    assert code(run, "ubuntu1") == "munge-in-use"
    assert "backup-login.service" in run.stdout
    assert host.file(KEY).sha256sum == before
    assert not host.package("slurmd").is_installed


def test_a_node_is_taken_over_when_that_is_stated_and_no_job_runs_on_it(
    ctl1: Host, other: Host, job: str, playbook: Playbook
) -> None:
    other.check_output("scancel %s", job)
    gone = "for i in $(seq 60); do pgrep slurmstepd > /dev/null || exit 0; sleep 0.5; done; exit 1"
    lab_host("rocky1").check_output(gone)
    refused = playbook("scale_up", "-e", "nodes=rocky1")
    assert code(refused, "rocky1") == "node-of-other-cluster"
    run = playbook("scale_up", "-e", "nodes=rocky1", "-e", "take_over=true")
    assert run.returncode == 0, run.stdout
    states = ctl1.check_output("sinfo --noheader --Node --format '%%N %%T'").splitlines()
    assert [" ".join(line.split()) for line in states] == ["rocky1 idle", "rocky2 idle"]
    # It is a node of this cluster now.
    again = playbook("scale_up", "-e", "nodes=rocky1")
    assert again.returncode == 0, again.stdout
    assert "changed=0" in again.stdout
