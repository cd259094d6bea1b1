"""The command, with logins that no inventory knows; each test goes on from the one before."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pexpect
import pytest
import yaml
from testing import INVENTORY, lab_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testinfra.host import Host

    AsNobody = Callable[..., subprocess.CompletedProcess[str]]

LIMIT = 300
# Modules and what they have started; nothing else on these machines is called so.
AT_WORK = "pgrep --list-full '^(python|apt|dpkg|dnf|sudo|sleep)'"
# Seconds in which all must have ended; what is not ended goes on for longer.
ENDED = 20
# What Debian's packages ask whether they may start their service, made slow.
APT = "/etc/apt/apt.conf.d/99slow"
SUDOERS = "/etc/sudoers.d/zz-without-terminal"


@pytest.fixture(scope="module")
def password() -> str:
    return (INVENTORY / "password").read_text().strip()


@pytest.fixture(scope="module")
def bare(home: Path) -> str:
    """Return an inventory of the same hosts that says nothing of how to log in."""
    hosts = yaml.safe_load((home / "inventory" / "hosts.yml").read_text())
    wide = hosts["all"]["vars"]
    for name in ("ansible_user", "ansible_ssh_private_key_file"):
        del wide[name]
    for group in hosts["all"]["children"].values():
        for variables in (group.get("vars", {}), *group["hosts"].values()):
            for name in ("ansible_become", "ansible_become_password", "ansible_password"):
                variables.pop(name, None)
    path = home / "bare.yml"
    path.write_text(yaml.safe_dump(hosts))
    path.chmod(0o644)
    return str(path)


def found(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what the command printed for programs."""
    begin = ended.stdout.index("{\n")
    result: dict[str, Any] = json.loads(ended.stdout[begin : ended.stdout.rindex("}") + 1])
    return result


def test_without_a_login_the_nodes_are_not_ready_and_it_is_said_why(as_nobody: AsNobody, bare: str) -> None:
    ended = as_nobody("slurmscale", "check", "rocky1", "-i", bare, "--json")
    assert ended.returncode == 1, ended.stdout
    (task,) = found(ended)["tasks"]
    assert task["error_code"] == "host-unreachable", task


def test_user_and_key_are_options_and_the_password_of_sudo_comes_from_the_environment(
    as_nobody: AsNobody, bare: str, home: Path, password: str
) -> None:
    login = ["--user", "admin", "--private-key", str(home / "inventory" / "id_ed25519")]
    secret = {"SLURMSCALE_BECOME_PASSWORD": password}
    ended = as_nobody("slurmscale", "check", "rocky1", "-i", bare, "--json", *login, **secret)
    assert ended.returncode == 0, ended.stdout
    assert found(ended)["status"] == "completed"
    without = as_nobody("slurmscale", "check", "rocky1", "-i", bare, "--json", *login)
    assert without.returncode == 1
    (task,) = found(without)["tasks"]
    assert task["error_remedy"].startswith("Log in as root, or set ansible_become"), task


def test_user_and_passwords_come_from_the_environment(as_nobody: AsNobody, bare: str, password: str) -> None:
    everything = {
        "SLURMSCALE_SSH_USER": "admin",
        "SLURMSCALE_SSH_PASSWORD": password,
        "SLURMSCALE_BECOME_PASSWORD": password,
    }
    ended = as_nobody("slurmscale", "check", "rocky1,ubuntu1", "-i", bare, "--json", **everything)
    assert ended.returncode == 0, ended.stdout
    assert {task["status"] for task in found(ended)["tasks"]} == {"completed"}


def test_passwords_are_asked_for(start_as_nobody: Callable[..., dict[str, Any]], bare: str, password: str) -> None:
    command = ["slurmscale", "check", "rocky1,ubuntu1", "-i", bare, "--user", "admin", "-k", "-K"]
    given = start_as_nobody(*command)
    child = pexpect.spawn(
        given["args"][0], given["args"][1:], cwd=given["cwd"], env=given["env"], encoding="utf-8", timeout=LIMIT
    )
    child.expect("Login password: ")
    child.sendline(password)
    child.expect("Password of sudo: ")
    child.sendline(password)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert password not in child.before


@pytest.fixture
def slow_package() -> Iterator[None]:
    """Let the installation on ubuntu1 take a minute and a half, of which something runs as root all the time."""
    host = lab_host("ubuntu1")
    host.check_output("printf %s > %s", 'DPkg::Pre-Invoke { "sleep 90"; };', APT)
    # With a terminal of its own, as new versions have it, sudo ends what it runs when its connection is closed.
    host.check_output("echo 'Defaults !use_pty' > %s", SUDOERS)
    yield
    host.check_output("rm %s %s", APT, SUDOERS)


def installing() -> bool:
    return lab_host("ubuntu1").run("pgrep '^sleep'").rc == 0


def at_work() -> str:
    return "".join(lab_host(node).run(AT_WORK).stdout for node in ("rocky1", "ubuntu1"))


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.1)


@pytest.mark.usefixtures("slow_package")
def test_a_cancel_ends_what_root_does_on_the_nodes(
    start_as_nobody: Callable[..., dict[str, Any]],
) -> None:
    given = start_as_nobody("slurmscale", "up", "rocky1,ubuntu1", "-i", "inventory/hosts.yml")
    with subprocess.Popen(
        **given, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as up:
        try:
            wait_for(installing, "packages are installed", LIMIT)
            up.send_signal(signal.SIGTERM)
            output, _ = up.communicate(timeout=30)
        finally:
            up.kill()
    wait_for(lambda: not at_work(), f"nothing runs on the nodes: {at_work()}", ENDED)
    assert "may still be running" not in output
    assert up.returncode == 130, output


@pytest.mark.usefixtures("slow_package")
def test_what_root_does_for_a_run_that_was_killed_is_ended_by_the_next_start(
    start_as_nobody: Callable[..., dict[str, Any]], as_nobody: AsNobody
) -> None:
    given = start_as_nobody("slurmscale", "up", "rocky1,ubuntu1", "-i", "inventory/hosts.yml")
    with subprocess.Popen(**given, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as up:
        try:
            wait_for(installing, "packages are installed", LIMIT)
        finally:
            up.kill()
    assert at_work()
    status = as_nobody("slurmscale", "status")
    assert status.returncode == 0, status.stdout
    assert "may still be running" not in status.stdout
    wait_for(lambda: not at_work(), f"nothing runs on the nodes: {at_work()}", ENDED)


def test_what_was_cancelled_is_finished(as_nobody: AsNobody, ctl1: Host) -> None:
    ended = as_nobody("slurmscale", "up", "rocky1,ubuntu1", "-i", "inventory/hosts.yml")
    assert ended.returncode == 0, ended.stdout
    states = ctl1.check_output("sinfo --noheader --Node --format '%%N %%T'").split("\n")
    assert sorted(states) == ["rocky1 idle", "ubuntu1 idle"]
