"""What people and programs see: documents with a schema, lists that are whole when piped, failures by reason."""

from __future__ import annotations

import dataclasses
import json
import time
from datetime import datetime

import jsonschema
import pytest
from slurmscale.cli import output
from slurmscale.models import Failure
from slurmscale.runner.fake import FakeJob
from slurmscale.scaling import Scaling
from slurmscale.scaling_status import group_failures

from .test_command import EVENTS, FINDINGS, PLAN, Commands


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    return Commands(monkeypatch, tmp_path)


@pytest.fixture
def failed(command):
    """A run of which all four nodes failed; returns its id."""
    command.events, command.plan = EVENTS, PLAN
    command.up("a,b,c,dead")
    return json.loads(command("runs", "--json").stdout)[0]["id"]


def moments(value, name=""):
    """Yield every time in a document."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from moments(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from moments(item, name)
    elif value is not None and name.endswith("_at"):
        yield value


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("status", ["status"]), ("runs", ["runs"]), ("tasks", ["tasks"]), ("log", ["log", "a"]),
        ("clusters", ["cluster", "list"]), ("error", ["up", "zz", "-i", "INVENTORY"]),
        ("result", ["up", "a,b", "-i", "INVENTORY"]), ("event", ["up", "a,b", "-i", "INVENTORY", "--follow"]),
        ("doctor", ["doctor"]), ("result", ["retry", "RUN"]), ("result", ["attach", "RUN"]),
    ],
)  # fmt: skip
def test_every_document_is_as_its_schema_says_with_times_in_iso_8601(command, failed, name, arguments, capsys):
    command("cluster", "add", "lab", "--inventory", str(command.inventory))
    given = [str(command.inventory) if one == "INVENTORY" else failed if one == "RUN" else one for one in arguments]
    shown = command(*given, "--json").stdout
    if name == "error":
        shown = refused(given, capsys)
    documents = [json.loads(line) for line in shown.splitlines()] if name == "event" else [json.loads(shown)]
    schema = json.loads(command("schema", name).stdout)
    assert documents
    for document in documents:
        jsonschema.validate(document, schema)
        assert all(datetime.fromisoformat(one).tzinfo and one.endswith("+00:00") for one in moments(document))


def refused(arguments, capsys):
    from slurmscale.cli.app import _run  # noqa: PLC0415 - what turns errors into documents

    capsys.readouterr()
    assert _run([*arguments, "--json"]) == 2
    return capsys.readouterr().out


def test_the_names_of_the_schemas_are_listed_and_others_refused(command):
    names = command("schema").stdout.split()
    assert {"status", "event", "result"} <= set(names)
    assert command("schema", "nonsense").exit_code != 0


def test_events_are_lines_that_begin_with_the_run_and_end_with_its_result(command):
    lines = [json.loads(line) for line in command.up("a,b", "--json", "--follow").stdout.splitlines()]
    assert lines[0]["event"] == "begin"
    assert {line["run_id"] for line in lines} == {lines[-1]["run"]["id"]}
    assert (lines[-1]["event"], lines[-1]["run"]["status"]) == ("end", "completed")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_run_is_named_before_anything_happens(command, options):
    run = json.loads(command.up("a,b", "--json").stdout)["id"]
    shown = command.up("a,b", *options).stderr.splitlines()
    assert shown[0].endswith("scale-up on cluster " + json.loads(command("runs", "--json").stdout)[0]["cluster"] +
                             ", 2 nodes")  # fmt: skip
    assert "When it is cancelled" in shown[1]
    assert run not in shown[0]


def test_a_piped_list_is_whole_and_a_line_per_row(command, failed):
    nodes = ",".join(f"very-long-name-of-a-node-{letter * 20}" for letter in "abcdef")
    command.inventory.write_text(f"slurm_controllers: {{hosts: {{ctl: }}}}\nslurm_nodes: {{hosts: {{{nodes}: }}}}\n"
                                 .replace(",", ": , "))  # fmt: skip
    command.up(nodes)
    lines = command("runs").stdout.splitlines()
    assert len(lines) == 3
    assert all(name in lines[1] for name in nodes.split(","))
    assert failed in lines[2]
    assert "…" not in "".join(lines)


def test_a_list_in_a_terminal_fits_and_keeps_ids_whole(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.print_table(("run", "nodes", "error"), [("20260101-120000-a1b2c3", "n" * 90, "why\n" * 30), ("x", "y", "z")],
                       cut=2)  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 60
    assert lines[1].startswith("20260101-120000-a1b2c3  ")
    assert lines[1].count("…") == 2


def test_what_a_plan_does_and_why_a_check_failed_is_whole_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.print_table(("node", "state", "reason"), [("a", "no-sudo", "sudo asks for a password. Allow it in sudoers."),
                                                     ("b", "ready", "")], wrap=True)  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "node  state    reason",
        "a     no-sudo  sudo asks for a password.",
        "               Allow it in sudoers.",
        "b     ready",
    ]


def test_a_check_of_an_apphub_says_which_versions_it_has(command, monkeypatch):
    found = {"where": "http://hub", "check": "packages", "subject": "deb/ubuntu/noble amd64", "ok": True, "code": "",
             "reason": "Slurm 24.11.5-4 with munge, slurmd.", "remedy": ""}  # fmt: skip
    monkeypatch.setattr(FakeJob, "report", lambda _: {"kind": "apphub", "findings": [found]})
    done = command("apphub", "check", "-i", str(command.inventory))
    assert done.stdout.splitlines() == [
        "Nothing is wrong.",
        "http://hub deb/ubuntu/noble amd64: Slurm 24.11.5-4 with munge, slurmd.",
    ]


def test_columns_without_room_are_left_out_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    row = ("20260101-120000-a1b2c3", "n" * 90, "why it failed", "2026")
    output.print_table(("run", "nodes", "error", "created"), [row], cut=2, optional=1)
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "nodes"]
    assert row == "20260101-120000-a1b2c3  " + "n" * 15 + "…"


def test_a_node_is_named_once_before_its_reason():
    away = Failure("host-unreachable", "ubuntu3 can't be reached: no route.", "Check that it is up.")
    other = Failure("sudo-missing", "sudo is missing on ubuntu4.", "Install it.")
    groups = group_failures([("ubuntu3", away), ("ubuntu4", other)])
    assert sorted(output.failure_lines(groups)) == [
        "ubuntu3 can't be reached: no route. -> Check that it is up.",
        "ubuntu4: sudo is missing on ubuntu4. -> Install it.",
    ]


def test_a_reason_that_names_all_nodes_is_one_reason():
    (group,) = group_failures([(node, Failure("x", "99.11 is too new for n1, n2.")) for node in ("n1", "n2")])
    assert (group.reason, group.nodes) == ("99.11 is too new for n1, n2.", ["n1", "n2"])


def test_nodes_that_only_stopped_come_last():
    groups = group_failures([("a", Failure("run-stopped", "x")), ("b", Failure("run-stopped", "x")),
                             ("c", Failure("disk-full", "y"))])  # fmt: skip
    assert [group.nodes for group in groups] == [["c"], ["a", "b"]]


def test_failures_are_grouped_by_reason_whatever_the_node_is_called():
    groups = group_failures([
        *((f"node{n:02d}", Failure("no-sudo", f"admin on node{n:02d} has no sudo.", f"Allow it on node{n:02d}."))
          for n in (7, 8, 9)),
        ("node1", Failure("disk-full", "The disk of node1 is full.")),
        ("node10", None),
    ])  # fmt: skip
    assert [group.nodes for group in groups] == [["node07", "node08", "node09"], ["node1"], ["node10"]]
    lines = list(output.failure_lines(groups))
    assert lines[0] == "3 nodes: admin on NODE has no sudo. node[07-09] -> Allow it on NODE."
    assert lines[1] == "node1: The disk of node1 is full."


def test_no_more_than_ten_reasons_are_shown():
    groups = group_failures([(f"n{n}", Failure("x", f"reason {n}")) for n in range(14)])
    assert list(output.failure_lines(groups))[-1] == "and 4 more reasons: slurmscale tasks"


def test_the_status_says_why_and_where_to_look(command, failed):
    lines = command("status").stdout.splitlines()
    assert lines[0] == "idle: 0 %, 0 active, 0 succeeded, 4 failed in the last 24 hours"
    assert any(f"slurmscale log a --run {failed} --failed" in line for line in lines)
    assert any(line.strip().startswith("dead: ") and "->" in line for line in lines)


def test_a_short_beginning_of_an_id_is_enough_everywhere(command, failed):
    short = failed.rpartition("-")[2][:5]
    assert "No run is active" in str(command("attach").exception)
    for arguments in (("tasks", short), ("log", "a", "--run", short), ("attach", short)):
        assert "hard fail a" in command(*arguments).output, arguments
    command.up("a,b")
    assert "is the beginning of" in str(command("tasks", failed[:8]).exception)


def test_the_log_shows_what_failed_first_when_asked(command, failed):
    lines = [line for line in command("log", "a", "--failed").stdout.splitlines() if line[:2] == "20" and "[" in line]
    marks = ["FAILED" in line for line in lines]
    assert marks == sorted(marks, reverse=True)
    assert marks[0]
    assert not marks[-1]
    assert len(lines) == len(json.loads(command("log", "a", "--run", failed, "--json").stdout))


def test_what_belongs_to_no_task_has_no_empty_name(command, failed):
    log = command("log", "--run", failed, "--failed")
    assert f"slurmscale log a --run {failed} --failed" in log.stderr
    assert command("log", "--run", failed).stderr == ""
    log = log.stdout
    assert "TASK [ping]" in log
    assert "[]" not in log


def test_a_log_that_is_followed_ends_with_its_run(command, failed):
    followed = command("log", "a", "--run", failed, "--follow")
    assert followed.exit_code == 0
    assert followed.stdout == command("log", "a").stdout


def test_runs_of_one_cluster(command, failed):
    assert failed in command("runs").stdout
    assert json.loads(command("runs", "--cluster", "other", "--json").stdout) == []


@pytest.mark.usefixtures("failed")
def test_old_runs_are_deleted_when_confirmed(command, monkeypatch):
    assert command("runs", "prune", "--older-than", "soon", "--yes").exit_code != 0
    assert command("runs", "prune", "--older-than", "1h").exit_code != 0, "nobody confirms it"
    assert command("runs", "prune", "--older-than", "1h", "--yes").stdout == "0 runs deleted\n"
    later = time.time() + 7200
    monkeypatch.setattr("slurmscale.cli.query_commands.time.time", lambda: later)
    assert json.loads(command("runs", "prune", "--older-than", "1h", "--yes", "--json").stdout) == {"deleted": 1}
    assert json.loads(command("runs", "--json").stdout) == []


def test_the_version_is_that_of_the_package(command):
    assert command("--version").stdout == "slurmscale 0.1.0\n"


REPAIR = {
    "kind": "repair",
    "findings": [
        {"host": "a", "check": "munge", "result": "found", "code": "c", "reason": "It is down.", "remedy": "Start it."}
    ],
    "tests": [],
}


def test_a_repair_checks_fixes_and_tests_and_leaves_out_the_fix_of_nothing(command, monkeypatch):
    arguments = ("repair", "-i", str(command.inventory), "--yes")
    command.events = [{"event": "playbook_on_stats", "event_data": {"ok": {"a": 1}}}]
    reports = iter([REPAIR, {"findings": [REPAIR["findings"][0] | {"result": "fixed"}]}, {"tests": []}])
    monkeypatch.setattr(FakeJob, "report", lambda _: next(reports))
    done = command(*arguments)
    assert [launch.extra_vars["action"] for launch in command.launches] == ["check", "fix", "test"]
    assert "a     munge  found   It is down. Start it." in done.stdout
    assert "a     munge  fixed" in done.stdout


def test_what_an_apphub_check_found_is_shown_and_kept(command, monkeypatch):
    monkeypatch.setattr(FakeJob, "report", lambda _: {"findings": FINDINGS})
    done = command("apphub", "check", "-i", str(command.inventory))
    assert "http://hub  files  apphub-file-missing  gone. Publish." in done.stdout
    assert command("report").stdout == done.stdout
    assert command.launches[0].playbook.name == "check_apphub.yml"


PLANNED = {
    "kind": "plan",
    "ready": False,
    "nodes": {
        "a": {"ready": True, "steps": ["repository", "packages"], "registration": "add", "code": "", "reason": "",
              "remedy": ""},
        "b": {"ready": False, "steps": [], "registration": "", "code": "no-sudo", "reason": "b has no sudo.",
              "remedy": "Allow it."},
    },
    "controller": {"host": "ctl", "action": "reconfigure",
                   "diff": [{"path": "x", "text": "+NodeName=a\x1b[2J CPUs=4\n"}]},
}  # fmt: skip


def test_a_plan_says_what_would_be_done_and_does_only_that(command, monkeypatch):
    monkeypatch.setattr(FakeJob, "report", lambda _: PLANNED)
    done = command("plan", "a,b", "-i", str(command.inventory))
    assert command.launches[0].extra_vars["plan_only"] is True
    lines = done.stdout.splitlines()
    assert [line.split(maxsplit=3) for line in lines[1:3]] == [
        ["a", "ready", "add", "repository, packages"], ["b", "no-sudo", "b", "has no sudo. Allow it."],
    ]  # fmt: skip
    assert lines[3] == "The controller ctl is reconfigured."
    assert lines[4].startswith("+NodeName=a")
    assert "\x1b" not in done.stdout
    assert "When it is cancelled" not in done.stderr


def test_a_check_shows_each_node_with_its_reason(command, monkeypatch):
    monkeypatch.setattr(FakeJob, "report", lambda _: {"kind": "readiness", "nodes": PLANNED["nodes"]})
    done = command("check", "a,b", "-i", str(command.inventory))
    assert done.exit_code == 1
    assert "b     no-sudo  b has no sudo. Allow it." in done.stdout


def test_clusters_runs_and_nodes_are_completed(command, failed):
    from slurmscale.cli import completion  # noqa: PLC0415 - likewise

    command("cluster", "add", "lab", "--inventory", str(command.inventory))
    assert completion.cluster("l") == ["lab"]
    assert completion.run(failed[:4]) == [(failed, "scale-up failed")]
    assert completion.nodes("a,de") == ["a,dead"]


def test_what_narrow_columns_do_not_need_is_for_the_others():
    # 80 columns with three that stay whole, as in the list of runs
    assert output._fitted([22, 9, 9, 6, 33, 5], 2, 80) == [22, 9, 9, 6, 19, 5]
    assert output._fitted([22, 9, 9, 6, 33, 60], 2, 80) == [22, 9, 9, 6, 12, 12]
    assert output._fitted([22, 9, 9, 6, 33, 60], 2, 64) == [22, 9, 9, 6, 10]


def test_what_a_cluster_told_of_itself_is_completed(command):
    from slurmscale.cli import completion  # noqa: PLC0415 - as above

    command("cluster", "add", "lab", "--inventory", str(command.inventory))
    with Scaling() as scaling:
        told = {"nodes": {"old1": {}, "old2": {}}, "partitions": {"batch": {}, "debug": {}}}
        scaling.store.save_cluster(dataclasses.replace(scaling.store.cluster("lab"), info=told))
    assert completion.nodes("old1,o") == ["old1,old1", "old1,old2"]
    assert completion.partition("b") == ["batch"]
