"""Whole runs against a fake slurmctld: what is done, verified, rolled back and recovered."""

import contextlib
import errno
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import (
    config_transaction,
    register_nodes,
    slurmctld_control,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_files import SHARED_LOCK, BusyError, lock
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_transaction import ApplyError
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.planner import RefusedError
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import CannotApplyError
from ansible_collections.ai_infra.slurm.plugins.module_utils.reasons import Code
from fakes.slurmctld import FakeController

CONF = FakeController.CONF


@pytest.fixture
def fake(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> FakeController:
    made = FakeController(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(register_nodes, "LOCK_FILE", str(tmp_path / "lock"))
    monkeypatch.setattr(slurmctld_control, "_SECOND_CHECK", 0.4)
    monkeypatch.setattr(slurmctld_control, "_REGISTRATION", 0.5)
    monkeypatch.setattr(config_transaction, "_STARTING", 0.1)
    return made


def test_an_old_controller_is_restarted_once_and_then_tells_its_nodes(fake: FakeController) -> None:
    result = fake.run("n2", "n3")
    assert (result["changed"], result["action"], result["added"]) == (True, "restart", ["n2", "n3"])
    assert (result["nodes_before"], result["nodes_after"]) == (["n1"], ["n1", "n2", "n3"])
    assert fake.calls("systemctl restart") == 1
    assert fake.calls("scontrol reconfigure") == 1


def test_a_new_controller_is_reconfigured_and_not_restarted(fake: FakeController) -> None:
    fake.set(version="24.11.5")
    assert fake.run("n2")["action"] == "reconfigure"
    assert fake.calls("systemctl restart") == 0
    assert fake.calls("scontrol reconfigure") == 1


def test_a_second_run_touches_nothing(fake: FakeController) -> None:
    fake.run("n2")
    files, loads = fake.files(), fake.state["loads"]
    result = fake.run("n2")
    assert (result["changed"], result["action"], result["diff"]) == (False, "none", [])
    assert (fake.files(), fake.state["loads"]) == (files, loads)


def test_files_that_are_right_but_not_loaded_are_applied(fake: FakeController) -> None:
    fake.set(version="24.11.5")
    fake.run("n2")
    fake.set(loaded=CONF)
    result = fake.run("n2")
    assert (result["changed"], result["added"], result["nodes_after"]) == (True, [], ["n1", "n2"])


def test_check_mode_shows_the_change_and_makes_none(fake: FakeController) -> None:
    files = fake.files()
    result = fake.run("n2", check_mode=True)
    assert (result["changed"], result["action"], result["nodes_after"]) == (True, "restart", ["n1", "n2"])
    assert "NodeName=n2" in result["diff"][1]["after"]
    assert fake.files() == files
    assert [path.name for path in (fake.home / "etc").iterdir()] == ["slurm.conf"]
    assert fake.state["loads"] == 0


def test_a_candidate_that_slurm_cannot_parse_changes_nothing(fake: FakeController) -> None:
    files = fake.files()
    with pytest.raises(RefusedError, match=r"Nothing was changed.*unrecognized key: Unparsable"):
        fake.run("n2", params={"Unparsable": "1"})
    assert fake.files() == files
    assert fake.state["loads"] == 0
    assert list(fake.files()) == ["slurm.conf"]
    assert [path for path in (fake.home / "etc").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("version", ["22.05.8", "24.11.5"])
@pytest.mark.parametrize("param", ["Deadly", "DiesLater"])
def test_a_controller_that_dies_of_the_change_is_brought_back(fake: FakeController, version: str, param: str) -> None:
    fake.set(version=version)
    files = fake.files()
    with pytest.raises(ApplyError, match="The previous configuration is back and slurmctld answers") as caught:
        fake.run("n2", params={param: "1"})
    assert caught.value.restored
    assert fake.files() == files
    assert fake.state["up"]
    assert fake.state["loaded"] == CONF
    assert caught.value.failure.code is Code.CONFIGURATION_ROLLED_BACK
    # A daemon that dies later has its journal read when the previous configuration is in place again.
    reasons = {"22.05.8": "fatal: a deadly parameter", "24.11.5": "Unspecified error"}
    assert (reasons[version] if param == "Deadly" else "slurmctld") in str(caught.value)
    assert fake.run("n2")["recovered"] == ""


def test_slurm_24_11_that_kept_its_old_process_is_not_disturbed(fake: FakeController) -> None:
    fake.set(version="24.11.5")
    with pytest.raises(ApplyError, match="Unspecified error"):
        fake.run("n2", params={"Deadly": "1"})
    assert fake.state["loads"] == 0
    assert fake.state["pid"] == 100


def test_a_node_that_gets_worse_is_a_reason_to_go_back(fake: FakeController) -> None:
    real = slurmctld_control.Controller._compare
    seen = []

    def compare(self: slurmctld_control.Controller, before: object, expected: object) -> tuple:
        if not seen:
            fake.set(states={"n1": "IDLE+INVALID_REG"})
        seen.append(1)
        problem, silent = real(self, before, expected)
        if problem:
            fake.set(states={})
        return problem, silent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurmctld_control.Controller, "_compare", compare)
        patch.setattr(slurmctld_control, "_REGISTRATION", 0.0)
        with pytest.raises(ApplyError, match=r"nodes got worse: n1 is IDLE\+INVALID_REG"):
            fake.run("n2")
    assert "NodeName=n2" not in fake.state["loaded"]


def test_a_node_that_is_only_late_is_told_and_kept(fake: FakeController) -> None:
    fake.set(states={"n1": "IDLE"})
    real = slurmctld_control.Controller.apply

    def apply(self: slurmctld_control.Controller, *args: object) -> None:
        fake.set(states={"n1": "UNKNOWN*"})
        real(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurmctld_control.Controller, "apply", apply)
        result = fake.run("n2")
    assert result["changed"]
    assert "not registered again yet: n1" in result["warnings"][0]


def test_a_controller_that_does_not_answer_before_is_left_alone(fake: FakeController) -> None:
    fake.set(up=False)
    files = fake.files()
    with pytest.raises(RefusedError, match=r"Nothing was changed.*slurmctld.service is failed"):
        fake.run("n2")
    assert (fake.files(), fake.state["loads"]) == (files, 0)


def test_somebodys_edit_is_not_activated_by_a_restart(fake: FakeController) -> None:
    fake.conf.write_text(CONF + "# later\n")
    with pytest.raises(RefusedError, match=r"edited after slurmctld read it.*then run again"):
        fake.run("n2")
    assert fake.state["loads"] == 0


def test_somebodys_edit_is_a_warning_where_slurm_can_go_back(fake: FakeController) -> None:
    fake.set(version="24.11.5")
    fake.conf.write_text(CONF + "# later\n")
    assert "become active, too" in fake.run("n2")["warnings"][0]


def test_a_node_that_slurmctld_would_lose_for_its_name_is_refused_before_anything_changes(fake: FakeController) -> None:
    fake.run("n2")
    fake.set(addresses={"n2": "gone.invalid"})
    before = fake.files()
    with pytest.raises(RefusedError, match=r"can't resolve the addresses of these nodes: n2\. slurmctld would drop"):
        fake.run("n3")
    assert fake.files() == before
    assert fake.run("n2", state="absent")["removed"] == ["n2"]


def test_reconfigure_where_it_would_kill_is_refused(fake: FakeController) -> None:
    with pytest.raises(CannotApplyError, match=r"needs Slurm 23.11 or later, but slurmctld is 22.05.8"):
        fake.run("n2", apply="reconfigure")


def test_the_last_node_can_be_removed_and_the_next_one_added(fake: FakeController) -> None:
    fake.run("n2")
    result = fake.run("n2", state="absent")
    assert (result["removed"], result["nodes_after"]) == (["n2"], ["n1"])
    assert fake.run("n3")["nodes_after"] == ["n1", "n3"]


def test_a_node_with_jobs_is_not_removed(fake: FakeController) -> None:
    fake.run("n2")
    fake.set(jobs="7 (ann, RUNNING, on n2)")
    with pytest.raises(RefusedError, match=r"still run jobs: n2.*7 \(ann, RUNNING"):
        fake.run("n2", state="absent")
    assert "n2" in fake.state["loaded"]


PROGRAM = """
import sys
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import register_nodes
register_nodes.LOCK_FILE = {lock!r}
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_transaction import InterruptedBySignal
try:
    register_nodes.run(register_nodes.Options(*{options!r}), check_mode=False)
except InterruptedBySignal as stopped:
    sys.exit(str(stopped))
"""


def interrupt(fake: FakeController, number: int) -> "subprocess.Popen[str]":
    """Start a run in a process of its own and send it a signal while slurmctld restarts."""
    program = PROGRAM.format(lock=str(fake.home / "lock"), options=tuple(fake.options("n2")))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], env=env, stderr=subprocess.PIPE, text=True
    )
    for _ in range(200):
        if fake.calls("systemctl restart"):
            break
        time.sleep(0.05)
    process.send_signal(number)
    return process


def kill_while_slurmctld_restarts(fake: FakeController) -> None:
    """Kill a run; the restart that it has begun goes on without it and ends."""
    fake.set(slow=0.5)
    interrupt(fake, signal.SIGKILL).communicate(timeout=30)
    for _ in range(600):
        # read while it is written, the state is no JSON
        with contextlib.suppress(ValueError):
            if "n2" in fake.state["loaded"]:
                break
        time.sleep(0.05)


def test_a_stopped_run_puts_the_old_configuration_back(fake: FakeController) -> None:
    fake.set(slow=1)
    files = fake.files()
    process = interrupt(fake, signal.SIGTERM)
    assert "stopped by SIGTERM" in process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert fake.files() == files
    assert fake.state["loaded"] == CONF


def test_a_killed_run_whose_change_works_is_accepted_by_the_next(fake: FakeController) -> None:
    kill_while_slurmctld_restarts(fake)
    fake.set(slow=0)
    result = fake.run("n3")
    assert "which stays" in result["recovered"]
    assert result["nodes_after"] == ["n1", "n2", "n3"]


def test_a_killed_run_whose_change_broke_slurmctld_is_undone_by_the_next(fake: FakeController) -> None:
    kill_while_slurmctld_restarts(fake)
    fake.set(slow=0, up=False)
    result = fake.run("n3")
    assert "the previous one is back" in result["recovered"]
    assert result["nodes_after"] == ["n1", "n3"]
    assert "n2" not in "".join(fake.files().values())


@pytest.mark.parametrize(
    "params",
    [{"CPUs": "2", "NodeHostname": "ctl"}, {"CPUs": "2", "NodeAddr": "192.0.2.7"}],
)
def test_the_controller_itself_becomes_a_node_only_when_that_is_stated(
    fake: FakeController, params: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"hostname": "ctl.example.org", "fqdn": "ctl.example.org", "ips": ["192.0.2.7"]}
    monkeypatch.setattr(register_nodes, "local_addresses", lambda: own)
    before = fake.files()
    with pytest.raises(RefusedError, match=r"node n2 would be this host, ctl\.example\.org") as caught:
        fake.run("n2", params=params)
    assert caught.value.failure.code is Code.NODE_IS_CONTROLLER
    assert fake.files() == before
    assert fake.run("n2", params=params, allow_controller=True)["added"] == ["n2"]
    assert fake.run("n2", params={**params, "Weight": "3"})["updated"] == ["n2"]


def test_a_controller_that_shares_slurm_conf_waits_for_the_other(fake: FakeController) -> None:
    """Its own lock is another one, as /run belongs to each host."""
    with (
        lock(str(fake.home / "etc" / SHARED_LOCK), 1, "on another controller"),
        pytest.raises(BusyError, match=r"on another controller.*Wait for it and run again") as caught,
    ):
        fake.run("n2", lock_timeout=0)
    assert caught.value.failure.code is Code.CONTROLLER_BUSY
    assert fake.run("n2")["added"] == ["n2"]


def test_a_file_system_without_locks_is_told_and_not_refused(
    fake: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def flock(handle: int, operation: int) -> None:
        if SHARED_LOCK in str(pathlib.Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOLCK, "No locks available")
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "has no locks" in fake.run("n2")["warnings"][0]


def test_a_result_of_a_foreign_node_that_differs_is_a_warning(fake: FakeController) -> None:
    result = fake.run("n1", params={"CPUs": "8"})
    assert result["kept"]["n1"].endswith("with CPUs=2 (wanted 8): change it there when that is wrong")
    assert result["warnings"] == ["node n1 stays as it is: " + result["kept"]["n1"]]
    assert fake.run("n1")["warnings"] == []


def test_nodes_that_are_refused_are_left_out_and_the_others_registered(fake: FakeController) -> None:
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
        fake.run(nodes=nodes)
    result = fake.run(nodes=nodes, skip_refused=True)
    assert result["added"] == ["n2", "n6"]
    assert {name: failure["code"] for name, failure in result["refused"].items()} == {
        "n3": "node-request-invalid",
        "n4": "node-request-invalid",
        "n5": "configuration-refused",
        "n7": "node-address-shared",
    }
    assert fake.run(nodes=nodes, skip_refused=True)["action"] == "none"


def test_what_is_no_fault_of_a_node_refuses_all(fake: FakeController) -> None:
    fake.set(up=False)
    with pytest.raises(RefusedError, match="slurmctld has to answer"):
        fake.run("n2", "n3", skip_refused=True)


def test_a_run_in_which_every_node_is_refused_changes_nothing(fake: FakeController) -> None:
    before = fake.files()
    result = fake.run(nodes=[{"name": "n2", "params": {"Unparsable": "1"}}], skip_refused=True)
    assert (result["action"], list(result["refused"])) == ("none", ["n2"])
    assert fake.files() == before
