"""Operations besides scaling: what is run, on which hosts, what is refused, and how their result is read."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest
import yaml
from slurmscale.errors import NodesError, RefusedError
from slurmscale.models import Cluster, Failure, RunOptions
from slurmscale.operations import DEFINITIONS, Operation, of_playbook
from slurmscale.progress.events import parse
from slurmscale.progress.report_failures import failures_in
from slurmscale.progress.tracker import Tracker
from slurmscale.runner.fake import FakeJob
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from slurmscale.states import RunStatus, TaskStatus

ROOT = Path(__file__).resolve().parents[3]
INVENTORY = """
all: {vars: {slurm_version: 24.11.5-4}}
slurm_controllers: {hosts: {ctl: , ctl2: }}
slurm_nodes: {hosts: {a: , b: }}
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that runs an operation with a replay, and returns the run and what Ansible was given."""
    launches = []
    events = []

    def job(launch):
        launches.append(launch)
        return FakeJob(events)

    inventory = tmp_path / "hosts.yml"
    inventory.write_text(INVENTORY)
    scaling = Scaling(Settings(data_dir=tmp_path / "data", project_dir=ROOT), make_job=job)

    def run(operation, nodes=(), *, more="", replay=(), **options):
        inventory.write_text(INVENTORY + more)
        events[:] = replay
        handle = scaling.run(operation, str(inventory), nodes, RunOptions(**options))
        return handle.wait(20), launches[-1]

    yield run
    scaling.close()


@pytest.mark.parametrize(
    ("operation", "nodes", "hosts", "variables"),
    [
        (Operation.SCALE_DOWN, "a", ("a",), {"nodes": "a", "confirm": True}),
        (Operation.UPGRADE, (), ("a", "b"), {"nodes": "a,b"}),
        (Operation.UPGRADE, "b", ("b",), {"nodes": "b"}),
        (Operation.REPAIR_CHECK, (), ("ctl", "a", "b"), {"action": "check"}),
        (Operation.REPAIR_FIX, "ctl,b", ("ctl", "b"), {"action": "fix", "nodes": "b"}),
        (Operation.ROTATE_MUNGE_KEY, (), ("ctl", "ctl2", "a", "b"), {}),
        (Operation.SETUP_CONTROLLER, (), ("ctl",), {}),
        (Operation.CHECK_APPHUB, (), ("localhost",), {}),
    ],
)
def test_hosts_and_variables_of_an_operation(start, operation, nodes, hosts, variables):
    run, launch = start(operation, nodes)
    assert run.nodes == hosts
    assert launch.extra_vars == variables
    assert launch.playbook.name == operation.playbook


def test_an_apphub_is_published_on_its_own_hosts_and_only_there(start):
    with pytest.raises(NodesError, match="publish-apphub"):
        start(Operation.PUBLISH_APPHUB)
    run, _ = start(Operation.PUBLISH_APPHUB, more="apphub: {hosts: {hub: }}\n")
    assert run.nodes == ("hub",)


def test_a_rotation_takes_no_part_of_the_cluster_and_no_time_limit(start):
    with pytest.raises(NodesError, match="takes no list of nodes"):
        start(Operation.ROTATE_MUNGE_KEY, "a")
    with pytest.raises(RefusedError, match="no time limit"):
        start(Operation.ROTATE_MUNGE_KEY, timeout=60)


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        (Operation.SCALE_DOWN, {"jobs": "kill"}),
        (Operation.SCALE_DOWN, {"drain_timeout": "soon"}),
        (Operation.SCALE_DOWN, {"uninstall": "maybe"}),
        (Operation.UPGRADE, {"batch": "0%"}),
        (Operation.UPGRADE, {"slurm_version": ["24.11"]}),
        (Operation.ROTATE_MUNGE_KEY, {"also": "all:!ctl"}),
    ],
)
def test_a_value_that_does_not_fit_its_option_is_refused_with_the_option(start, operation, values):
    (name,) = values
    with pytest.raises(RefusedError, match=name) as refused:
        start(operation, "a" if operation.definition.scope.takes_nodes else (), extra_vars=values)
    assert f"--{name.replace('_', '-')}" in refused.value.remedy


def test_values_of_options_reach_the_playbook(start):
    _, launch = start(Operation.UPGRADE, extra_vars={"slurm_version": "24.11.5-4", "drain_timeout": 60})
    assert launch.extra_vars["drain_timeout"] == 60


@pytest.mark.parametrize(
    ("playbook", "variables", "operation"),
    [
        ("scale_up.yml", {}, Operation.SCALE_UP),
        ("scale_up.yml", {"plan_only": "true"}, Operation.PLAN),
        ("scale_up.yml", {"plan_only": False}, Operation.SCALE_UP),
        ("scale_down.yml", {}, Operation.SCALE_DOWN),
        ("repair_cluster.yml", {"action": "fix"}, Operation.REPAIR_FIX),
        ("site.yml", {}, None),
    ],
)
def test_a_call_of_a_playbook_is_the_operation_whose_variables_it_states(playbook, variables, operation):
    assert of_playbook(playbook, variables) is operation


@pytest.mark.parametrize("operation", list(Operation))
def test_options_and_plays_are_those_of_the_playbook(operation):
    """An option that no playbook knows would be taken and do nothing."""
    definition = DEFINITIONS[operation]
    playbook = ROOT / "playbooks" / definition.playbook
    imported = {playbook}
    while new := {
        (path.parent / item["ansible.builtin.import_playbook"]).resolve()
        for path in imported for item in yaml.safe_load(path.read_text()) if "ansible.builtin.import_playbook" in item
    } - imported:  # fmt: skip
        imported |= new
    text = "\n".join(
        path.read_text()
        for path in [*imported, *ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("playbooks/shared/tasks/*.yml")]
    )
    for name in (*definition.variables, *(option.name for option in definition.options)):
        assert re.search(rf"\b{name}\b", text), name
    if definition.uncut:
        names = [play["name"] for path in imported for play in yaml.safe_load(path.read_text())]
        assert names.count(definition.uncut.play) == 1


def event(name, **data):
    return {"event": name, "event_data": data}


def test_a_rotation_that_is_refused_has_rotated_nowhere():
    tracker = Tracker(["ctl", "a"], whole=True)
    for raw in (
        event("playbook_on_play_start", play_uuid="1"),
        event("runner_on_ok", host="ctl", task_uuid="1"),
        event("runner_on_ok", host="a", task_uuid="1"),
        event("runner_on_failed", host="localhost", task_uuid="2", res={"msg": "b would be cut off"}),
        event("playbook_on_stats", ok={"ctl": 1, "a": 1}, failures={"localhost": 1}),
    ):
        tracker.handle(parse(raw))
    assert {node.status for node in tracker.nodes.values()} == {TaskStatus.FAILED}
    assert tracker.error().reason == "localhost: b would be cut off"


def test_a_refusal_by_a_loop_is_told_in_its_own_words():
    tracker = Tracker(["a"])
    refused = {"code": "version-too-new", "reason": "99.05 is newer than slurmctld.", "remedy": "State another."}
    res = {"msg": "One or more items failed", "results": [{"failed": False}, {"failed": True, "failure": refused}]}
    for raw in (
        event("playbook_on_play_start", play_uuid="1"),
        event("runner_on_failed", host="localhost", task_uuid="1", res=res),
        event("playbook_on_stats", failures={"localhost": 1}),
    ):
        tracker.handle(parse(raw))
    assert tracker.error() == Failure(**refused)


def test_findings_fail_the_host_they_are_about():
    report = {
        "findings": [
            {"host": "a", "check": "munge", "result": "found", "code": "service-down", "reason": "r", "remedy": "m"},
            {"host": "a", "check": "slurmd", "result": "left", "code": "x", "reason": "second", "remedy": ""},
            {"host": "b", "check": "munge", "result": "fixed", "code": "x", "reason": "was down", "remedy": ""},
            {"host": "c", "check": "drain", "result": "note", "code": "x", "reason": "meant", "remedy": ""},
            {
                "where": "hub",
                "check": "files",
                "subject": "a.deb",
                "ok": False,
                "code": "y",
                "reason": "gone",
                "remedy": "",
            },
            {"where": "hub2", "check": "files", "ok": True, "code": "", "reason": "there", "remedy": ""},
        ]
    }
    assert failures_in(report) == {
        "a": Failure("service-down", "munge: r", "m"),
        "hub": Failure("y", "files a.deb: gone", ""),
    }
    assert failures_in({"nodes": {"n": {"ready": False}, "m": {"ready": True}}})["n"].code == "node-not-ready"
    assert failures_in({}) == {}


class Reporting(FakeJob):
    """A replay whose playbook wrote a report."""

    def report(self):
        return {"kind": "repair", "findings": [{"host": "a", "check": "key", "result": "found", "code": "c",
                                                "reason": "hunter2 leaked", "remedy": ""}]}  # fmt: skip


def test_the_report_of_a_run_is_kept_without_secrets(tmp_path):
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    stats = [
        event("runner_on_ok", host="a", task_uuid="1"),
        event("playbook_on_stats", ok={"a": 1}, failures={"localhost": 1}),
    ]
    with Scaling(
        Settings(data_dir=tmp_path / "data", project_dir=ROOT), make_job=lambda _: Reporting(stats)
    ) as scaling:
        options = RunOptions(extra_vars={"db_password": "hunter2"})
        run = scaling.run(Operation.REPAIR_CHECK, str(tmp_path / "hosts.yml"), "a", options).wait(20)
        report = scaling.report(run.id)
    assert run.status is RunStatus.FAILED
    assert report["findings"][0]["host"] == "a"
    assert "hunter2" not in json.dumps(report)


def uncut_events():
    yield event("playbook_on_play_start", play="Stage a new key on the controller", play_uuid="1")
    while not uncut_events.committed:
        yield event("verbose")
    yield event("playbook_on_play_start", play="Report the results", play_uuid="2")
    while not uncut_events.released:
        yield event("verbose")
    yield event("runner_on_ok", host="ctl", task_uuid="1")
    yield event("playbook_on_stats", ok={"ctl": 1})


def test_a_rotation_is_not_cut_in_the_middle(tmp_path):
    uncut_events.committed = uncut_events.released = False
    (tmp_path / "hosts.yml").write_text("slurm_controllers: {hosts: {ctl: }}\n")
    config = Settings(data_dir=tmp_path / "data", project_dir=ROOT)
    with Scaling(config, make_job=lambda _: FakeJob(uncut_events())) as scaling:
        handle = scaling.run(Operation.ROTATE_MUNGE_KEY, str(tmp_path / "hosts.yml"))
        while not handle.uncut:
            pass
        with pytest.raises(RefusedError, match="cannot be cancelled any more"):
            handle.cancel(force=True)
        scaling.store.request_cancel(handle.id)
        assert handle.wait(1.5).status is RunStatus.RUNNING
        # a run that has rotated the key is not recorded as cancelled
        uncut_events.committed = True
        assert handle.wait(1.5).status is RunStatus.RUNNING
        uncut_events.released = True
        assert handle.wait(20).status is RunStatus.COMPLETED


def test_a_rotation_that_is_not_cut_any_more_is_known_to_who_watches_it(tmp_path):
    uncut_events.committed = uncut_events.released = False
    (tmp_path / "hosts.yml").write_text("slurm_controllers: {hosts: {ctl: }}\n")
    config = Settings(data_dir=tmp_path / "data", project_dir=ROOT)
    with Scaling(config, make_job=lambda _: FakeJob(uncut_events())) as owner, Scaling(config) as other:
        handle = owner.run(Operation.ROTATE_MUNGE_KEY, str(tmp_path / "hosts.yml"))
        watched = other.watch(handle.id)
        while not watched.uncut:
            watched.get()
        assert watched.uncut == handle.uncut
        told = f"Run {handle.id} cannot be cancelled any more. {handle.uncut}"
        for cancel in (watched.cancel, handle.cancel, lambda: other.cancel(handle.id)):
            with pytest.raises(RefusedError) as refused:
                cancel()
            assert str(refused.value) == told
        assert not other.store.run(handle.id).cancel_requested
        uncut_events.committed = uncut_events.released = True
        assert watched.wait(20).status is RunStatus.COMPLETED
        assert not watched.uncut


def test_a_cancel_that_comes_too_late_is_told(tmp_path, monkeypatch):
    uncut_events.committed = uncut_events.released = False
    (tmp_path / "hosts.yml").write_text("slurm_controllers: {hosts: {ctl: }}\n")
    config = Settings(data_dir=tmp_path / "data", project_dir=ROOT)
    began = threading.Event()

    def events():
        began.wait(20)
        yield from uncut_events()

    with Scaling(config, make_job=lambda _: FakeJob(events())) as owner, Scaling(config) as other:
        handle = owner.run(Operation.ROTATE_MUNGE_KEY, str(tmp_path / "hosts.yml"))
        # its process gets to know of the cancel only after the last moment at which it might be taken
        monkeypatch.setattr(owner.store, "cancel_requested", lambda _: bool(handle.uncut))
        threading.Timer(1, began.set).start()
        with pytest.raises(RefusedError, match=r"cannot be cancelled any more\. It ends by itself"):
            other.watch(handle.id).cancel()
        with pytest.raises(RefusedError, match=r"cannot be cancelled any more\. It ends by itself"):
            other.cancel(handle.id)
        uncut_events.committed = uncut_events.released = True
        assert handle.wait(20).status is RunStatus.COMPLETED


def test_a_cluster_without_an_inventory_has_its_controller(tmp_path):
    launches = []
    config = Settings(data_dir=tmp_path / "data", project_dir=ROOT)
    with Scaling(config, make_job=lambda launch: launches.append(launch) or FakeJob([])) as scaling:
        cluster = Cluster("small", controller="10.0.0.1")
        run = scaling.run(Operation.REPAIR_TEST, cluster).wait(20)
    assert run.nodes == ("controller",)
