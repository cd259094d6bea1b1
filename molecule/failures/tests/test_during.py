"""Faults in the middle of a run: other nodes go on, the reason is told, and the next run continues."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from conftest import CONFIGURATION, row
from testing import GENERATION, in_container, run_command, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.skipif(GENERATION == "22.05", reason="the same on every Slurm; seen on the newer one"),
    pytest.mark.usefixtures("cluster_is_unharmed"),
]

NODES = ("-e", "nodes=rocky2,ubuntu2")
LOST = "The connection was lost before the node was done."


def states(ctl1: Host) -> set[str]:
    return {unwrap(line) for line in ctl1.check_output("sinfo --noheader --Node --format '%N %T'").splitlines()}


def test_apphub_that_goes_in_the_middle(ctl1: Host, struck: Playbook) -> None:
    configuration = ctl1.check_output(CONFIGURATION)
    try:
        run = struck("Configure AppHub as the package source", in_container("apphub", "systemctl stop nginx"), *NODES)
    finally:
        run_command(in_container("apphub", "systemctl start nginx"))
    assert run.returncode != 0
    assert "0 of 2 nodes succeeded, 2 failed" in run.stdout
    for node in ("rocky2", "ubuntu2"):
        assert re.search(r"http://[\d.]+:8081", row(run, node))
        assert "on this machine" in row(run, node)
    assert ctl1.check_output(CONFIGURATION) == configuration


@pytest.mark.long
def test_a_disk_that_is_too_small_for_the_packages(ctl1: Host, struck: Playbook) -> None:
    configuration = ctl1.check_output(CONFIGURATION)
    places = {"rocky2": "/var/cache/dnf", "ubuntu2": "/var/cache/apt/archives"}
    for node, place in places.items():
        run_command(in_container(node, f"mkdir -p {place} && mount -t tmpfs -o size=400k tmpfs {place}"))
    try:
        run = struck("Probe the node", "true", *NODES)
    finally:
        for node, place in places.items():
            run_command(in_container(node, f"umount {place}"))
    assert run.returncode != 0
    assert "Failed writing received data to disk" in row(run, "rocky2")
    assert "You don't have enough free space in /var/cache/apt/archives" in row(run, "ubuntu2")
    for node in places:
        assert "df -h on this machine" in row(run, node)
    assert ctl1.check_output(CONFIGURATION) == configuration


def test_a_killed_run_is_continued_by_the_next(ctl1: Host, struck: Playbook, playbook: Playbook) -> None:
    """The package manager that was begun goes on by itself meanwhile."""
    killed = struck("Install with dnf", "(sleep 2; kill -9 $PPID) >/dev/null 2>&1 &", "-e", "nodes=rocky2")
    assert killed.returncode < 0
    assert "nodes succeeded" not in killed.stdout
    run = playbook("scale_up", "-e", "nodes=rocky2")
    assert run.returncode == 0, run.stdout
    assert "rocky2 idle" in states(ctl1)


def test_a_node_that_is_lost_while_it_is_prepared(
    ctl1: Host, struck: Playbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer comes back any more, as from a machine that lost power."""
    # A dead peer is given up after seconds instead of a minute, on connections of this run's own.
    monkeypatch.setenv("ANSIBLE_SSH_ARGS", "-o ControlMaster=no -o ControlPath=none -o ServerAliveInterval=2")
    monkeypatch.setenv("ANSIBLE_TIMEOUT", "3")
    gateway = "$(ip route show default | cut -d ' ' -f 3)"
    try:
        run = struck(
            "Configure AppHub as the package source",
            in_container("ubuntu2", f"ip route add blackhole {gateway}"),
            *NODES,
        )
    finally:
        run_command(in_container("ubuntu2", f"ip route del blackhole {gateway}"))
    assert run.returncode != 0
    assert LOST in row(run, "ubuntu2")
    assert row(run, "rocky2").startswith("rocky2 unchanged"), run.stdout
    assert "rocky2 idle" in states(ctl1)


def test_a_node_that_is_lost_after_it_was_registered(ctl1: Host, struck: Playbook, playbook: Playbook) -> None:
    vanish = "systemctl stop ssh.socket ssh; pkill sshd || true"
    try:
        run = struck("Start slurmd", in_container("ubuntu2", vanish), *NODES, "-e", "scale_timeout=15")
    finally:
        run_command(in_container("ubuntu2", "systemctl start ssh"))
    assert run.returncode != 0
    assert LOST in row(run, "ubuntu2")
    assert row(run, "rocky2").startswith("rocky2 unchanged"), run.stdout
    again = playbook("scale_up", *NODES)
    assert again.returncode == 0, again.stdout
    assert {"rocky2 idle", "ubuntu2 idle"} <= states(ctl1)
