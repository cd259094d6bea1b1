"""The command: what it prints, what it asks, and its exit codes. The playbook is a replay of the recorded run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from rich.console import Console
from slurmscale.cli import app, follow, main, option_values, output
from slurmscale.cli import commands_from_operations as work
from slurmscale.cli.live_display import RunDisplay
from slurmscale.errors import RefusedError, ResultNotRecordedError
from slurmscale.inventory.extra_vars import unsafe
from slurmscale.models import Counts, Failure, NodeSpec, Notice, TaskChange
from slurmscale.operations import DEFINITIONS, Operation
from slurmscale.runner.fake import FakeJob
from slurmscale.runs import apphub_check as apphub
from slurmscale.scaling import Scaling
from slurmscale.states import RunStatus, TaskStatus
from typer.testing import CliRunner

DATA = Path(__file__).resolve().parents[2] / "events" / "data"
EVENTS = json.loads((DATA / "events.json").read_text())
PLAN = [json.loads(line) for line in (DATA / "plan.jsonl").read_text().splitlines()]
GOOD = [
    {"event": "playbook_on_play_start", "event_data": {"play_uuid": "p"}},
    *({"event": "runner_on_ok", "stdout": f"ok: [{h}]", "event_data": {"host": h, "task": "t", "task_uuid": "t"}}
      for h in "ab"),
    {"event": "playbook_on_stats", "event_data": {"ok": {"a": 1, "b": 1}}},
]  # fmt: skip


class Commands:
    def __init__(self, monkeypatch, tmp_path):
        self.events, self.plan, self.speed = GOOD, [], None
        self.inventory = tmp_path / "hosts.yml"
        self.inventory.write_text(
            "slurm_controllers: {hosts: {ctl: }}\nslurm_nodes: {hosts: {a: , b: , c: , dead: }}\n"
        )
        monkeypatch.setenv("SLURMSCALE_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setattr(work, "Scaling", lambda: Scaling(make_job=self.job))
        monkeypatch.setattr(apphub, "AnsibleJob", self.job)
        # a second process would be a second run of the tests
        monkeypatch.setattr(work.background, "run", lambda begun, **_: begun(lambda: None))
        self.launches = []

    def job(self, launch):
        self.launches.append(launch)
        return FakeJob(self.events, self.plan, speed=self.speed)

    def __call__(self, *arguments, **more):
        return CliRunner().invoke(app, list(arguments), **more)

    def up(self, nodes="a,b", *arguments, **more):
        return self("up", nodes, "-i", str(self.inventory), *arguments, **more)


@pytest.fixture
def command(monkeypatch, tmp_path):
    return Commands(monkeypatch, tmp_path)


def test_all_nodes_done_is_0(command):
    done = command.up()
    assert done.exit_code == 0, done.output
    assert "a completed" in done.output
    assert "2 of 2 nodes done" in done.output


def test_a_result_that_nothing_took_is_3(command, monkeypatch):
    def lost(*_, **__):
        raise ResultNotRecordedError("Run r1 has ended, and its result is not known.", "Run it again.")

    monkeypatch.setattr(work, "follow", lost)
    done = command.up("a,b", "--json")
    assert done.exit_code == 3
    assert "its result is not known" in done.stderr


def test_a_failed_node_is_1_and_its_reason_and_the_next_steps_are_shown(command):
    command.events, command.plan = EVENTS, PLAN
    done = command.up("a,b,c,dead")
    assert done.exit_code == 1
    for part in ("Connection refused", "hard fail a", "other nodes failed", "slurmscale log a", "slurmscale retry"):
        assert part in done.output


def test_the_end_of_a_dry_run_says_that_it_was_one_and_where_the_changes_are(command):
    ended = command.up("a,b", "--check")
    run = json.loads(command("runs", "--json").stdout)[0]["id"]
    assert f"{run}: check mode of scale-up completed after" in ended.output
    assert f"What would be changed: slurmscale log --run {run}" in ended.output
    assert f"{run}  check mode of scale-up completed" in command("status").output
    assert "check mode" not in command.up().output


REFUSED = [
    {"event": "playbook_on_play_start", "event_data": {"play": "Register", "play_uuid": "p"}},
    {"event": "runner_on_failed", "stdout": "fatal: [ctl]: it is locked", "event_data": {
        "host": "ctl", "task": "Register the nodes", "task_uuid": "t",
        "res": {"failed": True, "failure": {"code": "x", "reason": "The controller is locked.", "remedy": "Wait."}}}},
    {"event": "playbook_on_stats", "event_data": {"ok": {}, "failures": {"ctl": 1}}},
]  # fmt: skip


def test_the_reason_of_a_refused_run_is_the_last_thing_that_is_shown(command):
    command.events = REFUSED
    done = command.up()
    assert done.exit_code == 1
    end = done.output[done.output.index("0 of 2 nodes done") :]
    assert "The controller is locked. Wait." in end
    run = json.loads(command("runs", "--json").stdout)[0]
    assert run["error"] == {"code": "x", "reason": "The controller is locked.", "remedy": "Wait."}
    assert f"slurmscale log --run {run['id']}" in end
    assert "fatal: [ctl]: it is locked" in command("log", "--run", run["id"]).output


def test_a_reason_that_all_nodes_share_with_the_run_is_shown_once(command):
    command.events = REFUSED
    ended = command.up("a,b")
    assert ended.stderr.count("The controller is locked. Wait.") == 1
    assert "2 nodes: The controller is locked." not in ended.stderr
    assert "Details:" not in ended.stderr


def test_escape_sequences_of_a_node_reach_no_terminal_and_no_record(command):
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31mtext\x00\udcff"
    failed = {"failed": True, "msg": evil, "failure": {"code": "x", "reason": evil, "remedy": evil}}
    command.events = [
        GOOD[0],
        {"event": "runner_on_failed", "stdout": evil, "event_data": {"host": "a", "task": f"t {evil}", "res": failed}},
        {"event": "playbook_on_stats", "event_data": {"failures": {"a": 1}}},
    ]
    shown = command.up("a").output
    shown += command("log", "a").output + command("tasks").output + command("runs").output + command("status").output
    assert "text" in shown
    assert not set("\x1b\x9b\x07\x00\udcff") & set(shown)


def test_json_is_all_there_is_on_standard_output(command):
    done = command.up("a,b", "--json")
    result = json.loads(done.stdout)
    assert (result["status"], result["success_nodes"], result["nodes"]) == ("completed", 2, ["a", "b"])
    assert result["completed_at"].endswith("+00:00")
    assert [task["progress"] for task in result["tasks"]] == [100, 100]


def test_what_is_refused_is_2_and_says_what_to_do(command, monkeypatch, capsys):
    for arguments in (
        ["up", "zz", "-i", str(command.inventory)],
        ["up", "n[1", "-i", str(command.inventory)],
        ["up", "a", "-i", "/nowhere"],
        ["down", "a", "-i", str(command.inventory)],
        ["log", "a"],
        ["tasks"],
        ["cancel", "no-such-run"],
        ["cluster", "info", "lab"],
        ["up", "a", "-i", str(command.inventory), "-e", "no equals sign"],
        ["up"],
        ["up", "a", "-i", "x", "-c", "y"],
    ):
        monkeypatch.setattr(sys, "argv", ["slurmscale", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2, arguments
        assert capsys.readouterr().err, arguments


def test_removing_nodes_asks_first(command, monkeypatch):
    at_a_terminal(monkeypatch)
    arguments = ("down", "a,b", "-i", str(command.inventory))
    refused = command(*arguments, input="n\n")
    assert "Take a,b (2 nodes) out of cluster " in refused.stderr
    assert str(refused.exception) == "It was not confirmed; nothing was changed."
    assert command.launches == []
    assert command(*arguments, input="y\n").exit_code == 0
    assert command.launches[0].playbook.name == "scale_down.yml"


def at_a_terminal(monkeypatch):
    monkeypatch.setattr(work, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True), stderr=sys.stderr))
    # at a terminal the work is done by a process of its own, which would go on with the other tests
    monkeypatch.setattr(work.background, "run", lambda todo, apart: todo(lambda: None))  # noqa: ARG005 - its name


def plans(command):
    return [bool(launch.extra_vars.get("plan_only")) for launch in command.launches]


def test_adding_nodes_shows_the_plan_and_asks_once(command, monkeypatch):
    at_a_terminal(monkeypatch)
    refused = command.up(input="n\n")
    assert "Scale a,b (2 nodes) up in cluster " in refused.stderr
    assert str(refused.exception) == "It was not confirmed; nothing was changed."
    assert plans(command) == [True]
    command.launches.clear()
    done = command.up(input="y\n")
    assert (done.exit_code, plans(command)) == (0, [True, False])
    assert done.stderr.count("?") == 1


@pytest.mark.parametrize("option", ["--yes", "--check", "--json", "--detach"])
def test_adding_nodes_asks_nothing_where_nobody_is_to_be_asked(command, monkeypatch, option):
    at_a_terminal(monkeypatch)
    assert command.up("a,b", option).exit_code == 0
    assert plans(command) == [False]


def test_nothing_is_asked_about_nodes_of_which_none_is_ready(command, monkeypatch):
    at_a_terminal(monkeypatch)
    command.events, command.plan = EVENTS, PLAN
    ended = command.up("dead")
    assert (ended.exit_code, plans(command)) == (1, [True])
    assert "Scale" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (["upgrade", "--slurm-version", "24.11.5-4"],
         "Upgrade all nodes of cluster small to Slurm 24.11.5-4, batch by batch?"),
        (["upgrade", "a", "-e", "slurm_version=24.11.5-4"],
         "Upgrade a of cluster small to Slurm 24.11.5-4, batch by batch?"),
        (["rotate-key"], "Give all hosts of cluster small a new munge key?"),
        (["setup-controller"],
         "Install Slurm on the first controller of cluster small, write slurm.conf and start slurmctld?"),
    ],
)  # fmt: skip
def test_what_changes_a_controller_or_all_nodes_is_confirmed(command, monkeypatch, arguments, question):
    command("cluster", "add", "small", "-i", str(command.inventory))
    refused = command(*arguments)
    assert (refused.exception.reason, command.launches) == (f"This has to be confirmed: {question}", [])
    assert refused.exception.remedy == "Run it in a terminal, or with --yes."
    at_a_terminal(monkeypatch)
    refused = command(*arguments, input="n\n")
    assert question in " ".join(refused.stderr.split())
    assert (str(refused.exception), command.launches) == ("It was not confirmed; nothing was changed.", [])
    assert json.loads(command("runs", "--json").stdout) == []
    assert "?" not in command(*arguments, "--yes").stderr
    assert "?" not in command(*arguments, "--check").stderr
    command(*arguments, input="y\n")
    assert [launch.check for launch in command.launches] == [False, True, False]


def test_every_operation_that_changes_a_controller_or_nodes_has_a_question():
    changing = {operation for operation, one in DEFINITIONS.items() if one.changes and one.task_type != "slurm-job"}
    assert {one for one in changing if not one.definition.question} == {Operation.PUBLISH_APPHUB}
    assert not any(one.question for one in DEFINITIONS.values() if not one.changes)


def test_what_can_not_be_done_is_not_asked_about(command, monkeypatch):
    at_a_terminal(monkeypatch)
    refused = command("down", "nobody", "-i", str(command.inventory), input="y\n")
    assert "Not in the inventory: nobody" in str(refused.exception)
    assert "?" not in refused.stderr


def test_an_upgrade_needs_a_version(command):
    refused = command("upgrade", "-i", str(command.inventory), "--yes")
    assert str(refused.exception) == (
        "upgrade needs --slurm-version. Nothing was changed. Give --slurm-version: Version to upgrade to, e.g."
        " 24.11.5-4; `slurmscale apphub check` shows which ones there are."
    )
    assert json.loads(command("runs", "--json").stdout) == []
    command.inventory.write_text(command.inventory.read_text() + "all: {vars: {slurm_version: 24.11.5-4}}\n")
    confirm = command("upgrade", "-i", str(command.inventory))
    assert "to Slurm as stated in the inventory, batch by batch?" in str(confirm.exception)
    assert command("upgrade", "-i", str(command.inventory), "--yes").exit_code != 2


def test_a_repair_shows_what_is_wrong_and_asks_once(command, monkeypatch):
    at_a_terminal(monkeypatch)
    command.events = REFUSED
    command("cluster", "add", "small", "-i", str(command.inventory))
    refused = command("repair", "fix", input="n\n")
    assert refused.stderr.count("Fix what is safe to fix of that on cluster small?") == 1
    assert [launch.extra_vars["action"] for launch in command.launches] == ["check"]
    assert "?" not in command("repair", "fix", "--yes").stderr
    assert [launch.extra_vars["action"] for launch in command.launches] == ["check", "fix"]


def test_what_a_check_finds_is_told_once(command, monkeypatch):
    wrong = {"host": "a", "check": "service munge", "code": "service-down", "result": "found", "reason": "inactive",
             "remedy": "fix starts it."}  # fmt: skip
    command.events = [*GOOD[:-1], {"event": "playbook_on_stats", "event_data": {"ok": {"a": 1, "b": 1, "ctl": 1}}}]
    monkeypatch.setattr(FakeJob, "report", lambda _: {"kind": "repair", "findings": [wrong]})
    shown = command("repair", "check", "-i", str(command.inventory))
    assert shown.output.count("fix starts it.") == 1
    assert "service munge" in shown.stdout
    assert "Details: slurmscale log" in shown.stderr
    # without a report nothing else tells it
    monkeypatch.setattr(FakeJob, "report", lambda _: {})
    command.events = EVENTS
    assert "task 'hard fail a'" in command("repair", "check", "-i", str(command.inventory)).stderr


def test_a_run_that_is_not_shown_says_how_to_see_it(command):
    shown = command.up("a,b", "--detach")
    run = shown.stdout.strip()
    assert f"See it: slurmscale attach {run}" in shown.stderr
    assert "See it" not in command.up("a,b", "--detach", "--json").stderr


def test_removing_nodes_asks_nobody_where_nobody_answers(command):
    command("cluster", "add", "small", "-i", str(command.inventory))
    arguments = ("down", "a,b")
    refused = command(*arguments)
    assert "has to be confirmed: Take a,b (2 nodes) out of cluster small?" in str(refused.exception)
    assert "--yes" in str(refused.exception)
    assert command.launches == []
    assert "?" not in command(*arguments, "--yes").stderr
    assert "?" not in command(*arguments, "--check").stderr
    assert [launch.check for launch in command.launches] == [False, True]


def test_options_reach_the_run(command):
    assert command.up(
        "a", "-e", "x=1 y='a b'", "-e", '{"z": [1]}', "-f", "7", "--timeout", "9", "-u", "admin", "-k", "-vv",
        "--host", "a=10.0.0.1:2222", input="secret-password\n",
    ).exit_code == 0  # fmt: skip
    launch = command.launches[0]
    assert {name: launch.extra_vars[name] for name in "xyz"} == unsafe({"x": "1", "y": "a b", "z": [1]})
    assert (launch.forks, launch.timeout, launch.verbosity, launch.extra_vars["nodes"]) == (7, 9, 2, "a")
    assert launch.added["_meta"]["hostvars"]["a"] == unsafe({
        "ansible_user": "admin", "ansible_password": "secret-password",
        "ansible_host": "10.0.0.1", "ansible_port": 2222,
    })  # fmt: skip


def test_a_node_that_came_by_its_address_is_taken_out_by_it(command):
    for name in ("up", "down"):
        done = command(name, "x9", "-i", str(command.inventory), "--host", "x9=10.0.0.9", "--yes")
        assert done.exit_code != 2, done.output
    down = command.launches[-1]
    assert down.playbook.name == "scale_down.yml"
    assert down.added["_meta"]["hostvars"]["x9"] == unsafe({"ansible_host": "10.0.0.9"})


def test_extra_vars_from_a_file_and_wrong_ones(tmp_path):
    path = tmp_path / "vars.yml"
    path.write_text("a: 1\n")
    assert option_values.extra_vars([f"@{path}", "b=2"]) == {"a": 1, "b": "2"}
    for wrong in ("@/nowhere", "{broken", "{[1]}", "word"):
        with pytest.raises(RefusedError, match="-e:"):
            option_values.extra_vars([wrong])


def test_addresses_of_nodes():
    assert option_values.nodes_of_options("a,b", ["b=fe80::1"])["b"] == NodeSpec("b", "fe80::1")
    with pytest.raises(RefusedError, match="NODE=ADDRESS"):
        option_values.nodes_of_options("a", ["b=x"])


def test_looking_back(command):
    command.events, command.plan = EVENTS, PLAN
    command.up("a,b,c,dead")
    run = json.loads(command("runs", "--json").stdout)[0]
    assert (run["status"], run["failed_nodes"]) == ("failed", 4)
    assert "a,b,c" in command("runs").output
    tasks = json.loads(command("tasks", run["id"], "--json").stdout)
    assert [task["node"] for task in tasks] == ["a", "b", "c", "dead"]
    assert "hard fail" in command("tasks").output
    log = command("log", "a").output
    assert "[hard fail a]" in log
    assert "\x1b" not in log
    assert json.loads(command("log", "a", "--run", run["id"], "--json").stdout)[0]["node"] == "a"
    status = json.loads(command("status", "--json").stdout)
    assert set(status) == {"active", "active_tasks", "success_nodes", "failed_nodes", "progress", "active_operations",
                           "recent_operations", "stalled_tasks"}  # fmt: skip
    assert status["recent_operations"][0]["started_at"].endswith("+00:00")
    assert "idle: 0 %" in command("status").output


def test_retry_runs_what_failed(command):
    command.events, command.plan = EVENTS, PLAN
    command.up("a,b,c,dead")
    run = json.loads(command("runs", "--json").stdout)[0]
    command.events, command.plan = GOOD, []
    assert command("retry", run["id"], "--json").exit_code == 1
    assert command.launches[1].extra_vars["nodes"] == "a,b,c,dead"


def test_clusters_are_kept_by_name(command):
    assert command("cluster", "add", "lab", "--inventory", str(command.inventory), "-e", "x=1").exit_code == 0
    assert command("up", "a,b").exit_code == 0, "the only cluster needs no name"
    assert json.loads(command("cluster", "list", "--json").stdout)[0]["variables"] == {"x": "1"}
    assert "lab" in command("cluster", "list").output
    shown = json.loads(command("cluster", "info", "lab", "--json").stdout)
    assert "credentials" not in shown
    assert "completed" in shown["recent_runs"][0]
    added = command("cluster", "add", "lab", "--inventory", str(command.inventory), "-e", "x=2", "--json")
    assert json.loads(added.stdout)["variables"] == {"x": "2"}
    assert json.loads(command("cluster", "forget", "lab", "--json").stdout)["name"] == "lab"
    assert json.loads(command("cluster", "list", "--json").stdout) == []


FINDINGS = [
    {
        "where": "http://hub",
        "check": "server",
        "subject": "/healthz",
        "ok": True,
        "code": "",
        "reason": "It answers.",
        "remedy": "",
    },
    {
        "where": "http://hub",
        "check": "files",
        "subject": "a.deb",
        "ok": False,
        "code": "apphub-file-missing",
        "reason": "gone.",
        "remedy": "Publish.",
    },
    {
        "where": "hub1",
        "check": "space",
        "subject": "/srv",
        "ok": True,
        "code": "",
        "reason": "9 MB are free.",
        "remedy": "",
    },
]


def test_doctor_asks_the_playbook_about_the_apphub(command, monkeypatch):
    monkeypatch.setattr(FakeJob, "report", lambda _: {"findings": FINDINGS})
    done = command("doctor", "-i", str(command.inventory))
    assert done.exit_code == 1
    assert "failed   apphub http://hub: files a.deb: gone. Publish." in done.output
    assert "ok       apphub hub1: 1 checks, nothing is wrong" in done.output
    assert command.launches[0].playbook.name == "check_apphub.yml"
    results = json.loads(command("doctor", "-i", str(command.inventory), "--json").stdout)
    assert results[-2] == {
        "check": "apphub http://hub", "state": "failed", "code": "apphub-file-missing",
        "reason": "files a.deb: gone.", "remedy": "Publish.",
    }  # fmt: skip
    monkeypatch.setattr(FakeJob, "report", lambda _: {"findings": FINDINGS[:1]})
    assert command("doctor", "-i", str(command.inventory)).exit_code == 0


def test_doctor_says_why_an_apphub_could_not_be_looked_at(command):
    failed = {"event": "runner_on_failed", "event_data": {"res": {"msg": "apphub_client_urls is empty."}}}
    command.events = [failed]
    done = command("doctor", "-i", str(command.inventory))
    assert done.exit_code == 1
    assert "failed   apphub: apphub_client_urls is empty." in done.output


def test_doctor_names_what_is_wrong(command, monkeypatch, tmp_path):
    done = command("doctor", "-i", str(command.inventory))
    assert "slurm_controllers 1, slurm_nodes 4" in done.output
    assert "ok       database" in done.output
    monkeypatch.setenv("SLURMSCALE_PROJECT_DIR", str(tmp_path))
    done = command("doctor")
    assert done.exit_code == 1
    assert "failed   playbooks" in done.output


@pytest.mark.parametrize(("version", "state"), [("2.19.3", "failed"), ("2.19.4", "ok"), ("2.20.0rc1", "ok")])
def test_doctor_refuses_an_ansible_core_that_is_too_old(command, monkeypatch, tmp_path, version, state):
    program = tmp_path / "ansible-playbook"
    program.write_text(f"#!/bin/sh\necho 'ansible-playbook [core {version}]'\n")
    program.chmod(0o755)
    # Ansible is looked for beside the Python that runs.
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    results = json.loads(command("doctor", "--json").stdout)
    assert next(one["state"] for one in results if one["check"] == "ansible") == state


def every_command():
    group = typer.main.get_command(app)
    for name, found in group.commands.items():
        yield from [(name, sub) for sub in found.commands] if hasattr(found, "commands") else [(name,)]


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_command_explains_itself_with_an_example(words):
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert f"slurmscale {' '.join(words)}" in shown.output


def state(i, *, failed):
    return TaskChange(
        f"n{i}",
        TaskStatus.FAILED if failed else TaskStatus.RUNNING,
        progress=i % 100,
        phase=("key", "packages", "proving")[i % 3],
        step=f"Do {i % 5}",
        error=Failure("task-failed", "broken [bold]\nmore") if failed else None,
        updated_at=float(i),
    )


def states(count, failed=0):
    return tuple(state(i, failed=i < failed) for i in range(count))


def drawn(count, failed=0):
    view = RunDisplay("r", tuple(f"n{i}" for i in range(count)))
    view.update(
        Notice("r", RunStatus.RUNNING, Counts(count, count - failed, 0, failed, 10), states(count, failed), 125.0)
    )
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115 - only its record is read
    console.print(view)
    return console.export_text()


def test_a_bar_for_each_node_up_to_forty():
    text = drawn(40, failed=1)
    assert all(f"n{i} " in text for i in range(40))
    assert "broken [bold]" in text
    assert "about 2:05 left" in text


def test_above_forty_phases_are_counted_and_the_slowest_and_the_failed_are_named():
    text = drawn(500, failed=12)
    assert all(f"{count} {phase}" in text for phase, count in (("key", 163), ("packages", 163), ("proving", 162)))
    assert "proving: Do 0" in text
    assert "n100 " in text
    assert "n0 " in text
    assert "and 2 more failed" in text
    assert "n150 " not in text
    assert len(text.splitlines()) < 30


class AtOnce:
    """A thread that has run when it is started."""

    def __init__(self, *, target, daemon):
        assert daemon
        self.start = target


class Interrupted:
    """A handle whose display is interrupted by Ctrl-C so many times."""

    def __init__(self, times, uncut=""):
        self.times, self.calls, self.nodes, self.id, self.uncut = times, [], ("a",), "r", uncut
        self.run = SimpleNamespace(operation=Operation.ROTATE_MUNGE_KEY)

    def cancel(self, *, force=False):
        self.calls.append("kill" if force else "cancel")


@pytest.mark.parametrize(
    ("answer", "calls", "left"),
    [("c", ["cancel", "kill"], False), ("g", [], False), ("", [], False), ("leave it running", [], True)],
)
def test_ctrl_c_asks_and_one_after_a_cancel_kills(monkeypatch, answer, calls, left):
    asked = []
    monkeypatch.setattr(follow.typer, "prompt", lambda *a, **_: asked.append(a) or answer)
    monkeypatch.setattr(follow.threading, "Thread", AtOnce)
    handle = Interrupted(2)
    stopper = follow._CancelHandler(handle, Console(quiet=True), ask=True)
    assert stopper.interrupt() is left
    assert stopper.interrupt() is left
    assert handle.calls == calls
    assert len(asked) == (1 if answer == "c" else 2)


def test_who_only_watches_a_run_kills_it_never_and_cancels_it_only_when_asked(monkeypatch):
    monkeypatch.setattr(follow.typer, "prompt", lambda *_, **__: "c")
    monkeypatch.setattr(follow.threading, "Thread", AtOnce)
    handle = Interrupted(2)
    console = Console(record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115 - only its record is read
    asked = follow._CancelHandler(handle, console, ask=True, own=False)
    assert (asked.interrupt(), asked.interrupt()) == (False, True)
    assert follow._CancelHandler(handle, console, ask=False, own=False).interrupt() is True
    assert handle.calls == ["cancel"]
    assert "Killing" not in console.export_text()


def test_a_ctrl_c_at_the_question_cancels(monkeypatch):
    def prompt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(follow.typer, "prompt", prompt)
    monkeypatch.setattr(follow.threading, "Thread", AtOnce)
    handle = Interrupted(1)
    follow._CancelHandler(handle, Console(quiet=True), ask=True).interrupt()
    assert handle.calls == ["cancel"]


def test_a_run_in_a_part_that_is_not_cut_goes_on_and_may_be_cancelled_again(monkeypatch):
    monkeypatch.setattr(follow.threading, "Thread", AtOnce)
    refused = [RefusedError("It is not cut.")]

    class Uncut(Interrupted):
        def cancel(self, *, force=False):
            if refused:
                raise refused.pop()
            super().cancel(force=force)

    handle = Uncut(2)
    console = Console(record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115 - only its record is read
    stopper = follow._CancelHandler(handle, console, ask=False)
    stopper.interrupt()
    assert (handle.calls, "It is not cut." in console.export_text()) == ([], True)
    stopper.interrupt()
    assert handle.calls == ["cancel"]


def test_a_cancel_is_neither_offered_nor_told_of_a_run_that_takes_none_any_more(monkeypatch):
    asked = []
    monkeypatch.setattr(follow.typer, "prompt", lambda question, **_: asked.append(question) or "g")
    handle = Interrupted(2, uncut="It ends by itself.")
    console = Console(record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115 - only its record is read
    assert follow._CancelHandler(handle, console, ask=True).interrupt() is False
    follow._CancelHandler(handle, console, ask=False).interrupt()
    assert asked == ["(l)eave it running, or (g)o on?"]
    assert handle.calls == []
    shown = console.export_text()
    assert "Cancelling" not in shown
    assert shown.count("It cannot be cancelled any more. It ends by itself.") == 2


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 1), ("interrupted", 1), ("cancelled", 130)])
def test_exit_codes(status, code):
    assert output.exit_code(type("Run", (), {"status": RunStatus(status)})()) == code
