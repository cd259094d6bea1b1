"""One host's part in changing the munge key: the module with a fake systemd, and the unit's script as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.munge import rotation as munge_keys
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import CommandResult
from ansible_collections.ai_infra.slurm.plugins.modules import munge_rotation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unit.conftest import Runner

OLD, NEW = b"o" * 64, b"n" * 64


class FakeSystemd:
    """Answers systemctl, systemd-run and munge; the unit's work is done when the test says so."""

    def __init__(self, key: Path, times: Path) -> None:
        self.key, self.times = key, times
        self.calls: list[list[str]] = []
        self.active = False
        self.restart_rc = 0

    def run(self, argv: list[str], **_options: object) -> CommandResult:
        self.calls.append(argv)
        rc, text = 0, ""
        if argv[:2] == ["systemctl", "is-active"]:
            text = "active" if self.active else "inactive"
        elif argv[:2] == ["systemctl", "stop"]:
            self.active = False
        elif argv[:2] == ["systemctl", "restart"]:
            rc = self.restart_rc
        elif argv[0] == "systemd-run":
            self.active = True
        elif argv[0] == "munge":
            text = "MUNGE:abc:\n"
        return CommandResult(tuple(argv), rc, text, "", 0.0)

    def change(self) -> None:
        """Do what the unit does at the moment."""
        self.key.with_name("munge.key.old").write_bytes(self.key.read_bytes())
        self.key.with_name("munge.key.new").replace(self.key)
        self.times.write_text("100.5 101.25\n")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSystemd:
    key, times = tmp_path / "munge.key", tmp_path / "times"
    key.write_bytes(OLD)
    key.chmod(0o400)
    fake = FakeSystemd(key, times)
    monkeypatch.setattr(munge_keys, "run", fake.run)
    monkeypatch.setattr(munge_keys, "TIMES", str(times))
    return fake


@pytest.fixture
def step(host: FakeSystemd, run_module: Runner) -> Callable[..., dict[str, Any]]:
    def run(state: str, **options: Any) -> dict[str, Any]:
        return run_module(munge_rotation, state=state, path=str(host.key), **options)

    return run


def bring(host: FakeSystemd, mode: int = 0o400, content: bytes = NEW) -> None:
    new = host.key.with_name("munge.key.new")
    new.write_bytes(content)
    new.chmod(mode)


def names(host: FakeSystemd) -> list[str]:
    return sorted(path.name for path in host.key.parent.glob("munge.key*"))


def test_a_new_key_is_made_beside_the_old_one_for_munge_alone(host: FakeSystemd, step: Any) -> None:
    result = step("made")
    new = host.key.with_name("munge.key.new")
    assert result["changed"]
    assert (new.stat().st_size, new.stat().st_mode & 0o777) == (1024, 0o400)
    assert host.key.read_bytes() == OLD
    assert result["active"] == "old"


def test_all_steps_leave_the_new_key_and_nothing_else(host: FakeSystemd, step: Any) -> None:
    bring(host)
    assert step("armed", at=time.time() + 60)["changed"]
    assert host.calls[-1][0] == "systemd-run"
    host.change()
    changed = step("changed")
    assert (changed["began"], changed["answered"], changed["active"]) == (100.5, 101.25, "new")
    assert changed["credential"] == "MUNGE:abc:"
    assert step("proved")["changed"]
    assert not host.active
    assert names(host) == ["munge.key", "munge.key.old"]
    step("kept")
    assert names(host) == ["munge.key"]
    assert host.key.read_bytes() == NEW


def test_the_old_key_comes_back_after_the_change(host: FakeSystemd, step: Any) -> None:
    bring(host)
    step("armed", at=time.time() + 60)
    host.change()
    result = step("old")
    assert result["changed"]
    assert result["active"] == "old"
    assert host.key.read_bytes() == OLD
    assert names(host) == ["munge.key"]
    assert ["systemctl", "restart", "munge"] in host.calls


def test_going_back_before_the_change_does_not_touch_munge(host: FakeSystemd, step: Any) -> None:
    bring(host)
    step("armed", at=time.time() + 60)
    step("old")
    assert not host.active
    assert names(host) == ["munge.key"]
    assert ["systemctl", "restart", "munge"] not in host.calls


def test_going_back_twice_changes_nothing_more(step: Any) -> None:
    assert not step("old")["changed"]


def test_an_order_that_comes_too_late_is_refused(host: FakeSystemd, step: Any) -> None:
    bring(host)
    result = step("armed", at=time.time() - 3)
    assert result["failed"]
    assert "3.0 s ago" in result["msg"]
    assert not host.active


