"""Whole runs against a fake slurmctld: what is done, proven, undone and mended.

The fake is a set of programs, scontrol and systemctl among them, that keep what slurmctld has loaded in files. So the
module's own path from the lock to the proof is what runs here.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import config_transaction as slurm_change
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import register_nodes as slurm_scaling
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import slurmctld_control as slurm_apply
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_transaction import ApplyError
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.planner import RefusedError
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.register_nodes import Options, run
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import CannotApplyError

CONF = "ClusterName=t\nSlurmctldParameters=enable_configless\nNodeName=n1 CPUs=2\nPartitionName=main Nodes=ALL\n"
FAKE = """#!{python}
import json, os, pathlib, re, sys, time
home = pathlib.Path("{home}")
state = json.loads((home / "state").read_text())
conf = pathlib.Path(os.environ.get("SLURM_CONF", home / "etc/slurm.conf"))
args = sys.argv[1:]
name = os.path.basename(sys.argv[0])

def text():
    main = conf.read_text()
    own = conf.parent / "slurmscale-nodes.conf"
    return main + (own.read_text() if "Include slurmscale" in main and own.exists() else "")

def names(source):
    return [n for n in re.findall(r"^NodeName=(\\\\S+)", source, re.M) if "placeholder" not in n]

def load():
    state["loads"] += 1
    state["up"] = "Deadly" not in text()
    state["loaded"] = text() if state["up"] else ""
    state["dies"] = time.time() + 0.3 if "DiesLater" in text() else 0
    state["states"] = {{n: s for n, s in state["states"].items() if n in names(text())}}

def save():
    (home / "state").write_text(json.dumps(state))

if state["dies"] and time.time() > state["dies"]:
    state.update(up=False, dies=0)
    save()
with (home / "calls").open("a") as calls:
    calls.write(" ".join([name] + args) + "\\\\n")
if name == "systemctl":
    if args[0] == "show":
        active = "active" if state["up"] else "failed"
        print("LoadState=loaded\\\\nActiveState=" + active + "\\\\nSubState=x\\\\nMainPID=" + str(state["pid"]))
    elif args[0] == "restart":
        time.sleep(state["slow"])
        state["pid"] += 1
        load()
        save()
elif name == "journalctl":
    print("slurmctld: fatal: a deadly parameter" if "Deadly" in text() else "slurmctld: fine")
elif name == "squeue":
    print(state["jobs"])
elif name == "scontrol":
    if "Unparsable" in text():
        sys.exit("scontrol: error: Parsing error at unrecognized key: Unparsable")
    if args[:2] == ["show", "hostlistsorted"]:
        print(args[2])
    elif args[:2] == ["show", "hostnames"]:
        print(args[2])
    elif args == ["ping"]:
        print("Slurmctld(primary) at ctl is " + ("UP" if state["up"] else "DOWN"))
    elif not state["up"]:
        sys.exit("slurm_load error: Unable to contact slurm controller (connect failure)")
    elif args == ["reconfigure"]:
        if "Deadly" in text():
            sys.exit("slurm_reconfigure error: Unspecified error")
        load()
        save()
    elif "config" in args:
        print("SLURM_VERSION = " + state["version"] + "\\\\nSlurmctldParameters = enable_configless")
        print("HASH_VAL = " + ("Match" if state["loaded"] == text() else "Different Ours=0x1 Slurmctld=0x2"))
    else:
        for n in names(state["loaded"]):
            address = state["addresses"].get(n, "127.0.0.1")
            print("NodeName=" + n + " NodeAddr=" + address + " CPUAlloc=0 State=" + state["states"].get(n, "IDLE"))
