"""What killed modules left is removed, and nothing that may be in use or is somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import leftover_files

if TYPE_CHECKING:
    from pathlib import Path

    from fakes.machine import Machine

LEFT = ("ansible_slurm_node_probe_payload_a1b2c3d_", "ansible-moduletmp-1764243211.43-x7k2m9qp")
OTHERS = (
    "ansible_notes", "ansible-tmp-1764243211.43-77-123456789", "ansible_systemd_payload_a1b2c3d_.zip", "tmpa1b2c3d_",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    for name in (*LEFT, *OTHERS):
        (place / name).mkdir(parents=True)
        (place / name / "payload.zip").touch()
    return place


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def removed(place: Path, machine: Machine) -> set[str]:
    before = names(place)
    told = leftover_files.remove_remains(str(place), str(place / "none"), machine.root)
    gone = before - names(place)
    assert {os.path.basename(path) for path in told} == gone  # noqa: PTH119 - as the module tells them
    return gone


def test_what_killed_modules_left_is_removed_and_nothing_else(place: Path, machine: Machine) -> None:
    machine.process(os.getpid(), "python3", "/usr/bin/python3")
    machine.process(7, "tuned", "/usr/bin/python3", "/usr/sbin/tuned")
    machine.process(8, "sh", "/bin/sh", "-c", "/usr/bin/python3 && sleep 0")
    assert removed(place, machine) == set(LEFT)
    assert removed(place, machine) == set()


@pytest.mark.parametrize(
    "argv",
    [("/usr/bin/python3.9",), ("/usr/libexec/platform-python",), ("python3", "/root/.ansible/tmp/x/AnsiballZ_dnf.py")],
)
def test_nothing_is_removed_while_another_module_is_at_work(
    place: Path, machine: Machine, argv: tuple[str, ...]
) -> None:
    machine.process(9, "python3", *argv)
    assert removed(place, machine) == set()


def test_a_link_and_what_belongs_to_another_user_stay(
    place: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = place / "ansible_slurm_nodes_payload_a1b2c3d4"
    link.symlink_to(place / OTHERS[0], target_is_directory=True)
    assert removed(place, machine) == set(LEFT)
    assert link.is_symlink()
    (place / LEFT[0]).mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert removed(place, machine) == set()


def test_the_code_of_the_module_itself_stays(place: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        leftover_files, "__file__", str(place / LEFT[0] / "ansible_slurm_node_probe_payload.zip" / "x.py")
    )
    assert removed(place, machine) == {LEFT[1]}


# When dnf wrote its file, the time of the transaction that rpm has in the names of parts, and others.
KILLED = 1764243211
PART, LATER, ANCIENT = (f";{KILLED + seconds:08x}" for seconds in (-1, 90_000, -90_000))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    own.mkdir()
    return own


@pytest.fixture(params=["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/root/.rpmdb"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let rpm have its database where it is on some system; returns the directory."""
    program = tmp_path / "bin/rpm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$*" = "--eval %{{_dbpath}}" ] && echo {request.param}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return str(request.param)


@pytest.fixture
def killed_rpm(machine: Machine, own: Path, database: str) -> list[str]:
    """Let a dnf and its rpm have been killed; returns what they left."""
    of_dnf = own / "tmpa1b2c3d_"
    of_dnf.touch()
    machine.write(f"{database}/.rpm.lock")
    scriptlet = machine.write("var/tmp/rpm-tmp.a1B2c3", "systemctl preset slurmd")
    for path in (of_dnf, scriptlet):
        os.utime(path, (KILLED, KILLED))
    parts = [machine.write(f"{path}{PART}") for path in ("usr/sbin/slurmd", "etc/munge/x")]
    for path in ("usr/sbin/slurmd", f"usr/sbin/slurmd{LATER}", f"usr/sbin/slurmd{ANCIENT}", "usr/x;y", "var/tmp/rpm"):
        machine.write(path)
    return sorted(map(str, [of_dnf, scriptlet, *parts]))


def test_what_a_killed_rpm_left_is_removed_and_nothing_else(
    machine: Machine, tmp_path: Path, own: Path, killed_rpm: list[str]
) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    told = leftover_files.remove_remains(str(tmp_path / "none"), str(own), machine.root)
    assert sorted(told) == killed_rpm
    assert sorted(str(path) for path in before if not path.exists()) == killed_rpm


@pytest.mark.usefixtures("killed_rpm")
def test_nothing_of_rpm_is_removed_while_another_transaction_is_at_work(
    machine: Machine, tmp_path: Path, own: Path, database: str
) -> None:
    before = set(tmp_path.rglob("*"))
    # A lock of another process; one's own would not count.
    program = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, machine.path / f"{database}/.rpm.lock".lstrip("/")], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as rpm:  # fmt: skip
        assert rpm.stdout is not None
        rpm.stdout.readline()
        assert leftover_files.remove_remains(str(tmp_path / "none"), str(own), machine.root) == []
        rpm.kill()
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("killed_rpm")
def test_without_a_killed_dnf_of_ours_nothing_of_rpm_is_removed(machine: Machine, tmp_path: Path, own: Path) -> None:
    (own / "tmpa1b2c3d_").unlink()
    before = set(tmp_path.rglob("*"))
    assert leftover_files.remove_remains(str(tmp_path / "none"), str(own), machine.root) == []
    assert set(tmp_path.rglob("*")) == before


def test_the_directory_for_temporary_files_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for _ in range(2):
        assert leftover_files.temporary_directory() == f"{tmp_path}/.ansible/tmp"
    assert (tmp_path / ".ansible/tmp").stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("HOME", "/proc/none")
    assert not leftover_files.temporary_directory()
