"""Whole runs against a fake slurmctld: what is done, verified, rolled back and recovered."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import (
    node_registration,
    slurmctld_control,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_transaction import ApplyError
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.lock import SHARED_LOCK, BusyError, lock
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.planner import RefusedError
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import CannotApplyError
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from fakes.slurmctld import CONF

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakes.slurmctld import FakeSlurmctld


def test_an_old_controller_is_restarted_once_and_then_tells_its_nodes(slurm: FakeSlurmctld) -> None:
    result = slurm.register("n2", "n3")
    assert (result["changed"], result["action"], result["added"]) == (True, "restart", ["n2", "n3"])
    assert (result["nodes_before"], result["nodes_after"]) == (["n1"], ["n1", "n2", "n3"])
    assert len(slurm.called("systemctl", "restart")) == 1
    assert len(slurm.called("scontrol", "reconfigure")) == 1


def test_a_new_controller_is_reconfigured_and_not_restarted(slurm: FakeSlurmctld) -> None:
    slurm.version = "24.11.5"
    assert slurm.register("n2")["action"] == "reconfigure"
    assert len(slurm.called("systemctl", "restart")) == 0
    assert len(slurm.called("scontrol", "reconfigure")) == 1


def test_a_second_run_touches_nothing(slurm: FakeSlurmctld) -> None:
    slurm.register("n2")
    files, loads = slurm.files(), slurm.loads
    result = slurm.register("n2")
    assert (result["changed"], result["action"], result["diff"]) == (False, "none", [])
    assert (slurm.files(), slurm.loads) == (files, loads)


def test_slurmctld_resolves_the_addresses_of_machines_that_are_new_or_silent_again(slurm: FakeSlurmctld) -> None:
    slurm.version = "24.11.5"
    assert slurm.register("n2", "n3", renew_addresses=["n2"])["renewed"] == []
    slurm.nodes["n3"]["State"] = "IDLE+NOT_RESPONDING"
    checked = slurm.register("n2", "n3", renew_addresses=["n2", "n9"], check_mode=True)
    assert (checked["renewed"], slurm.loads) == (["n2", "n3"], 1)
    result = slurm.register("n2", "n3", renew_addresses=["n2", "n9"])
    assert (result["changed"], result["action"], result["renewed"]) == (True, "none", ["n2", "n3"])
    assert slurm.loads == 2
    slurm.conf.write_text(slurm.conf.read_text() + "# edited\n")
    slurm.nodes["n3"]["State"] = "IDLE+NOT_RESPONDING"
    result = slurm.register("n2", "n3")
    assert (result["renewed"], slurm.loads) == ([], 2)
    assert "was edited" in result["warnings"][0]


def test_an_address_that_is_a_number_is_not_resolved_again(slurm: FakeSlurmctld) -> None:
    slurm.register("n2", params={"NodeAddr": "192.0.2.2"})
    slurm.nodes["n2"]["State"] = "UNKNOWN+NOT_RESPONDING"
    result = slurm.register("n2", params={"NodeAddr": "192.0.2.2"}, renew_addresses=["n2"])
    assert (result["changed"], result["renewed"]) == (False, [])


def test_files_that_are_right_but_not_loaded_are_applied(slurm: FakeSlurmctld) -> None:
    slurm.version = "24.11.5"
    slurm.register("n2")
    slurm.loaded = CONF
    del slurm.nodes["n2"]
    result = slurm.register("n2")
    assert (result["changed"], result["added"], result["nodes_after"]) == (True, [], ["n1", "n2"])


def test_check_mode_shows_the_change_and_makes_none(slurm: FakeSlurmctld) -> None:
    files = slurm.files()
    result = slurm.register("n2", check_mode=True)
    assert (result["changed"], result["action"], result["nodes_after"]) == (True, "restart", ["n1", "n2"])
    assert "NodeName=n2" in result["diff"][1]["after"]
    assert slurm.files() == files
    assert [path.name for path in (slurm.home / "etc").iterdir()] == ["slurm.conf"]
    assert slurm.loads == 0


def test_a_candidate_that_slurm_cannot_parse_changes_nothing(slurm: FakeSlurmctld) -> None:
    files = slurm.files()
    with pytest.raises(RefusedError, match=r"Nothing was changed.*unrecognized key: Unparsable"):
        slurm.register("n2", params={"Unparsable": "1"})
    assert slurm.files() == files
    assert slurm.loads == 0
    assert list(slurm.files()) == ["slurm.conf"]
    assert [path for path in (slurm.home / "etc").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("version", ["22.05.8", "24.11.5"])
@pytest.mark.parametrize("param", ["Deadly", "DiesLater"])
def test_a_controller_that_dies_of_the_change_is_brought_back(slurm: FakeSlurmctld, version: str, param: str) -> None:
    slurm.version = version
    files = slurm.files()
    with pytest.raises(ApplyError, match="The previous configuration is back and slurmctld answers") as caught:
        slurm.register("n2", params={param: "1"})
    assert caught.value.restored
    assert slurm.files() == files
    assert slurm.up
    assert slurm.loaded == CONF
    assert caught.value.failure.code is Code.CONFIGURATION_ROLLED_BACK
    # A daemon that dies later has its journal read when the previous configuration is in place again.
    reasons = {"22.05.8": "fatal: a deadly parameter", "24.11.5": "Unspecified error"}
    assert (reasons[version] if param == "Deadly" else "slurmctld") in str(caught.value)
    assert slurm.register("n2")["recovered"] == ""


@pytest.mark.parametrize("version", ["22.05.8", "24.11.5"])
@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("Low RealMemory (reported:1 < 100.00% of configured:2)", "IDLE"),
        ("gres/gpu count reported lower than configured (0 < 2)", "IDLE"),
        ("the disk is replaced", "IDLE+DRAIN"),
    ],
)
def test_a_node_that_slurm_drained_for_the_change_is_resumed_with_the_old_files(
    slurm: FakeSlurmctld, version: str, reason: str, state: str
) -> None:
    slurm.version, slurm.too_much = version, reason
    with pytest.raises(ApplyError, match="The previous configuration is back and slurmctld answers"):
        slurm.register("n2", params={"TooMuch": "1"})
    assert slurm.nodes["n1"]["State"] == state


def test_slurm_24_11_that_kept_its_old_process_is_not_disturbed(slurm: FakeSlurmctld) -> None:
    slurm.version = "24.11.5"
    with pytest.raises(ApplyError, match="Unspecified error"):
        slurm.register("n2", params={"Deadly": "1"})
    assert slurm.loads == 0
    assert slurm.pid == 100


def test_a_node_that_gets_worse_is_a_reason_to_go_back(slurm: FakeSlurmctld) -> None:
    real = slurmctld_control.Controller._compare

    def compare(self: slurmctld_control.Controller, before: object, expected: object) -> tuple:
        slurm.nodes["n1"]["State"] = "IDLE+INVALID_REG" if "n2" in slurm.nodes else "IDLE"
        return real(self, before, expected)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurmctld_control.Controller, "_compare", compare)
        with pytest.raises(ApplyError, match=r"nodes got worse: n1 is IDLE\+INVALID_REG"):
            slurm.register("n2")
    assert "NodeName=n2" not in slurm.loaded


@pytest.mark.parametrize("version", ["22.05.8", "24.11.5"])
def test_a_node_that_gets_gpus_waits_for_its_slurmd_where_that_reads_them_later(
    slurm: FakeSlurmctld, version: str
) -> None:
    """24.11 where it has files of its own, 22.05 always."""
    slurm.version, slurm.too_much = "24.11.5", "gres/gpu count reported lower than configured (0 < 2)"
    slurm.register("n2")
    gpus = {"Gres": "gpu:2", "TooMuch": "1"}
    # The fake says it of all nodes, and what was broken before can't get worse.
    slurm.nodes["n1"]["State"] = "DOWN"
    with pytest.raises(ApplyError, match="nodes got worse: n2 is"):
        slurm.register("n2", params=gpus)
    if version == "24.11.5":
        slurm.conf.write_text(slurm.conf.read_text().replace("SlurmctldParameters=enable_configless\n", ""))
        slurm._load(slurm._text())
    slurm.version = version
    slurm.nodes["n1"]["State"] = "DOWN"
    assert slurm.register("n2", params=gpus)["updated"] == ["n2"]
    slurm.nodes["n2"].update(State="IDLE", Reason="")
    with pytest.raises(ApplyError, match="nodes got worse: n2 is"):
        slurm.register("n3", params=gpus)


def test_a_node_that_is_only_late_is_told_and_kept(slurm: FakeSlurmctld) -> None:
    slurm.nodes["n1"]["State"] = "IDLE"
    real = slurmctld_control.Controller.apply

    def apply(self: slurmctld_control.Controller, *args: object) -> None:
        slurm.nodes["n1"]["State"] = "UNKNOWN*"
        real(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurmctld_control.Controller, "apply", apply)
        result = slurm.register("n2")
    assert result["changed"]
    assert "not registered again yet: n1" in result["warnings"][0]


def test_a_controller_that_does_not_answer_before_is_left_alone(slurm: FakeSlurmctld) -> None:
    slurm.up = False
    files = slurm.files()
    with pytest.raises(RefusedError, match=r"Nothing was changed.*slurmctld.service is failed"):
        slurm.register("n2")
    assert (slurm.files(), slurm.loads) == (files, 0)


def test_somebodys_edit_is_not_activated_by_a_restart(slurm: FakeSlurmctld) -> None:
    slurm.conf.write_text(CONF + "# later\n")
    with pytest.raises(RefusedError, match=r"edited after slurmctld read it.*then run again"):
        slurm.register("n2")
    assert slurm.loads == 0


def test_somebodys_edit_is_a_warning_where_slurm_can_go_back(slurm: FakeSlurmctld) -> None:
    slurm.version = "24.11.5"
    slurm.conf.write_text(CONF + "# later\n")
    assert "become active, too" in slurm.register("n2")["warnings"][0]


def test_a_node_that_slurmctld_would_lose_for_its_name_is_refused_before_anything_changes(slurm: FakeSlurmctld) -> None:
    slurm.register("n2")
    slurm.nodes["n2"]["NodeAddr"] = "gone.invalid"
    before = slurm.files()
    with pytest.raises(RefusedError, match=r"can't resolve the addresses of these nodes: n2\. slurmctld would drop"):
        slurm.register("n3")
    assert slurm.files() == before
    assert slurm.register("n2", state="absent")["removed"] == ["n2"]


def test_reconfigure_where_it_would_kill_is_refused(slurm: FakeSlurmctld) -> None:
    with pytest.raises(CannotApplyError, match=r"needs Slurm 23.11 or later, but slurmctld is 22.05.8"):
        slurm.register("n2", apply="reconfigure")


def test_the_last_node_can_be_removed_and_the_next_one_added(slurm: FakeSlurmctld) -> None:
    slurm.register("n2")
    result = slurm.register("n2", state="absent")
    assert (result["removed"], result["nodes_after"]) == (["n2"], ["n1"])
    assert slurm.register("n3")["nodes_after"] == ["n1", "n3"]


def test_a_node_with_jobs_is_not_removed(slurm: FakeSlurmctld) -> None:
    slurm.register("n2")
    slurm.job("7", "RUNNING", "n2")
    with pytest.raises(RefusedError, match=r"still run jobs: n2.*7 \(ann, RUNNING"):
        slurm.register("n2", state="absent")
    assert "n2" in slurm.loaded


PROGRAM = """
import sys
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import node_registration
node_registration.LOCK_FILE = {lock!r}
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_transaction import InterruptedBySignal
try:
    node_registration.run(node_registration.Options(*{options!r}), check_mode=False)
