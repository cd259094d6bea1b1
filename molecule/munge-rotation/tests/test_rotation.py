"""After a change of the munge key: all have the new one and nothing was restarted but munge. Then the ways back."""

from __future__ import annotations

import base64
import re
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from testing import INVENTORY, ROOT, kill, lab_host, start_playbook, unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

NODES = ["rocky1", "ubuntu1"]
HOSTS = ["ctl1", *NODES]
DROP_IN = "/etc/systemd/system/munge.service.d/test.conf"
UNITS = "'slurmscale-munge-rotation-*'"


def key(host: str) -> str:
    fingerprint: str = lab_host(host).check_output("sha256sum < /etc/munge/munge.key | cut -d ' ' -f 1")
    return fingerprint


def keys() -> set[str]:
    return {key(host) for host in HOSTS}


def answers(address: str) -> bool:
    try:
        socket.create_connection((address, 22), timeout=2).close()
    except OSError:
        return False
    return True


def all_nodes_work(ctl1: Host) -> None:
    answer = ctl1.check_output("cd / && timeout 90 srun --nodes 2 --mem 10 --time 1 --overcommit hostname")
    assert sorted(answer.splitlines()) == NODES


@pytest.fixture(autouse=True)
def the_old_job_still_runs(ctl1: Host, before: dict[str, Any]) -> Iterator[None]:
    """After every test, the failed rotations included."""
    yield
    assert ctl1.check_output("squeue --noheader --format '%%T %%N' --job %s", before["job"]) == "RUNNING ubuntu1"


def test_all_hosts_have_one_new_key_that_only_munge_reads(before: dict[str, Any]) -> None:
    assert len(keys()) == 1
    assert keys() != {before["key"]}
    for host in HOSTS:
        there = lab_host(host).file("/etc/munge/munge.key")
        assert (there.user, there.group, there.mode) == ("munge", "munge", 0o400)


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_is_left_beside_the_key_and_nothing_waits_to_change_it_back(host: str) -> None:
    assert lab_host(host).file("/etc/munge").listdir() == ["munge.key"]
    assert lab_host(host).run(f"systemctl is-active --quiet {UNITS}").rc != 0


def test_slurm_was_not_restarted_and_works_with_the_new_key(ctl1: Host, before: dict[str, Any]) -> None:
    for host, unit in (("ctl1", "slurmctld"), ("rocky1", "slurmd"), ("ubuntu1", "slurmd")):
        assert lab_host(host).check_output("systemctl show --property MainPID --value %s", unit) == before[host]
    all_nodes_work(ctl1)


@pytest.mark.parametrize(
    "port", ["9", "{{ 9 if preflight_node is defined else 22 }}"], ids=["away", "lost once probed"]
)
def test_a_host_out_of_reach_is_refused_before_anything_is_done(playbook: Playbook, tmp_path: Path, port: str) -> None:
    old = keys()
    away = tmp_path / "away.yml"
    away.write_text(f"slurm_nodes: {{hosts: {{rocky1: {{ansible_port: '{port}'}}}}}}\n")
    run = playbook("rotate_munge_key", "-i", str(away))
    assert run.returncode != 0
    assert "would be left with the old key" in unwrap(run.stdout)
    assert "skip_unreachable=true" in run.stdout
    assert keys() == old


def test_a_part_of_the_cluster_is_refused(playbook: Playbook) -> None:
    run = playbook("rotate_munge_key", "-e", "nodes=rocky1")
    assert run.returncode != 0
    assert "on all of its hosts or on none" in unwrap(run.stdout)


@pytest.fixture
def refusing() -> Iterator[Host]:
    """Let munged of a node start with the key that it has, and with no other."""
    host = lab_host("ubuntu1")
    check = f'ExecStartPre=+/bin/sh -c "sha256sum < /etc/munge/munge.key | grep -q {key("ubuntu1")}"'
    host.check_output("mkdir -p $(dirname %s)", DROP_IN)
    host.check_output("printf '[Service]\\n%%s\\n' %s > %s && systemctl daemon-reload", check, DROP_IN)
    yield host
    host.check_output("rm %s && systemctl daemon-reload", DROP_IN)


def test_all_go_back_when_munge_of_one_host_refuses_the_new_key(ctl1: Host, playbook: Playbook, refusing: Host) -> None:
    old = keys()
    run = playbook("rotate_munge_key", "-e", "lead=12")
    assert run.returncode != 0
    assert re.search(r"ubuntu1 +failed .*did not start with the new key", run.stdout), run.stdout
    assert "The cluster has its old munge key" in run.stdout
    assert keys() == old
    assert refusing.service("munge").is_running
    all_nodes_work(ctl1)


