"""After a change of a cluster with slurm.conf on every node: all have the same files, and all work with them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from testing import (
    GENERATION,
    GPU_TYPE,
    controller_starts,
    in_container,
    lab_address,
    lab_host,
    put_gpu_into,
    run_command,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

NODES = ["rocky1", "ubuntu1", "ubuntu2"]
FILES = ["slurm.conf", "slurmscale-nodes.conf", "cgroup.conf", "acct_gather.conf"]


def joint_jobs(ctl1: Host) -> dict[str, str]:
    """Return the jobs over several nodes by which runs verified that these reach each other: id -> state and nodes."""
    jobs = ctl1.check_output("scontrol --oneliner show job").splitlines()
    fields = [dict(re.findall(r"(?:^|\s)(JobId|JobName|JobState|NodeList)=(\S+)", job)) for job in jobs]
    return {
        one["JobId"]: f"{one['JobState']} {one['NodeList']}"
        for one in fields
        if one["JobName"].startswith("slurmscale") and re.search(r"[,\[]", one.get("NodeList", ""))
    }


# First of all, as slurmctld forgets jobs after some minutes.
def test_the_new_node_ran_a_job_together_with_the_idle_old_one(ctl1: Host) -> None:
    assert "COMPLETED rocky1,ubuntu2" in joint_jobs(ctl1).values()


@pytest.mark.parametrize("node", NODES)
def test_every_node_has_the_controllers_files_with_their_rights(ctl1: Host, node: str) -> None:
    host = lab_host(node)
    for name in FILES:
        there, wanted = host.file(f"/etc/slurm/{name}"), ctl1.file(f"/etc/slurm/{name}")
        assert (name, there.sha256sum, there.mode) == (name, wanted.sha256sum, wanted.mode)


@pytest.mark.parametrize("node", NODES)
def test_no_node_has_what_is_only_for_the_controller(node: str) -> None:
    host = lab_host(node)
    assert not host.file("/etc/slurm/slurmdbd.conf").exists
    assert not host.file("/etc/slurm/jwt_hs256.key").exists


@pytest.mark.parametrize("node", NODES)
def test_slurmd_reads_its_own_files_and_not_the_controllers(node: str) -> None:
    host = lab_host(node)
    arguments = host.check_output("tr '\\0' ' ' < /proc/$(pgrep --oldest slurmd)/cmdline")
    assert "--conf-server" not in arguments
    assert not host.file("/var/spool/slurmd/conf-cache/slurm.conf").exists


def test_a_job_spans_old_and_new_nodes(ctl1: Host) -> None:
    answer = ctl1.check_output("cd / && timeout 60 srun --nodes 3 --mem 10 --time 1 --overcommit hostname")
    assert sorted(answer.splitlines()) == NODES


def test_a_node_without_a_name_service_got_the_names_of_its_cluster() -> None:
    node = lab_host("ubuntu2")
    assert node.check_output("grep ^hosts: /etc/nsswitch.conf").split() == ["hosts:", "files"]
    for name in ("ctl1", "rocky1", "ubuntu1"):
        assert node.check_output("getent ahostsv4 %s", name).split()[0] == lab_address(name)
    # Its own name, which resolves, was left alone, and so were the old nodes.
    assert "ubuntu2" not in node.check_output("sed -n '/# BEGIN slurmscale/,/# END slurmscale/p' /etc/hosts")
    assert "# BEGIN slurmscale" not in lab_host("rocky1").file("/etc/hosts").content_string


def test_a_node_whose_name_the_controller_resolves_has_no_other_address(ctl1: Host) -> None:
    for node in NODES:
        assert f"NodeAddr={node} NodeHostName={node} " in ctl1.check_output("scontrol show node %s", node)


def test_the_next_run_finds_them_there(playbook: Playbook) -> None:
    run = playbook("scale_up", "-e", "nodes=ubuntu2 slurmd_write_hosts=true")
    assert run.returncode == 0, run.stdout
    assert not re.search(r"changed=[1-9]", run.stdout)


def test_the_old_job_still_runs(ctl1: Host, before: dict[str, Any]) -> None:
    assert ctl1.check_output("squeue --noheader --format '%%T %%N' --job %s", before["job"]) == "RUNNING ubuntu1"


def test_the_controller_was_restarted_once_at_most_and_not_at_all_where_reconfigure_is_enough(
    ctl1: Host, before: dict[str, Any]
) -> None:
    assert controller_starts(ctl1, before["time"]) == (0 if GENERATION == "24.11" else 1)


def test_a_working_node_that_gains_gpus_reads_its_new_files_and_keeps_its_job(
    ctl1: Host, playbook: Playbook, before: dict[str, Any]
) -> None:
    put_gpu_into("ubuntu1")
    run = playbook("scale_up", "-e", "nodes=ubuntu1")
    assert run.returncode == 0, run.stdout
    told = ctl1.check_output("scontrol show node ubuntu1")
    assert f"Gres=gpu:{GPU_TYPE}:1" in told
    assert re.search(r"State=(MIXED|ALLOCATED) ", told), told
    for node in NODES:
        assert lab_host(node).file("/etc/slurm/gres.conf").sha256sum == ctl1.file("/etc/slurm/gres.conf").sha256sum
    job = "cd / && timeout 60 srun -w ubuntu1 --mem 10 --overlap --gres=gpu:1 printenv CUDA_VISIBLE_DEVICES"
    assert ctl1.check_output(job) == "0"
    assert ctl1.check_output("squeue --noheader --format '%%T %%N' --job %s", before["job"]) == "RUNNING ubuntu1"


def test_edits_that_are_not_active_are_not_made_active(ctl1: Host, playbook: Playbook) -> None:
    """And the nodes' files stay as they are."""
    ctl1.check_output("cp -p /etc/slurm/slurm.conf /var/tmp/ && echo 'MessageTimeout=17' >> /etc/slurm/slurm.conf")
    run = playbook("scale_up", "-e", "nodes=ubuntu2")
    assert run.returncode != 0
    assert "was edited after slurmctld read it" in run.stdout
    assert "MessageTimeout" not in lab_host("rocky1").check_output("cat /etc/slurm/slurm.conf")
    ctl1.check_output("mv /var/tmp/slurm.conf /etc/slurm/slurm.conf")


