"""Both controllers have the same files after every change, whether it succeeded or not, and either can go on alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from testing import run_roles, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

NODE = "nodes=ubuntu1"
FILES = "cd /etc/slurm && sha256sum *.conf"
MARKER = "/etc/slurm/slurmscale-backup/in-progress.json"


def until(host: Host, command: str, seconds: int = 90) -> None:
    host.run_expect([0], f"for i in $(seq {seconds}); do {command} && exit; sleep 1; done; {command}")


@pytest.fixture(autouse=True)
def both_have_the_same_files_and_the_old_job_goes_on(ctl1: Host, ctl2: Host, before: dict[str, Any]) -> Iterator[None]:
    yield
    assert ctl1.check_output(FILES) == ctl2.check_output(FILES)
    assert not ctl1.file(MARKER).exists
    assert not ctl2.file(MARKER).exists
    assert ctl2.check_output("squeue --noheader --format '%%T %%N' --job %s", before["job"]) == "RUNNING rocky1"


def test_the_node_joined_on_both(ctl1: Host, ctl2: Host) -> None:
    assert ctl1.check_output("sinfo --noheader --Node --nodes ubuntu1 --format %%T") == "idle"
    assert "NodeName=ubuntu1" in ctl2.file("/etc/slurm/slurmscale-nodes.conf").content_string
    assert "slurmctld: fatal" not in ctl2.check_output("journalctl --unit slurmctld --output cat")


def test_a_backup_with_other_files_is_named_and_nothing_is_changed(ctl1: Host, ctl2: Host, playbook: Playbook) -> None:
    files = ctl1.check_output(FILES)
    ctl2.check_output("cp -p /etc/slurm/slurm.conf /var/tmp/ && echo MessageTimeout=17 >> /etc/slurm/slurm.conf")
    try:
        done = playbook("scale_down", "-e", NODE, "-e", "confirm=true")
    finally:
        ctl2.check_output("mv /var/tmp/slurm.conf /etc/slurm/slurm.conf")
    assert done.returncode == 2, done.stdout
    assert "configuration-differs" in done.stdout
    assert "on the backup controller ctl2" in unwrap(done.stdout)
    assert ctl1.check_output(FILES) == files
    assert ctl1.check_output("sinfo --noheader --Node --nodes ubuntu1 --format %%T") == "idle"


def test_a_backup_that_is_out_of_reach_is_named_and_nothing_is_changed(
    ctl1: Host, playbook: Playbook, tmp_path: Path
) -> None:
    files = ctl1.check_output(FILES)
    away = tmp_path / "away.yml"
    away.write_text("slurm_controllers: {hosts: {ctl2: {ansible_port: 9}}}\n")
    done = playbook("scale_down", "-e", NODE, "-e", "confirm=true", "-i", str(away))
    assert done.returncode == 2, done.stdout
    assert "host-unreachable" in done.stdout
    assert "these backup controllers can't be reached: ctl2" in unwrap(done.stdout)
    assert ctl1.check_output(FILES) == files


def test_when_the_primary_does_not_take_the_change_both_have_their_old_files(ctl1: Host, ctl2: Host) -> None:
    files = ctl1.check_output(FILES)
    # Slurm's parsers take it, and slurmctld does not.
    node = {"name": "node9", "params": {"CPUs": 1, "State": "NONSENSE", "NodeAddr": "127.0.0.9"}}
    done = run_roles("ctl1", "slurmctld-reconfigure", slurmctld_reconfigure_nodes=[node])
    assert done.returncode == 2, done.stdout
    assert "configuration-rolled-back" in done.stdout
    assert ctl1.check_output(FILES) == files
    assert "is UP" in ctl1.check_output("scontrol ping | grep ctl1")
    assert ctl2.file("/etc/slurm/slurmscale-nodes.conf").exists


def test_after_a_failover_the_backup_knows_the_node_and_runs_jobs_on_it(
    ctl1: Host, ctl2: Host, playbook: Playbook
) -> None:
    ctl1.check_output("systemctl stop slurmctld")
    try:
        until(ctl2, "sinfo --noheader --Node --nodes ubuntu1 --format %%T | grep -q '^idle$'")
        assert ctl2.check_output("cd / && timeout 60 srun --nodelist ubuntu1 --mem 10 --time 1 uname -n") == "ubuntu1"
        # The files of a controller that does not act are not changed.
        done = playbook("scale_down", "-e", NODE, "-e", "confirm=true")
        assert done.returncode == 2, done.stdout
        assert "controller-not-answering" in done.stdout
    finally:
        ctl1.check_output("systemctl start slurmctld")
    until(ctl1, "sinfo --noheader --Node --nodes ubuntu1 --format %%T | grep -q '^idle$'")


def test_the_node_leaves_both(ctl1: Host, ctl2: Host, playbook: Playbook) -> None:
    done = playbook("scale_down", "-e", NODE, "-e", "confirm=true")
    assert done.returncode == 0, done.stdout
    assert not ctl2.file("/etc/slurm/slurmscale-nodes.conf").exists
    assert ctl1.check_output("sinfo --noheader --Node --format %%N") == "rocky1"


def test_a_directory_that_both_share_is_changed_once(ctl1: Host, ctl2: Host, playbook: Playbook) -> None:
    ctl1.check_output("cp -a /etc/slurm /srv/shared/etc")
    for host in (ctl1, ctl2):
        host.check_output("mv /etc/slurm /etc/slurm.own && ln -s /srv/shared/etc /etc/slurm")
    done = playbook("scale_up", "-e", NODE)
    assert done.returncode == 0, done.stdout
    assert "NodeName=ubuntu1" in ctl2.file("/etc/slurm/slurmscale-nodes.conf").content_string
    assert (
        len(ctl1.check_output("ls -d /etc/slurm/slurmscale-backup/*/").split())
        == len(ctl1.check_output("ls -d /etc/slurm.own/slurmscale-backup/*/").split()) + 1
    )
    assert ctl1.check_output("sinfo --noheader --Node --nodes ubuntu1 --format %%T") == "idle"
