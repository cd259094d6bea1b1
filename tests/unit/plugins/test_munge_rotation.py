"""The steps of one host in changing the munge key, with the unit's script as it is and a systemd that runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.munge import rotation
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import CommandResult
from ansible_collections.ai_infra.slurm.plugins.modules import munge_rotation
from fakes.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unit.conftest import Runner

OLD, NEW = b"o" * 64, b"n" * 64


class Systemd:
    """Runs the unit as a process, starts it again when it is killed, and keeps what munged read at each start."""

    def __init__(self, directory: Path) -> None:
        self.key = directory / "etc/munge.key"
        self.read_by_munged = directory / "read"
        self.refused = directory / "refused"
        self.calls: list[list[str]] = []
        self.unit: subprocess.Popen[bytes] | None = None
        self.loaded: set[str] = set()
        """Names that a unit has or, when `keeps_units`, had."""
        self.keeps_units = False
        """Whether a unit that has ended stays loaded, as where systemd misses the end of one of its processes."""
        self._watch: threading.Thread | None = None
        self._stopped = False
        self._programs = directory / "bin"
        self._programs.mkdir()
        self.key.parent.mkdir()
        # munged refuses to start with the key that lies in the file.
        restart = f'cat {self.key} >> {self.read_by_munged}; [ "$(cat {self.key})" != "$(cat {self.refused} 2>&-)" ]'
        for name, body in (("systemctl", restart), ("munge", "exit 0")):
            (self._programs / name).write_text(f"#!/bin/sh\n{body}\n")
            (self._programs / name).chmod(0o755)

    def run(self, argv: list[str], **_options: object) -> CommandResult:
        self.calls.append(argv)
        rc, text = 0, ""
        if argv[:2] == ["systemctl", "is-active"]:
            text = "active" if self.runs() else "inactive"
        elif argv[:2] == ["systemctl", "stop"]:
            self.stop()
        elif argv[:2] == ["systemctl", "restart"]:
            rc = subprocess.run([self._programs / "systemctl"], check=False, timeout=10).returncode
        elif argv[0] == "systemd-run":
            name = next(word for word in argv if word.startswith("--unit="))
            if name in self.loaded:
                return CommandResult(tuple(argv), 1, "", "Unit was already loaded or has a fragment file.", 0.0)
            self.loaded = {name, *self.loaded} if self.keeps_units else {name}
            self._start(argv[argv.index("/bin/sh") :])
        elif argv[0] == "munge":
            text = "MUNGE:abc:\n"
        return CommandResult(tuple(argv), rc, text, "", 0.0)

    def _start(self, command: list[str]) -> None:
        environment = {"PATH": f"{self._programs}:/usr/bin:/bin"}
        self._stopped = False

        def begin() -> None:
            self.unit = subprocess.Popen(command, env=environment, start_new_session=True)

        def watch() -> None:
            while self.unit is not None and self.unit.wait() != 0 and not self._stopped:
                begin()

        begin()
        self._watch = threading.Thread(target=watch, daemon=True)
        self._watch.start()

    def runs(self) -> bool:
        return self._watch is not None and self._watch.is_alive()

    def stop(self) -> None:
        """As systemd does: SIGTERM to all of the unit's processes, and SIGKILL to those that are left.

        A shell that gets SIGTERM just before it starts its sleep goes on sleeping.
        """
        self._stopped = True
        for number, seconds in ((signal.SIGTERM, 1), (signal.SIGKILL, 10)):
            if self.unit is not None and self.unit.poll() is None:
                os.killpg(self.unit.pid, number)
            if self._watch is not None:
                self._watch.join(seconds)

    def kill(self) -> None:
        assert self.unit is not None
        os.killpg(self.unit.pid, signal.SIGKILL)

    def vanish(self) -> None:
        """Leave nothing of the unit, as a boot does."""
        self._stopped = True
        if self.runs():
            self.kill()
        if self._watch is not None:
            self._watch.join(10)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    fake = Systemd(tmp_path)
    fake.key.write_bytes(OLD)
    fake.key.chmod(0o400)
    monkeypatch.setattr(rotation, "run", fake.run)
    monkeypatch.setattr(rotation, "TIMES", str(tmp_path / "times"))
    yield fake
    fake.stop()


@pytest.fixture
def step(host: Systemd, run_module: Runner) -> Callable[..., dict[str, Any]]:
    def run(state: str, **options: Any) -> dict[str, Any]:
        return run_module(munge_rotation, **{"state": state, "path": str(host.key), "rotation": "first", **options})

    return run


def deploy(host: Systemd, mode: int = 0o400, content: bytes = NEW) -> None:
    new = host.key.with_name("munge.key.new")
    new.write_bytes(content)
    new.chmod(mode)


def switch(host: Systemd, step: Any, hold: int = 60) -> None:
    deploy(host)
    assert not step("scheduled", at=time.time() + 0.7, hold=hold).get("failed")
    assert step("switched")["phase"] == "switched"


def names(host: Systemd) -> list[str]:
    return sorted(path.name for path in host.key.parent.iterdir())


def code(result: dict[str, Any]) -> str:
    assert result["failed"]
    return result["failure"]["code"]


def test_a_new_key_is_made_beside_the_old_one_for_munge_alone(host: Systemd, step: Any) -> None:
    result = step("staged")
    new = host.key.with_name("munge.key.new")
    assert result["changed"]
    assert (new.stat().st_size, new.stat().st_mode & 0o777) == (1024, 0o400)
    assert host.key.read_bytes() == OLD
    assert (result["active"], result["phase"], result["rotation"]) == ("old", "staged", "first")


def test_all_steps_leave_the_new_key_and_nothing_else(host: Systemd, step: Any) -> None:
    deploy(host)
    scheduled = step("scheduled", at=time.time() + 0.7, hold=60)
    assert (scheduled["changed"], scheduled["phase"], scheduled["active"]) == (True, "scheduled", "old")
    switched = step("switched")
    assert (switched["active"], switched["phase"], switched["credential"]) == ("new", "switched", "MUNGE:abc:")
    assert 0 <= switched["answered"] - switched["began"] < 5
    committed = step("committed")
    assert (committed["changed"], committed["phase"], committed["active"]) == (True, "committed", "new")
    assert not host.runs()
    finished = step("finished")
    assert (finished["phase"], finished["rotation"]) == ("none", None)
    assert names(host) == ["munge.key"]
    assert host.key.read_bytes() == NEW
    assert host.read_by_munged.read_bytes() == NEW


def test_a_unit_of_an_earlier_rotation_that_systemd_still_has_stops_no_other(host: Systemd, step: Any) -> None:
    host.keeps_units = True
    switch(host, step)
    step("rolled_back")
    deploy(host)
    assert not step("scheduled", rotation="second", at=time.time() + 0.7).get("failed")
    assert step("switched", rotation="second")["phase"] == "switched"


def test_the_old_key_comes_back_after_the_switch(host: Systemd, step: Any) -> None:
    switch(host, step)
    result = step("rolled_back")
    assert (result["changed"], result["active"], result["phase"]) == (True, "old", "none")
    assert host.key.read_bytes() == OLD
    assert names(host) == ["munge.key"]
    assert host.read_by_munged.read_bytes() == NEW + OLD


def test_a_committed_key_can_still_be_rolled_back(host: Systemd, step: Any) -> None:
    """Another host may not have committed."""
    switch(host, step)
    step("committed")
    assert step("rolled_back")["active"] == "old"
    assert host.key.read_bytes() == OLD
    assert names(host) == ["munge.key"]


def test_rolling_back_before_the_switch_does_not_touch_munge(host: Systemd, step: Any) -> None:
    deploy(host)
    step("scheduled", at=time.time() + 60)
    step("rolled_back")
    assert not host.runs()
    assert names(host) == ["munge.key"]
    assert not host.read_by_munged.exists()


def test_rolling_back_twice_changes_nothing_more(step: Any) -> None:
    assert not step("rolled_back")["changed"]


def test_the_timed_return_is_told_as_it_happens(host: Systemd, step: Any) -> None:
    switch(host, step, hold=2)
    before = step("status")
    assert (before["active"], before["phase"]) == ("new", "switched")
    wait_for(lambda: time.time() > before["return_at"] + 0.2)
    wait_for(lambda: not host.runs())
    after = step("status")
    assert (after["active"], after["phase"], after["return_at"]) == ("old", "returned", None)
    assert host.key.read_bytes() == OLD
    assert host.read_by_munged.read_bytes() == NEW + OLD
    assert code(step("committed")) == "rotation-taken-back"
    assert code(step("switched")) == "rotation-taken-back"
    assert host.key.read_bytes() == OLD
    assert step("rolled_back")["phase"] == "none"
    assert names(host) == ["munge.key"]


def test_a_unit_that_is_killed_returns_in_time_all_the_same(host: Systemd, step: Any) -> None:
    switch(host, step, hold=3)
    host.kill()
    assert step("status")["phase"] == "switched"
    wait_for(lambda: not host.runs())
    assert step("status")["phase"] == "returned"
    assert host.read_by_munged.read_bytes() == NEW + OLD


def test_a_unit_that_is_killed_before_the_switch_switches_in_time(host: Systemd, step: Any) -> None:
    deploy(host)
    step("scheduled", at=time.time() + 1.5, hold=60)
    host.kill()
    assert step("switched")["active"] == "new"


def test_a_host_that_lost_its_unit_does_not_claim_that_the_key_comes_back(host: Systemd, step: Any) -> None:
    switch(host, step)
    Path(rotation.TIMES).unlink()
    host.vanish()
    assert code(step("switched")) == "rotation-interrupted"
    state = step("status")
    assert (state["active"], state["phase"]) == ("new", "switched")
    assert (state["return_at"], state["interrupted"]) == (None, True)
    assert step("committed")["active"] == "new"


@pytest.mark.parametrize("phase", ["staged", "scheduled", "switched", "committed"])
def test_a_second_rotation_is_refused_and_changes_nothing(host: Systemd, step: Any, phase: str) -> None:
    if phase == "staged":
        step("staged")
    elif phase == "scheduled":
        deploy(host)
        step("scheduled", at=time.time() + 60)
    else:
        switch(host, step)
    if phase == "committed":
        step("committed")
    before, files, runs = names(host), [path.read_bytes() for path in sorted(host.key.parent.iterdir())], host.runs()
    for state in ("staged", "switched", "committed", "finished", "rolled_back"):
        result = step(state, rotation="second")
        assert code(result) == "rotation-under-way", state
        assert "rotation first of" in result["msg"]
        assert phase in result["msg"]
    assert code(step("scheduled", rotation="second", at=time.time() + 60)) in (
        "rotation-under-way",
        "munge-key-missing",
    )
    assert names(host) == before
    assert [path.read_bytes() for path in sorted(host.key.parent.iterdir())] == files
    assert host.runs() == runs
    assert step("status")["phase"] == phase


def test_a_rotation_that_returned_by_itself_has_ended(host: Systemd, step: Any) -> None:
    switch(host, step, hold=1)
    wait_for(lambda: not host.runs())
    assert step("staged", rotation="second")["rotation"] == "second"
    assert code(step("rolled_back")) == "rotation-under-way"
    assert step("status")["phase"] == "staged"


def age(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    later = time.time() + seconds
    monkeypatch.setattr(rotation.time, "time", lambda: later)


def test_a_rotation_that_died_before_the_switch_does_not_block_for_ever(
    host: Systemd, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step("staged")
    age(monkeypatch, 700)
    assert step("status")["interrupted"]
    assert step("staged", rotation="second")["rotation"] == "second"
    assert host.key.read_bytes() == OLD


def test_a_host_that_returned_by_itself_can_be_rotated_again_at_once(host: Systemd, step: Any) -> None:
    """The control machine lost it and never rolled it back."""
    switch(host, step, hold=1)
    wait_for(lambda: not host.runs())
    deploy(host, content=b"m" * 64)
    assert step("status")["phase"] == "returned"
    assert step("scheduled", rotation="second", at=time.time() + 60)["rotation"] == "second"
    assert code(step("rolled_back")) == "rotation-under-way"


@pytest.mark.parametrize("committed", [True, False])
def test_a_rotation_that_died_after_the_switch_is_told_and_needs_a_word(
    host: Systemd, step: Any, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    switch(host, step)
    if committed:
        step("committed")
    host.vanish()
    age(monkeypatch, 700)
    result = step("staged", rotation="second")
    assert code(result) == "rotation-interrupted"
    assert result["failure"]["remedy"]
    assert host.key.read_bytes() == NEW
    step("rolled_back", rotation="", force=True)
    assert host.key.read_bytes() == OLD
    assert names(host) == ["munge.key"]


def test_a_name_is_needed_for_all_that_changes_something(step: Any) -> None:
    assert code(step("rolled_back", rotation="")) == "request-invalid"


def test_a_schedule_that_comes_too_late_is_refused(host: Systemd, step: Any) -> None:
    deploy(host)
    result = step("scheduled", at=time.time() - 3)
    assert code(result) == "rotation-too-late"
    assert "3.0 s ago" in result["msg"]
    assert not host.runs()


@pytest.mark.parametrize(
    ("mode", "content", "expected"),
    [(0o440, NEW, "permissions-wrong"), (0o400, b"short", "munge-key-unusable")],
)
def test_a_new_key_that_munged_would_refuse_is_refused(
    host: Systemd, step: Any, mode: int, content: bytes, expected: str
) -> None:
    deploy(host, mode, content)
    assert code(step("scheduled", at=time.time() + 60)) == expected
    assert names(host) == ["munge.key", "munge.key.new"]


def test_a_schedule_without_a_new_key_is_refused(step: Any) -> None:
    assert code(step("scheduled", at=time.time() + 60)) == "munge-key-missing"


def test_munged_that_refuses_the_new_key_gets_the_old_one_at_once(host: Systemd, step: Any) -> None:
    host.refused.write_bytes(NEW)
    deploy(host)
    step("scheduled", at=time.time() + 0.7)
    result = step("switched")
    assert code(result) == "rotation-taken-back"
    assert "did not start with the new key" in result["msg"]
    assert (result["active"], result["phase"]) == ("old", "returned")
    assert host.read_by_munged.read_bytes() == NEW + OLD


def test_munge_that_does_not_start_with_the_old_key_is_told(host: Systemd, step: Any) -> None:
    switch(host, step)
    host.refused.write_bytes(OLD)
    assert code(step("rolled_back")) == "service-down"
    assert host.key.read_bytes() == OLD


@pytest.mark.parametrize("state", [state for state in munge_rotation.STATES if state != "status"])
def test_check_mode_does_nothing(host: Systemd, run_module: Runner, state: str) -> None:
    result = run_module(
        munge_rotation, check=True, state=state, rotation="first", path=str(host.key), at=time.time() + 60
    )
    assert not result.get("failed")
    assert names(host) == ["munge.key"]
    assert not host.runs()


def test_systemd_hands_the_script_over_as_it_is() -> None:
    """It would replace ${...} in the words of a command, whatever quotes are around."""
    assert "${" not in rotation.SCRIPT


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("delay", [60, 0])
def test_a_unit_that_is_stopped_does_no_more_and_outlives_its_sleep(host: Systemd, shell: str, delay: int) -> None:
    deploy(host)
    at = int((time.time() + delay) * 1000)
    times = host.key.with_name("times")
    arguments = [str(host.key), "munge", str(at), str(at + 60_000), str(times)]
    environment = {"PATH": f"{host.key.parents[1]}/bin:/usr/bin:/bin"}
    unit = subprocess.Popen([shell, "-c", rotation.SCRIPT, "unit", *arguments], env=environment, start_new_session=True)
    left = ["munge.key", "munge.key.new"] if delay else ["munge.key", "munge.key.old", "times"]
    wait_for(lambda: names(host) == left)
    time.sleep(0.2)
    # As systemd does: to all of the unit's processes.
    os.killpg(unit.pid, signal.SIGTERM)
    assert unit.wait(timeout=10) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(unit.pid, 0)
    assert host.key.read_bytes() == (OLD if delay else NEW)
    assert names(host) == left