"""


class Fake:
    """A controller of files."""

    def __init__(self, home: pathlib.Path) -> None:
        self.home = home
        (home / "etc").mkdir()
        (home / "bin").mkdir()
        self.conf = home / "etc" / "slurm.conf"
        self.conf.write_text(CONF)
        self.set(
            version="22.05.8", loaded=CONF, up=True, pid=100, loads=0, dies=0, states={}, jobs="", slow=0, addresses={}
        )
        program = FAKE.format(python=sys.executable, home=home).replace("\\\\", "\\")
        for name in ("scontrol", "systemctl", "journalctl", "squeue"):
            (home / "bin" / name).write_text(program)
            (home / "bin" / name).chmod(0o755)

    @property
    def state(self) -> dict:
        return json.loads((self.home / "state").read_text())

    def set(self, **values: object) -> None:
        old = self.state if (self.home / "state").exists() else {}
        (self.home / "state").write_text(json.dumps({**old, **values}))

    def calls(self, word: str) -> int:
        path = self.home / "calls"
        return sum(word in line for line in path.read_text().splitlines()) if path.exists() else 0

    def files(self) -> dict:
        return {path.name: path.read_text() for path in (self.home / "etc").iterdir() if path.is_file()}

    def options(self, *names: str, **other: object) -> Options:
        params = other.pop("params", {"CPUs": "2"})
        nodes = [{"name": name, "params": params, "gres_lines": None} for name in names]
        given = {"conf": str(self.conf), "nodes": nodes, "state": "present", "partitions": [], "apply": "auto"}
        return Options(**{**given, "service": "slurmctld", "timeout": 5, "lock_timeout": 5, **other})

    def run(self, *names: str, check_mode: bool = False, **other: object) -> dict:
        return run(self.options(*names, **other), check_mode=check_mode)


@pytest.fixture
def fake(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(slurm_scaling, "LOCK_FILE", str(tmp_path / "lock"))
    monkeypatch.setattr(slurm_apply, "_HOLD", 0.4)
    monkeypatch.setattr(slurm_apply, "_REGISTER", 0.5)
    monkeypatch.setattr(slurm_change, "_STARTING", 0.1)
    return made


def test_an_old_controller_is_restarted_once_and_then_tells_its_nodes(fake: Fake) -> None:
    result = fake.run("n2", "n3")
    assert (result["changed"], result["action"], result["added"]) == (True, "restart", ["n2", "n3"])
    assert (result["nodes_before"], result["nodes_after"]) == (["n1"], ["n1", "n2", "n3"])
    assert fake.calls("systemctl restart") == 1
    assert fake.calls("scontrol reconfigure") == 1


def test_a_new_controller_is_reconfigured_and_not_restarted(fake: Fake) -> None:
    fake.set(version="24.11.5")
    assert fake.run("n2")["action"] == "reconfigure"
    assert fake.calls("systemctl restart") == 0
    assert fake.calls("scontrol reconfigure") == 1


def test_a_second_run_touches_nothing(fake: Fake) -> None:
    fake.run("n2")
    files, loads = fake.files(), fake.state["loads"]
    result = fake.run("n2")
    assert (result["changed"], result["action"], result["diff"]) == (False, "none", [])
    assert (fake.files(), fake.state["loads"]) == (files, loads)


def test_files_that_are_right_but_not_loaded_are_applied(fake: Fake) -> None:
    fake.set(version="24.11.5")
    fake.run("n2")
    fake.set(loaded=CONF)
    result = fake.run("n2")
    assert (result["changed"], result["added"], result["nodes_after"]) == (True, [], ["n1", "n2"])


def test_check_mode_shows_the_change_and_makes_none(fake: Fake) -> None:
    files = fake.files()
    result = fake.run("n2", check_mode=True)
    assert (result["changed"], result["action"], result["nodes_after"]) == (True, "restart", ["n1", "n2"])
    assert "NodeName=n2" in result["diff"][1]["after"]
    assert fake.files() == files
    assert [path.name for path in (fake.home / "etc").iterdir()] == ["slurm.conf"]
    assert fake.state["loads"] == 0


def test_a_candidate_that_slurm_cannot_parse_changes_nothing(fake: Fake) -> None:
    files = fake.files()
    with pytest.raises(RefusedError, match=r"Nothing was changed.*unrecognized key: Unparsable"):
        fake.run("n2", params={"Unparsable": "1"})
    assert fake.files() == files
    assert fake.state["loads"] == 0
    assert [path.name for path in (fake.home / "etc").iterdir()] == ["slurm.conf"]


@pytest.mark.parametrize("version", ["22.05.8", "24.11.5"])
@pytest.mark.parametrize("param", ["Deadly", "DiesLater"])
def test_a_controller_that_dies_of_the_change_is_brought_back(fake: Fake, version: str, param: str) -> None:
    fake.set(version=version)
    files = fake.files()
    with pytest.raises(ApplyError, match="The configuration of before is back and slurmctld answers") as caught:
        fake.run("n2", params={param: "1"})
    assert caught.value.restored
    assert fake.files() == files
    assert fake.state["up"]
    assert fake.state["loaded"] == CONF
    if param == "Deadly":
        assert "fatal: a deadly parameter" in str(caught.value) or "Unspecified error" in str(caught.value)
    assert fake.run("n2")["mended"] == ""


def test_slurm_24_11_that_kept_its_old_process_is_not_disturbed(fake: Fake) -> None:
    fake.set(version="24.11.5")
    with pytest.raises(ApplyError, match="Unspecified error"):
        fake.run("n2", params={"Deadly": "1"})
    assert fake.state["loads"] == 0
    assert fake.state["pid"] == 100


def test_a_node_that_gets_worse_is_a_reason_to_go_back(fake: Fake) -> None:
    real = slurm_apply.Controller._compare
    seen = []

    def compare(self: slurm_apply.Controller, before: object, expected: object) -> tuple:
        if not seen:
            fake.set(states={"n1": "IDLE+INVALID_REG"})
        seen.append(1)
        problem, silent = real(self, before, expected)
        if problem:
            fake.set(states={})
        return problem, silent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm_apply.Controller, "_compare", compare)
        patch.setattr(slurm_apply, "_REGISTER", 0.0)
        with pytest.raises(ApplyError, match=r"nodes got worse: n1 is IDLE\+INVALID_REG"):
            fake.run("n2")
    assert "NodeName=n2" not in fake.state["loaded"]


def test_a_node_that_is_only_late_is_told_and_kept(fake: Fake) -> None:
    fake.set(states={"n1": "IDLE"})
    real = slurm_apply.Controller.apply

    def apply(self: slurm_apply.Controller, *args: object) -> None:
        fake.set(states={"n1": "UNKNOWN*"})
        real(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm_apply.Controller, "apply", apply)
        result = fake.run("n2")
    assert result["changed"]
    assert "not registered again yet: n1" in result["warnings"][0]


def test_a_controller_that_does_not_answer_before_is_left_alone(fake: Fake) -> None:
    fake.set(up=False)
    files = fake.files()
    with pytest.raises(RefusedError, match=r"Nothing was changed.*slurmctld.service is failed"):
        fake.run("n2")
    assert (fake.files(), fake.state["loads"]) == (files, 0)


def test_somebodys_edit_is_not_activated_by_a_restart(fake: Fake) -> None:
    fake.conf.write_text(CONF + "# later\n")
    with pytest.raises(RefusedError, match=r"edited after slurmctld read it.*then run again"):
        fake.run("n2")
    assert fake.state["loads"] == 0


def test_somebodys_edit_is_a_warning_where_slurm_can_go_back(fake: Fake) -> None:
    fake.set(version="24.11.5")
    fake.conf.write_text(CONF + "# later\n")
    assert "become active, too" in fake.run("n2")["warnings"][0]


def test_a_node_that_slurmctld_would_lose_for_its_name_is_refused_before_anything_changes(fake: Fake) -> None:
    fake.run("n2")
    fake.set(addresses={"n2": "gone.invalid"})
    before = fake.files()
    with pytest.raises(RefusedError, match=r"can't resolve the addresses of these nodes: n2\. slurmctld would drop"):
        fake.run("n3")
    assert fake.files() == before
    assert fake.run("n2", state="absent")["removed"] == ["n2"]


def test_reconfigure_where_it_would_kill_is_refused(fake: Fake) -> None:
    with pytest.raises(CannotApplyError, match=r"needs Slurm 23.11 or later, but slurmctld is 22.05.8"):
        fake.run("n2", apply="reconfigure")


def test_the_last_node_can_be_removed_and_the_next_one_added(fake: Fake) -> None:
    fake.run("n2")
    result = fake.run("n2", state="absent")
    assert (result["removed"], result["nodes_after"]) == (["n2"], ["n1"])
    assert fake.run("n3")["nodes_after"] == ["n1", "n3"]


def test_a_node_with_jobs_is_not_removed(fake: Fake) -> None:
    fake.run("n2")
    fake.set(jobs="7 (ann, RUNNING, on n2)")
    with pytest.raises(RefusedError, match=r"still run jobs: n2.*7 \(ann, RUNNING"):
        fake.run("n2", state="absent")
    assert "n2" in fake.state["loaded"]


PROGRAM = """
import sys
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import register_nodes as slurm_scaling
slurm_scaling.LOCK_FILE = {lock!r}
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_transaction import InterruptedBySignal
try:
    slurm_scaling.run(slurm_scaling.Options(*{options!r}), check_mode=False)