@pytest.mark.parametrize(
    ("mode", "content", "words"), [(0o440, NEW, "nobody else"), (0o400, b"short", "munged wants 32")]
)
def test_a_new_key_that_munged_would_refuse_is_refused(
    host: FakeSystemd, step: Any, mode: int, content: bytes, words: str
) -> None:
    bring(host, mode, content)
    assert words in step("armed", at=time.time() + 60)["msg"]


def test_an_order_without_a_new_key_is_refused(step: Any) -> None:
    assert "bring the new key first" in step("armed", at=time.time() + 60)["msg"]


def test_a_second_rotation_at_the_same_time_is_refused(host: FakeSystemd, step: Any) -> None:
    host.active = True
    assert "another rotation" in step("made")["msg"]


def test_a_host_that_changed_back_by_itself_says_so(host: FakeSystemd, step: Any) -> None:
    bring(host)
    step("armed", at=time.time() + 60)
    host.active = False
    assert "the old one is back" in step("changed")["msg"]
    assert "come back by itself" in step("proved")["msg"]


def test_munge_that_does_not_start_with_the_old_key_is_told(host: FakeSystemd, step: Any) -> None:
    bring(host)
    step("armed", at=time.time() + 60)
    host.change()
    host.restart_rc = 1
    assert "munged does not start" in step("old")["msg"]
    assert host.key.read_bytes() == OLD


@pytest.mark.parametrize("state", ["made", "armed", "changed", "proved", "kept", "old"])
def test_check_mode_does_nothing(host: FakeSystemd, run_module: Runner, state: str) -> None:
    result = run_module(munge_rotation, check=True, state=state, path=str(host.key), at=time.time() + 60)
    assert not result.get("failed")
    assert names(host) == ["munge.key"]
    assert not host.active


def test_systemd_hands_the_script_over_as_it_is() -> None:
    """It would replace ${...} in the words of a command, whatever quotes are around."""
    assert "${" not in munge_keys.SCRIPT


def unit_script(tmp_path: Path, munged: str, delay: str, hold: str) -> tuple[Path, list[str], dict[str, str]]:
    """Return the key's directory, and command and environment of the unit, with a munge that answers."""
    work, programs = tmp_path / "work", tmp_path / "bin"
    work.mkdir()
    programs.mkdir()
    (work / "munge.key").write_bytes(OLD)
    (work / "munge.key.new").write_bytes(NEW)
    (programs / "systemctl").write_text(f"#!/bin/sh\ncat {work}/munge.key >> {tmp_path}/started\n{munged}\n")
    (programs / "munge").write_text("#!/bin/sh\nexit 0\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    arguments = [str(work / "munge.key"), "munge", delay, hold, str(work / "times")]
    return work, ["-c", munge_keys.SCRIPT, "unit", *arguments], {"PATH": f"{programs}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("munged", "content", "left"), [("exit 0", OLD, ["munge.key", "times"]), ("exit 1", OLD, ["munge.key"])]
)
def test_the_unit_itself_brings_the_old_key_back(tmp_path: Path, munged: str, content: bytes, left: list[str]) -> None:
    """Once after the time is over, and once because munged refuses the new key."""
    work, arguments, environment = unit_script(tmp_path, munged, "0.1", "1")
    subprocess.run(["/bin/sh", *arguments], env=environment, check=False, timeout=20)
    assert (work / "munge.key").read_bytes() == content
    assert sorted(path.name for path in work.iterdir()) == left
    assert (tmp_path / "started").read_bytes() == NEW + OLD


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    ("delay", "left"), [("60", ["munge.key", "munge.key.new"]), ("0", ["munge.key", "munge.key.old", "times"])]
)
def test_a_unit_that_is_stopped_does_no_more_and_outlives_its_sleep(
    tmp_path: Path, shell: str, delay: str, left: list[str]
) -> None:
    work, arguments, environment = unit_script(tmp_path, "exit 0", delay, "60")
    unit = subprocess.Popen([shell, *arguments], env=environment, start_new_session=True)
    deadline = time.monotonic() + 10
    while sorted(path.name for path in work.iterdir()) != left and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    # As systemd does: to all of the unit's processes.
    os.killpg(unit.pid, signal.SIGTERM)
    assert unit.wait(timeout=10) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(unit.pid, 0)
    assert (work / "munge.key").read_bytes() == (NEW if delay == "0" else OLD)
    assert sorted(path.name for path in work.iterdir()) == left
