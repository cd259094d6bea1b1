"""After a scale-up: what joined, and that nothing else was touched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from testing import GENERATION, controller_starts, lab_host

if TYPE_CHECKING:
    from testinfra.host import Host

NEW = ["rocky1", "rocky2", "ubuntu2", "ubuntu3"]


def test_sinfo_shows_the_old_node_before_and_all_five_after(ctl1: Host, before: dict[str, Any]) -> None:
    assert before["sinfo"] == "batch* mixed ubuntu1"
    after = sorted(ctl1.check_output("sinfo --noheader --format '%P %T %N'").splitlines())
    assert after == ["batch* idle rocky[1-2],ubuntu[2-3]", "batch* mixed ubuntu1"]


def test_the_old_job_still_runs(ctl1: Host, before: dict[str, Any]) -> None:
    assert ctl1.check_output("squeue --noheader --format '%%T %%N' --job %s", before["job"]) == "RUNNING ubuntu1"


@pytest.mark.parametrize("node", NEW)
def test_a_job_was_completed_on_every_new_node(ctl1: Host, node: str) -> None:
    jobs = ctl1.check_output("scontrol --oneliner show job").splitlines()
    proofs = [job for job in jobs if re.search(rf"\bNodeList={node}\b", job) and "JobName=slurmscale" in job]
    assert proofs
    assert all("JobState=COMPLETED" in job and "ExitCode=0:0" in job for job in proofs)


def test_new_nodes_ran_an_srun_with_each_other(ctl1: Host) -> None:
    """The old one is not idle."""
    jobs = ctl1.check_output("scontrol --oneliner show job").splitlines()
    proofs = [job for job in jobs if re.search(r"\bNumNodes=2\b", job) and "JobName=slurmscale" in job]
    assert len(proofs) == 2
    assert all("JobState=COMPLETED" in job and "ExitCode=0:0" in job for job in proofs)


def test_the_controller_was_restarted_at_most_once_and_not_at_all_where_reconfigure_is_enough(
    ctl1: Host, before: dict[str, Any]
) -> None:
    assert controller_starts(ctl1, before["time"]) == (0 if GENERATION == "24.11" else 1)


def test_slurmd_of_the_old_node_was_not_touched(before: dict[str, Any]) -> None:
    old = lab_host("ubuntu1")
    assert old.check_output("systemctl show --property InvocationID --value slurmd") == before["slurmd_start"]
    if GENERATION == "22.05":
        # From 23.11 on, a reconfigured slurmd hands over to a child of its own, which then is systemd's main process.
        assert old.check_output("systemctl show --property MainPID --value slurmd") == before["slurmd_pid"]


@pytest.mark.parametrize("node", NEW)
def test_the_munge_key_is_the_controllers_and_only_munge_reads_it(ctl1: Host, node: str) -> None:
    key = lab_host(node).file("/etc/munge/munge.key")
    assert (key.mode, key.user, key.group) == (0o400, "munge", "munge")
    assert key.sha256sum == ctl1.file("/etc/munge/munge.key").sha256sum


@pytest.mark.parametrize("node", NEW)
def test_users_have_the_controllers_numbers(ctl1: Host, node: str) -> None:
    for user in ("slurm", "munge"):
        assert (lab_host(node).user(user).uid, lab_host(node).user(user).gid) == (
            ctl1.user(user).uid,
            ctl1.user(user).gid,
        )


@pytest.mark.parametrize("node", [name for name in NEW if name.startswith("ubuntu")])
def test_ubuntu_nodes_have_packages_from_apphub_only(node: str) -> None:
    host = lab_host(node)
    for package in ("slurmd", "slurm-client", "munge"):
        policy = host.check_output("apt-cache policy %s", package)
        assert "Installed: (none)" not in policy
        assert re.findall(r"https?://\S+", policy)
        assert all(":8081/" in source for source in re.findall(r"https?://\S+", policy))


@pytest.mark.parametrize("node", [name for name in NEW if name.startswith("rocky")])
def test_rocky_nodes_have_packages_from_apphub_only(node: str) -> None:
    host = lab_host(node)
    sources = host.check_output(
        "dnf --quiet --disableexcludes=all repoquery --installed --queryformat '%{name} %{from_repo}\n'"
        " slurm slurm-slurmd munge"
    )
    found = dict(line.split() for line in sources.splitlines() if line)
    assert set(found) == {"slurm", "slurm-slurmd", "munge"}
    assert set(found.values()) == {"apphub"}


@pytest.mark.parametrize("node", NEW)
def test_services_run_and_start_at_boot(node: str) -> None:
    host = lab_host(node)
    for service in ("munge", "slurmd"):
        assert host.service(service).is_running
        assert host.service(service).is_enabled
    assert not host.package("slurmctld").is_installed