except InterruptedBySignal as stopped:
    sys.exit(str(stopped))
"""


def interrupt(fake: Fake, number: int) -> "subprocess.Popen[str]":
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


def kill_while_slurmctld_restarts(fake: Fake) -> None:
    """Kill a run; the restart that it has begun goes on without it and ends."""
    fake.set(slow=0.5)
    interrupt(fake, signal.SIGKILL).communicate(timeout=30)
    for _ in range(600):
        # read while it is written, the state is no JSON
        with contextlib.suppress(ValueError):
            if "n2" in fake.state["loaded"]:
                break
        time.sleep(0.05)


def test_a_stopped_run_puts_the_old_configuration_back(fake: Fake) -> None:
    fake.set(slow=1)
    files = fake.files()
    process = interrupt(fake, signal.SIGTERM)
    assert "stopped by SIGTERM" in process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert fake.files() == files
    assert fake.state["loaded"] == CONF


def test_a_killed_run_whose_change_works_is_accepted_by_the_next(fake: Fake) -> None:
    kill_while_slurmctld_restarts(fake)
    fake.set(slow=0)
    result = fake.run("n3")
    assert "which stays" in result["mended"]
    assert result["nodes_after"] == ["n1", "n2", "n3"]


def test_a_killed_run_whose_change_broke_slurmctld_is_undone_by_the_next(fake: Fake) -> None:
    kill_while_slurmctld_restarts(fake)
    fake.set(slow=0, up=False)
    result = fake.run("n3")
    assert "that of before is back" in result["mended"]
    assert result["nodes_after"] == ["n1", "n3"]
    assert "n2" not in "".join(fake.files().values())
