"""Nodes join a cluster in which only some accounts may submit jobs, and one whose partition gives whole nodes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from testing import lab_host, run_playbook, unwrap

if TYPE_CHECKING:
    import subprocess

    from testinfra.host import Host

CONF = "/etc/slurm/slurm.conf"
ALICE = {"user": "alice", "account": "physics", "qos": "proof"}


@pytest.fixture(scope="module", autouse=True)
def policies(ctl1: Host) -> None:
    """Let only the account physics submit jobs, and make a partition beside the one that there is."""
    for record in ("account physics", "qos proof", "user alice account=physics qos=normal,proof"):
        ctl1.check_output(f"sacctmgr --immediate add {record}")
    lines = (
        "AccountingStorageEnforce=associations,qos",
        "PartitionName=whole Nodes=ALL OverSubscribe=EXCLUSIVE AllowAccounts=physics State=UP",
    )
    for line in lines:
        ctl1.check_output("echo %s >> %s", line, CONF)
    ctl1.check_output("sed -i '/^PartitionName=batch/s/$/ AllowAccounts=physics/' %s", CONF)
    ctl1.check_output("systemctl restart slurmctld")
    answers = "scontrol ping | grep --quiet UP && sinfo --noheader --format %T | grep --quiet idle"
    ctl1.check_output(f"for try in $(seq 60); do {answers} && exit; sleep 1; done; exit 1")


def scale_up(node: str, **scale_job: str) -> subprocess.CompletedProcess[str]:
    given: dict[str, Any] = {"nodes": node, **({"scale_job": scale_job} if scale_job else {})}
    return run_playbook("scale_up", "-e", json.dumps(given))


def test_a_job_that_nobody_may_submit_is_told_before_anything_is_installed(ctl1: Host) -> None:
    run = scale_up("ubuntu2")
    assert run.returncode != 0
    assert re.search(r"ubuntu2 +failed .*job-not-submitted", run.stdout), run.stdout
    assert "State who may submit jobs, and where, by scale_job" in unwrap(run.stdout)
    assert not lab_host("ubuntu2").package("slurmd").is_installed
    assert "ubuntu2" not in ctl1.check_output("sinfo --noheader --Node --format %N")


def proof(ctl1: Host, run: subprocess.CompletedProcess[str], node: str) -> list[str]:
    """Return user, account, QOS, partition and CPUs of the job that verified a node, from the accounting."""
    job = re.search(rf"{node} +done .*job (\d+) COMPLETED", run.stdout)
    assert job, run.stdout
    asked = f"sacct --allocations --noheader --parsable2 --jobs {job[1]} --format User,Account,QOS,Partition,AllocCPUS"
    # Of a short job the accounting may learn the end before the beginning, which tells the partition.
    whole = f"{asked} | grep --invert-match '||'"
    told: str = ctl1.check_output(f"for try in $(seq 30); do {whole} && exit; sleep 1; done; exit 1")
    return told.split("|")


def test_a_node_is_verified_by_a_job_of_the_stated_user_and_account(ctl1: Host) -> None:
    run = scale_up("ubuntu2", partition="batch", **ALICE)
    assert run.returncode == 0, run.stdout
    assert proof(ctl1, run, "ubuntu2")[:4] == ["alice", "physics", "proof", "batch"]


def test_a_node_is_verified_in_a_partition_that_gives_whole_nodes(ctl1: Host) -> None:
    submit = "cd / && runuser --user alice -- sbatch --parsable --partition whole --account physics --nodelist ubuntu1"
    job = ctl1.check_output(f"{submit} --output /dev/null --wrap 'sleep 3600'")
    ctl1.check_output(f"until [ $(squeue --noheader --format %%T --job {job}) = RUNNING ]; do sleep 1; done")
    try:
        run = scale_up("ubuntu3", partition="whole", **ALICE)
        assert run.returncode == 0, run.stdout
        cpus = ctl1.check_output("sinfo --noheader --nodes ubuntu3 --format %c --partition whole")
        assert proof(ctl1, run, "ubuntu3") == ["alice", "physics", "proof", "whole", cpus]
        # A node that somebody has for himself is verified by his job, and gets none that would wait for it.
        busy = run_playbook(
            "verify_nodes", "-e", json.dumps({"nodes": "ubuntu1", "scale_job": {"partition": "whole", **ALICE}})
        )
        assert busy.returncode == 0, busy.stdout
        assert ctl1.check_output("squeue --noheader --format %%T --job %s", job) == "RUNNING"
        assert ctl1.check_output("squeue --noheader --format %%i") == job
    finally:
        ctl1.run("scancel %s", job)