def test_an_old_node_that_is_out_of_reach_is_named_and_gets_the_files_later(
    ctl1: Host, playbook: Playbook, tmp_path: Path
) -> None:
    away = tmp_path / "away.yml"
    away.write_text("slurm_nodes: {hosts: {rocky1: {ansible_port: 9}}}\n")
    ctl1.check_output("echo 'MessageTimeout=19' >> /etc/slurm/slurm.conf && scontrol reconfigure")
    run = playbook("scale_up", "-e", "nodes=ubuntu2", "-i", str(away))
    assert run.returncode == 0, run.stdout
    assert "can't be reached and keeps its old configuration files" in run.stdout
    assert "MessageTimeout=19" in lab_host("ubuntu1").check_output("cat /etc/slurm/slurm.conf")
    assert "MessageTimeout" not in lab_host("rocky1").check_output("cat /etc/slurm/slurm.conf")
    assert "rocky1" in ctl1.check_output("sinfo --noheader --Node --format %%N")

    assert playbook("scale_up", "-e", "nodes=ubuntu2").returncode == 0
    assert "MessageTimeout=19" in lab_host("rocky1").check_output("cat /etc/slurm/slurm.conf")


def test_the_nodes_that_stay_learn_that_one_has_left(ctl1: Host, playbook: Playbook) -> None:
    run = playbook("scale_down", "-e", "nodes=ubuntu2 confirm=true uninstall=true")
    assert run.returncode == 0, run.stdout
    hosts = lab_host("ubuntu2").file("/etc/hosts").content_string
    assert "localhost" in hosts
    assert "# BEGIN slurmscale" not in hosts
    assert "ctl1" not in hosts
    wanted = ctl1.file("/etc/slurm/slurmscale-nodes.conf")
    assert "ubuntu2" not in wanted.content_string
    for node in ("rocky1", "ubuntu1"):
        assert lab_host(node).file("/etc/slurm/slurmscale-nodes.conf").sha256sum == wanted.sha256sum
    assert ctl1.check_output("sinfo --noheader --Node --format '%%N %%T'").split() == [
        *("rocky1", "idle"),
        *("ubuntu1", "mixed"),
    ]


def test_a_node_has_its_files_where_the_inventory_says(ctl1: Host, playbook: Playbook, tmp_path: Path) -> None:
    node, options = lab_host("ubuntu2"), "/opt/site/etc/slurmd"
    site = tmp_path / "site.json"
    given = {"slurmd_conf_dir": "/opt/site/etc", "slurmd_options_file": options}
    site.write_text(json.dumps({"slurm_nodes": {"hosts": {"ubuntu2": given}}}))
    up = ("scale_up", "-i", str(site), "-e", "nodes=ubuntu2 slurmd_write_hosts=true")
    run = playbook(*up)
    assert run.returncode == 0, run.stdout
    arguments = node.check_output("tr '\\0' ' ' < /proc/$(pgrep --oldest slurmd)/cmdline")
    assert "-f /opt/site/etc/slurm.conf" in arguments
    assert "-f /opt/site/etc/slurm.conf" in node.file(options).content_string
    assert node.file("/opt/site/etc/slurm.conf").sha256sum == ctl1.file("/etc/slurm/slurm.conf").sha256sum
    assert not node.file("/etc/slurm/slurm.conf").exists
    assert ctl1.check_output("sinfo --noheader --nodes ubuntu2 --format %%T") == "idle"
    assert not re.search(r"changed=[1-9]", playbook(*up).stdout)
    gone = playbook("scale_down", "-i", str(site), "-e", "nodes=ubuntu2 confirm=true uninstall=true")
    assert gone.returncode == 0, gone.stdout
    assert not node.file("/opt/site/etc/slurm.conf").exists
    assert not node.file(options).exists


def test_new_nodes_that_do_not_reach_each_other_are_both_told(ctl1: Host, playbook: Playbook) -> None:
    """The old node runs a job, so that they are tried with each other."""
    left = playbook("scale_down", "-e", "nodes=rocky1 confirm=true")
    assert left.returncode == 0, left.stdout
    before = joint_jobs(ctl1)
    up = ("scale_up", "-e", "nodes=rocky1,ubuntu2 slurmd_write_hosts=true")
    route = f"blackhole {lab_address('rocky1')}"
    run_command(in_container("ubuntu2", f"ip route add {route}"))
    try:
        unasked = playbook(*up, "-e", "scale_srun=false")
        after = joint_jobs(ctl1)
        for name in ("rocky1", "ubuntu2"):
            lab_host(name).check_output("systemctl stop slurmd")
        run = playbook(*up)
        tried = {job: how for job, how in joint_jobs(ctl1).items() if job not in after}
    finally:
        run_command(in_container("ubuntu2", f"ip route del {route}"))
    assert unasked.returncode == 0, unasked.stdout
    assert after.keys() <= before.keys()
    assert run.returncode == 2, run.stdout
    assert [how.split()[1] for how in tried.values()] == ["rocky1,ubuntu2"]
    for name in ("rocky1", "ubuntu2"):
        assert re.search(rf"^ +{name} +failed .* nodes-not-connected ", run.stdout, re.MULTILINE), run.stdout