except InterruptedBySignal as stopped:
    sys.exit(str(stopped))
"""


def interrupt(slurm: FakeSlurmctld, number: int, seconds: float) -> subprocess.Popen[str]:
    """Start a run in a process of its own and send it a signal while slurmctld restarts, which takes some seconds."""
    slurm.slow = seconds
    program = PROGRAM.format(lock=str(slurm.home / "lock"), options=tuple(slurm.options("n2")))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PATH": f"{slurm.install()}:/usr/bin:/bin"}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], env=env, stderr=subprocess.PIPE, text=True
    )
    wait_until(slurm, lambda: slurm.called("systemctl", "restart"))
    process.send_signal(number)
    return process


def wait_until(slurm: FakeSlurmctld, condition: Callable[[], object]) -> None:
    """Wait until the programs of the fake did something."""
    for _ in range(1200):
        slurm.read()
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"the run did only this: {slurm.calls}")


def kill_while_slurmctld_restarts(slurm: FakeSlurmctld) -> None:
    """Kill a run; the restart that it has begun goes on without it and ends."""
    interrupt(slurm, signal.SIGKILL, 0.5).communicate(timeout=30)
    wait_until(slurm, lambda: "n2" in slurm.loaded)
    slurm.slow = 0


def test_a_stopped_run_puts_the_old_configuration_back(slurm: FakeSlurmctld) -> None:
    files = slurm.files()
    process = interrupt(slurm, signal.SIGTERM, 1)
    assert "stopped by SIGTERM" in process.communicate(timeout=30)[1]
    slurm.read()
    assert process.returncode == 1
    assert slurm.files() == files
    assert slurm.loaded == CONF


def test_a_killed_run_whose_change_works_is_accepted_by_the_next(slurm: FakeSlurmctld) -> None:
    kill_while_slurmctld_restarts(slurm)
    result = slurm.register("n3")
    assert "which stays" in result["recovered"]
    assert result["nodes_after"] == ["n1", "n2", "n3"]


def test_a_killed_run_whose_change_broke_slurmctld_is_undone_by_the_next(slurm: FakeSlurmctld) -> None:
    kill_while_slurmctld_restarts(slurm)
    slurm.up = False
    result = slurm.register("n3")
    assert "the previous one is back" in result["recovered"]
    assert result["nodes_after"] == ["n1", "n3"]
    assert "n2" not in "".join(slurm.files().values())


@pytest.mark.parametrize(
    "params",
    [{"CPUs": "2", "NodeHostname": "ctl"}, {"CPUs": "2", "NodeAddr": "192.0.2.7"}],
)
def test_the_controller_itself_becomes_a_node_only_when_that_is_stated(
    slurm: FakeSlurmctld, params: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"hostname": "ctl.example.org", "fqdn": "ctl.example.org", "ips": ["192.0.2.7"]}
    monkeypatch.setattr(node_registration, "local_addresses", lambda: own)
    before = slurm.files()
    with pytest.raises(RefusedError, match=r"node n2 would be this host, ctl\.example\.org") as caught:
        slurm.register("n2", params=params)
    assert caught.value.failure.code is Code.NODE_IS_CONTROLLER
    assert slurm.files() == before
    assert slurm.register("n2", params=params, allow_controller=True)["added"] == ["n2"]
    assert slurm.register("n2", params={**params, "Weight": "3"})["updated"] == ["n2"]


def test_a_controller_that_shares_slurm_conf_waits_for_the_other(slurm: FakeSlurmctld) -> None:
    """Its own lock is another one, as /run belongs to each host."""
    with (
        lock(str(slurm.home / "etc" / SHARED_LOCK), "on another controller", 1),
        pytest.raises(BusyError, match=r"on another controller.*Wait for it and run again") as caught,
    ):
        slurm.register("n2", lock_timeout=0)
    assert caught.value.failure.code is Code.CONTROLLER_BUSY
    assert slurm.register("n2")["added"] == ["n2"]


def test_a_file_system_without_locks_is_told_and_not_refused(
    slurm: FakeSlurmctld, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def flock(handle: int, operation: int) -> None:
        if SHARED_LOCK in str(pathlib.Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOLCK, "No locks available")
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "has no locks" in slurm.register("n2")["warnings"][0]


def test_a_result_of_a_foreign_node_that_differs_is_a_warning(slurm: FakeSlurmctld) -> None:
    result = slurm.register("n1", params={"CPUs": "8"})
    assert result["kept"]["n1"].endswith("with CPUs=2 (wanted 8): change it there when that is wrong")
    assert result["warnings"] == ["node n1 stays as it is: " + result["kept"]["n1"]]
    assert slurm.register("n1")["warnings"] == []


def test_nodes_that_are_refused_are_left_out_and_the_others_registered(slurm: FakeSlurmctld) -> None:
    nodes = [
        {"name": "n2"},
        {"name": "n3", "params": {"Gres": 'gpu:"a100:1'}},
        {"name": "n4"},
        {"name": "n4"},
        {"name": "n5", "params": {"Unparsable": "1"}},
        {"name": "n7", "params": {"NodeHostname": "n6"}},
        {"name": "n6"},
    ]
    with pytest.raises(RefusedError):
        slurm.register(nodes=nodes)
    result = slurm.register(nodes=nodes, skip_refused=True)
    assert result["added"] == ["n2", "n6"]
    assert {name: failure["code"] for name, failure in result["refused"].items()} == {
        "n3": "node-request-invalid",
        "n4": "node-request-invalid",
        "n5": "configuration-refused",
        "n7": "node-address-shared",
    }
    assert slurm.register(nodes=nodes, skip_refused=True)["action"] == "none"


def test_what_is_no_fault_of_a_node_refuses_all(slurm: FakeSlurmctld) -> None:
    slurm.up = False
    with pytest.raises(RefusedError, match="slurmctld has to answer"):
        slurm.register("n2", "n3", skip_refused=True)


def test_a_run_in_which_every_node_is_refused_changes_nothing(slurm: FakeSlurmctld) -> None:
    before = slurm.files()
    result = slurm.register(nodes=[{"name": "n2", "params": {"Unparsable": "1"}}], skip_refused=True)
    assert (result["action"], list(result["refused"])) == ("none", ["n2"])
    assert slurm.files() == before


@pytest.mark.parametrize(
    ("uid", "flags", "told"),
    [
        (0, os.ST_RDONLY, ("configuration-not-written", "Read-only file system", "findmnt --target")),
        (0, 0, ("configuration-not-written", "Operation not permitted", "lsattr -d")),
        (1000, os.ST_RDONLY, ("configuration-not-written", "Read-only file system", "findmnt --target")),
        (1000, 0, ("privileges-missing", "can't be written", "Run as root")),
    ],
)
def test_what_can_not_be_written_is_told_apart(
    slurm: FakeSlurmctld, monkeypatch: pytest.MonkeyPatch, uid: int, flags: int, told: tuple[str, str, str]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=flags))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(RefusedError) as refused:
        slurm.register("n2")
    code, reason, remedy = told
    assert refused.value.failure.code == code
    assert reason in refused.value.failure.reason
    assert remedy in refused.value.failure.remedy