@pytest.mark.long
def test_a_host_that_is_lost_after_the_order_goes_back_by_itself(ctl1: Host, playbook: Playbook) -> None:
    old = keys()
    lost = lab_host("rocky1")
    # Gone once the switch is scheduled, back when the time to confirm it is over.
    vanish = (
        f"until systemctl is-active --quiet {UNITS}; do sleep 0.2; done; sleep 1;"
        " systemctl stop ssh.socket ssh; pkill sshd; sleep 40; systemctl start ssh"
    )
    lost.check_output("systemd-run --quiet --collect --unit vanish /bin/sh -c %s", vanish)
    run = playbook("rotate_munge_key", "-e", "lead=12", "-e", "hold=15")
    assert run.returncode != 0
    assert re.search(r"rocky1 +failed .*by itself", run.stdout), run.stdout
    assert {key(host) for host in HOSTS if host != "rocky1"} == old
    deadline = time.monotonic() + 120
    while not answers(lost.backend.hostname) and time.monotonic() < deadline:
        time.sleep(1)
    assert keys() == old
    all_nodes_work(ctl1)


def beside(name: str) -> set[str]:
    """Return the hosts that have a file beside their key."""
    return {host for host in HOSTS if lab_host(host).file(f"/etc/munge/munge.key.{name}").exists}


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1)


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a rotation, which is killed when the test fails."""
    runs: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        runs.append(start_playbook("rotate_munge_key", *arguments))
        return runs[-1]

    yield start
    for run in runs:
        kill(run)


def test_a_second_rotation_is_refused_and_the_first_one_ends_as_it_should(
    ctl1: Host, playbook: Playbook, started: Callable[..., subprocess.Popen[str]]
) -> None:
    old = keys()
    first = started("-e", "lead=40")
    wait_until(lambda: ctl1.file("/etc/munge/munge.key.rotation").exists, 90)
    second = playbook("rotate_munge_key", "-e", "lead=12")
    assert second.returncode != 0
    assert re.search(r"rotation \S+Z of .* holds this host and is s\w+", unwrap(second.stdout)), second.stdout
    assert "Nothing was changed" in unwrap(second.stdout)
    output, _ = first.communicate(timeout=240)
    assert first.returncode == 0, output
    assert len(keys()) == 1
    assert keys() != old
    all_nodes_work(ctl1)


def test_a_rotation_whose_run_is_killed_returns_in_time_and_another_one_can_follow(
    ctl1: Host, playbook: Playbook, started: Callable[..., subprocess.Popen[str]]
) -> None:
    """Killed once all hosts are scheduled: they switch and return by themselves, and what the next run says holds."""
    old = keys()
    killed = started("-e", "lead=15", "-e", "hold=60")
    wait_until(lambda: beside("rotation") == set(HOSTS), 120)
    kill(killed)
    wait_until(lambda: beside("old") == set(HOSTS), 60)
    new = keys()
    assert len(new) == 1
    assert new != old

    second = playbook("rotate_munge_key", "-e", "lead=12")
    assert second.returncode != 0
    assert "holds this host and is switched; the old key comes back at" in unwrap(second.stdout), second.stdout
    assert "The cluster has its old" not in second.stdout
    assert keys() == new

    wait_until(lambda: keys() == old and not beside("old"), 120)
    assert all(lab_host(host).service("munge").is_running for host in HOSTS)
    all_nodes_work(ctl1)
    third = playbook("rotate_munge_key", "-e", "lead=12")
    assert third.returncode == 0, third.stdout
    assert len(keys()) == 1
    assert keys() != old
    assert not beside("rotation")
    all_nodes_work(ctl1)


def test_a_reboot_after_the_switch_is_found_and_it_is_said_how_the_old_key_comes_back(
    ctl1: Host, playbook: Playbook, started: Callable[..., subprocess.Popen[str]]
) -> None:
    """The unit that returns to the old key is transient: after a reboot there is none."""
    old = keys()
    killed = started("-e", "lead=15", "-e", "hold=600")
    wait_until(lambda: beside("rotation") == set(HOSTS), 120)
    kill(killed)
    wait_until(lambda: beside("old") == set(HOSTS), 60)
    for host in HOSTS:
        lab_host(host).check_output(f"systemctl kill --signal KILL {UNITS}; systemctl stop {UNITS}")
    new = keys()
    refused = playbook("rotate_munge_key", "-e", "lead=12", "-e", "skip_unreachable=true")
    assert refused.returncode != 0
    assert "was interrupted, e.g. by a reboot, when ctl1 had switched" in unwrap(refused.stdout), refused.stdout
    remedy = re.search(r"ansible (\S+) -b -m (\S+) -a '([^']+)'", unwrap(refused.stdout))
    assert remedy, refused.stdout
    assert keys() == new != old
    hosts, module, arguments = remedy.groups()
    command = ["ansible", "-i", str(INVENTORY / "hosts.yml"), hosts, "-b", "-m", module, "-a", arguments]
    subprocess.run(command, check=True, cwd=ROOT, timeout=120)
    assert keys() == old
    assert not beside("rotation")
    all_nodes_work(ctl1)


@pytest.mark.long
def test_no_key_is_in_the_most_talkative_output(ctl1: Host, playbook: Playbook) -> None:
    old = base64.b64decode(ctl1.check_output("base64 -w 0 /etc/munge/munge.key"))
    run = playbook("rotate_munge_key", "-e", "lead=12", "-vvvv")
    assert run.returncode == 0, run.stdout[-5000:]
    new = base64.b64decode(ctl1.check_output("base64 -w 0 /etc/munge/munge.key"))
    assert new != old
    for secret in (old, new):
        assert base64.b64encode(secret).decode()[:60] not in run.stdout
    assert len(keys()) == 1
