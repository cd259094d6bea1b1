"""How a node's position becomes its progress."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurmscale.models import Counts, Timing
from slurmscale.operations import DEFINITIONS, Stage
from slurmscale.progress import task_weights
from slurmscale.progress.durations import TaskDurations
from slurmscale.progress.events import failure_text, parse, readable, shortened
from slurmscale.progress.node_progress import RoleMilestones
from slurmscale.progress.task_plan import TaskPlan
from slurmscale.progress.tracker import Tracker
from slurmscale.states import TaskStatus


def play(uuid, hosts, names, *, strategy="linear", sec="block"):
    tasks = [{"uuid": f"{uuid}-{name}", "name": name, "role": None, "sec": sec} for name in names]
    return {
        "kind": "play",
        "play": uuid,
        "puuid": uuid,
        "hosts": hosts,
        "strategy": strategy,
        "tasks": tasks,
    }


class Playing:
    """A tracker and short ways to feed it."""

    def __init__(self, nodes, *plays, timings=None, **more):
        self.tracker = Tracker(nodes, timings, **more)
        self.tracker.add_plan_line({"kind": "outline", "plays": list(plays)})
        self.clock = 0.0

    def event(self, name, play, task="", host=None, at=None, **data):
        self.clock = self.clock + 1 if at is None else at
        data |= {
            "play_uuid": play,
            "play": play,
            "task": task,
            "task_uuid": f"{play.partition('_')[0]}-{task}",
            "host": host,
        }
        self.tracker.handle(parse({"event": name, "event_data": data}, now=self.clock))
        return {name: node.progress for name, node in self.tracker.nodes.items()}

    def play(self, uuid, hosts=None, **more):
        if hosts is not None:
            self.tracker.add_plan_line({"kind": "play", "puuid": uuid, "hosts": hosts, "tasks": []})
        return self.event("playbook_on_play_start", uuid, **more)

    def task(self, play, task, **more):
        return self.event("playbook_on_task_start", play, task, **more)

    def ok(self, play, task, host, **more):
        return self.event("runner_on_ok", play, task, host, **more)

    def failed(self, play, task, host, why="why", **more):
        return self.event("runner_on_failed", play, task, host, res={"msg": why}, **more)

    def stats(self, **data):
        self.clock += 1
        self.tracker.handle(parse({"event": "playbook_on_stats", "event_data": data}, now=self.clock))
        return {name: node.status for name, node in self.tracker.nodes.items()}


def test_plays_of_the_controller_advance_every_node_that_is_still_going():
    run = Playing(["a", "b"], play("prepare", ["a", "b"], ["t"]), play("register", ["ctl"], ["r1", "r2", "r3"]),
                  play("results", ["a", "b"], ["s"]))  # fmt: skip
    run.play("prepare")
    run.task("prepare", "t")
    run.ok("prepare", "t", "a")
    run.failed("prepare", "t", "b")
    run.play("register")
    values = [run.task("register", name) for name in ("r1", "r2", "r3")]
    assert [value["a"] for value in values] == [19, 39, 59]
    assert {value["b"] for value in values} == {0}
    assert run.tracker.nodes["b"].status is TaskStatus.FAILED


def test_a_step_of_the_controller_is_told_even_where_the_bar_stands_still():
    run = Playing(["a"], play("prepare", ["a"], ["t"]), play("register", ["ctl"], ["r1", "r2"]))
    run.play("prepare")
    run.ok("prepare", "t", "a")
    # the play's start has already brought the node to the position of its first task
    run.play("register")
    run.tracker.take_changes()
    run.task("register", "r1")
    assert [(change.node, change.step) for change in run.tracker.take_changes()] == [("a", "r1")]


def test_in_lockstep_a_task_that_runs_once_moves_all_in_a_free_play_only_its_host():
    for strategy, expected in (("linear", 49), ("free", 0)):
        run = Playing(["a", "b"], play("p", ["a", "b"], ["one", "two"], strategy=strategy))
        run.play("p", ["a", "b"])
        run.task("p", "one")
        assert run.task("p", "two")["b"] == expected


def test_a_batch_of_serial_is_not_moved_by_the_one_before_it():
    run = Playing(["a", "b"], play("p", ["a", "b"], ["one", "two"]))
    run.play("p", ["a"])
    run.task("p", "one")
    run.ok("p", "one", "a")
    run.task("p", "two")
    assert run.ok("p", "two", "a") == {"a": 49, "b": 0}
    run.play("p_2", ["b"])
    run.task("p_2", "one")
    run.ok("p_2", "one", "b")
    run.task("p_2", "two")
    assert run.ok("p_2", "two", "b") == {"a": 49, "b": 49}
    assert set(run.stats(ok={"a": 2, "b": 2}).values()) == {TaskStatus.COMPLETED}


def test_learned_seconds_and_the_clock_move_a_node_within_a_long_task_but_never_past_it():
    run = Playing(["a"], play("p", ["a"], ["short", "install", "end"]),
                  timings={"p||short": Timing(10.0), "p||install": Timing(80.0), "p||end": Timing(10.0)})  # fmt: skip
    run.play("p", ["a"], at=100.0)
    run.task("p", "short", at=100.0)
    run.task("p", "install", at=110.0)
    node = run.tracker.nodes["a"]
    seen, left = [], []
    for second in (110, 130, 150, 190, 500):
        run.tracker.tick(second)
        seen.append(node.progress)
        left.append(run.tracker.remaining)
    assert seen == [9, 29, 49, 85, 85]
    assert left[2] == pytest.approx(50.0)
    moved = node.updated_at
    run.tracker.tick(900)
    assert node.updated_at == moved, "the clock is no activity"


def test_tasks_of_a_dynamic_include_move_a_node_in_smaller_and_smaller_steps():
    run = Playing(["a"], play("p", ["a"], ["include", "end"]))
    run.play("p", ["a"])
    run.task("p", "include")
    values = [run.event("runner_on_ok", "p", "unknown", "a")["a"] for _ in range(40)]
    assert values == sorted(values)
    assert len(set(values)) > 8
    assert values[-1] < 49


def test_a_silent_node_counts_as_done_only_when_nobody_failed():
    for failures, status in (({}, TaskStatus.COMPLETED), ({"b": 1}, TaskStatus.FAILED)):
        run = Playing(["a", "b"], play("p", ["a", "b"], ["one", "two"], strategy="free"))
        run.play("p", ["a", "b"])
        run.ok("p", "one", "a")
        run.ok("p", "one", "b")
        assert run.stats(ok={"a": 1, "b": 1}, failures=failures)["a"] is status


def test_a_node_that_no_play_ran_on_failed():
    run = Playing(["a", "b"], play("p", ["a"], ["one"]))
    run.play("p", ["a"])
    run.ok("p", "one", "a")
    assert run.stats(ok={"a": 1}) == {"a": TaskStatus.COMPLETED, "b": TaskStatus.FAILED}
    assert run.tracker.nodes["b"].error.code == "node-not-in-playbook"


def test_always_tasks_do_not_undo_a_failure_rescue_tasks_do():
    for section, status in (("always", TaskStatus.RUNNING), ("rescue", TaskStatus.RUNNING)):
        first = play("p", ["a"], ["one"])
        first["tasks"] += play("p", ["a"], ["after"], sec=section)["tasks"]
        run = Playing(["a"], first, play("q", ["a"], ["last"]))
        run.play("p", ["a"])
        run.failed("p", "one", "a", "broken")
        run.ok("p", "after", "a")
        assert run.tracker.nodes["a"].status is status
        assert (run.tracker.nodes["a"].pending_failure is None) == (section == "rescue")
    run = Playing(["a"], play("p", ["a"], ["one"]))
    run.failed("p", "one", "a", "broken")
    assert run.stats(failures={"a": 1})["a"] is TaskStatus.FAILED
    assert run.tracker.nodes["a"].error[:2] == ("task-failed", "broken")


def test_a_node_keeps_the_progress_and_the_step_at_which_its_failure_was_recorded():
    first = play("prepare", ["a", "b"], ["one", "two"])
    first["tasks"] += play("prepare", ["a", "b"], ["record"], sec="rescue")["tasks"]
    run = Playing(["a", "b"], first, play("register", ["ctl"], ["r1", "r2"]), play("result", ["a", "b"], ["tell"]))
    run.play("prepare", ["a", "b"])
    run.task("prepare", "one")
    for host in ("a", "b"):
        run.ok("prepare", "one", host)
    run.task("prepare", "two")
    run.ok("prepare", "two", "b")
    failed_at = run.failed("prepare", "two", "a", "no space left")["a"]
    recorded = {"code": "disk-full", "reason": "/var is full.", "remedy": "Make some room."}
    run.ok("prepare", "record", "a", res={"ansible_facts": {"scale_failure": recorded}})
    run.play("register", ["ctl"])
    assert run.tracker.nodes["a"].status is TaskStatus.FAILED
    run.task("register", "r2")
    run.play("result", ["a", "b"])
    action = {"resolved_action": "ai_infra.slurm.node_result"}
    run.ok("result", "tell", "b", **action)
    run.event("runner_on_failed", "result", "tell", "a", res={"msg": "all", "failure": recorded}, **action)
    assert run.stats(failures={"a": 1}) == {"a": TaskStatus.FAILED, "b": TaskStatus.COMPLETED}
    node = run.tracker.nodes["a"]
    assert node.error == ("disk-full", "/var is full.", "Make some room.")
    assert (node.progress, node.step) == (failed_at, "two")
    assert failed_at < 50
    assert run.tracker.error().code == "nodes-failed"


def test_a_failure_that_the_playbook_takes_back_is_none():
    run = Playing(["a"], play("p", ["a"], ["one", "record", "take back", "tell"]))
    run.play("p", ["a"])
    run.failed("p", "one", "a")
    run.ok("p", "record", "a", res={"ansible_facts": {"scale_failure": {"reason": "why"}}})
    run.ok("p", "take back", "a", res={"ansible_facts": {"scale_failure": None}})
    run.ok("p", "tell", "a", resolved_action="ai_infra.slurm.node_result")
    assert run.stats(ok={"a": 3}) == {"a": TaskStatus.COMPLETED}
    assert run.tracker.error() is None


def test_only_the_result_of_a_node_proves_its_end_when_others_failed_and_there_is_no_plan():
    for action, status in (
        ("ai_infra.slurm.node_result", TaskStatus.COMPLETED),
        ("ansible.builtin.debug", TaskStatus.FAILED),
    ):
        run = Playing(["a", "b"])
        run.event("runner_on_ok", "Results", "tell", "a", resolved_action=action)
        run.failed("Results", "tell", "b")
        assert run.stats(ok={"a": 1}, failures={"b": 1})["a"] is status
    assert run.tracker.nodes["a"].error.code == "run-stopped"


def test_a_failure_reported_as_data_is_taken_as_it_is():
    reported = {"code": "munge-key-differs", "reason": "The keys differ.", "remedy": "Repair it."}
    run = Playing(["a"], play("p", ["a"], ["Count failed nodes as failed"]))
    run.play("p", ["a"])
    run.event("runner_on_failed", "p", "Count failed nodes as failed", "a", res={"msg": "x", "failure": reported})
    run.stats(failures={"a": 1})
    assert run.tracker.nodes["a"].error.as_dict() == reported


def test_nodes_of_a_run_that_was_refused_as_a_whole_have_its_reason():
    refused = {"code": "request-invalid", "reason": "nodes selects ctl1, a controller.", "remedy": "Name nodes."}
    run = Playing(["a"], play("validate", ["localhost"], ["check"]), play("p", ["a"], ["one"]))
    run.play("validate", ["localhost"])
    run.event("runner_on_failed", "validate", "check", "localhost", res={"msg": "x", "failure": refused})
    assert run.stats(failures={"localhost": 1}) == {"a": TaskStatus.FAILED}
    assert run.tracker.error().as_dict() == run.tracker.nodes["a"].error.as_dict() == refused


def test_a_host_that_comes_back_after_it_was_given_up_is_running_again():
    run = Playing(["a"], play("p", ["a"], ["one"]), play("q", ["a"], ["two"]))
    run.play("p", ["a"])
    run.failed("p", "one", "a")
    run.play("q", ["a"])
    assert run.tracker.nodes["a"].status is TaskStatus.FAILED
    failed_at = run.tracker.nodes["a"].progress
    run.ok("q", "two", "a")
    assert run.tracker.nodes["a"].status is TaskStatus.RUNNING
    assert run.tracker.nodes["a"].progress == failed_at
    assert run.tracker.counts().active == 1
    assert run.stats(ok={"a": 1})["a"] is TaskStatus.COMPLETED
    assert run.tracker.counts().failed == 0


def test_role_milestones_without_a_plan():
    tracker = Tracker(["a"])
    seen = []
    # what follows the last role is tasks of the playbook
    for role in ("preflight", "apphub-client", "munge", "slurmd-rocky", "slurmctld-reconfigure", ""):
        for _ in range(3):
            data = {"host": "a", "role": role, "task_uuid": "x", "play_uuid": "p", "task": "t"}
            tracker.handle(parse({"event": "runner_on_start", "event_data": data}))
            tracker.handle(parse({"event": "runner_on_ok", "event_data": data}))
            seen.append(tracker.nodes["a"].progress)
    assert seen == sorted(seen)
    assert len(set(seen)) >= 8
    assert 85 <= seen[-1] < 100


def test_the_roles_of_the_milestones_are_there():
    roles = {path.name for path in (Path(__file__).resolve().parents[3] / "roles").iterdir()}
    assert {role for role, _ in RoleMilestones._STARTS} <= roles


def test_positions_that_everybody_skipped_weigh_nothing_in_the_next_run():
    durations = TaskDurations()
    durations.add(0, 4.0, 2)
    durations.add(0, 6.0, 2)
    durations.add(2, 1.0, 2)
    durations.add(2, 0.1, 2, skipped=True)
    plan = TaskPlan()
    plan.add(play("p", ["a"], ["one", "two", "three", "four"]))
    assert durations.timings(plan.tasks) == {"p||one": (5.0, 1.0), "p||two": (0.0, 0.0), "p||three": (1.0, 0.5)}


def test_a_plan_of_nothing_but_weightless_tasks_still_has_positions():
    plan = TaskPlan()
    plan.add(play("p", ["a"], ["one", "two"], sec="rescue"))
    assert plan.percent(1.0, 1, 0) == 49


def test_work_for_the_other_system_is_expected_by_its_share_and_dropped_when_it_is_skipped():
    timings = {"p||common": Timing(10.0), "p||rocky": Timing(40.0, 0.5), "p||ubuntu": Timing(40.0, 0.5)}
    run = Playing(["r", "u"], play("p", ["r", "u"], ["common", "rocky", "ubuntu"], strategy="free"), timings=timings)
    run.play("p", ["r", "u"], at=0.0)
    for host in ("r", "u"):
        run.event("runner_on_start", "p", "common", host, at=0.0)
        run.ok("p", "common", host, at=10.0)
    assert run.tracker.nodes["r"].progress == 99 * 10 // 50
    run.event("runner_on_start", "p", "rocky", "u", at=10.0)
    run.event("runner_on_skipped", "p", "rocky", "u", at=10.0)
    run.event("runner_on_start", "p", "ubuntu", "u", at=10.0)
    run.event("runner_on_start", "p", "rocky", "r", at=10.0)
    run.tracker.tick(30.0)
    assert run.tracker.nodes["u"].progress == 99 * 30 // 50
    assert run.tracker.nodes["r"].progress == 99 * 30 // 70
    assert run.tracker.remaining == pytest.approx(40.0)
    run.ok("p", "rocky", "r", at=50.0)
    run.event("runner_on_start", "p", "ubuntu", "r", at=50.0)
    run.event("runner_on_skipped", "p", "ubuntu", "r", at=50.0)
    run.ok("p", "ubuntu", "u", at=50.0)
    run.stats(ok={"r": 3, "u": 3})
    taught = run.tracker.timings()
    assert taught["p||rocky"].share == taught["p||ubuntu"].share == 0.5
    assert taught["p||rocky"].seconds == 40.0


@pytest.mark.parametrize(("later", "left"), [(0.0, 50.0), (30.0, 80.0), (None, None)])
def test_what_follows_a_stage_counts_for_the_time_that_is_left(later, left):
    tracker = Tracker(["a"], timings={"p||one": Timing(50.0)}, later=later)
    tracker.add_plan_line(play("p", ["a"], ["one"]))
    tracker.tick(0.0)
    assert tracker.remaining == left


def test_how_long_it_takes_is_not_told_before_the_plan_is_known():
    tracker = Tracker(["a"], timings={"p||one": Timing(5.0)})
    tracker.tick(0.0)
    assert tracker.remaining is None


@pytest.mark.parametrize(
    ("successes", "active_progress", "total", "expected"),
    [(2, 100, 5, 60), (0, 0, 0, 0), (0, 60, 12, 5), (3, 0, 3, 100), (0, 0, 4, 0), (1, 199, 3, 99)],
)
def test_overall_progress(successes, active_progress, total, expected):
    counts = Counts(total, success=successes, active_progress=active_progress)
    assert counts.progress == expected


@pytest.mark.parametrize(
    ("res", "message"),
    [
        ({"msg": "no"}, "no"),
        ({"msg": "non-zero return code", "stderr": "disk full"}, "non-zero return code: disk full"),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback"}, "MODULE FAILURE: Traceback"),
        ({"results": [{"msg": "fine"}, {"failed": True, "msg": "second"}]}, "second"),
        ({"msg": ["one", "two"]}, "one\ntwo"),
        ({"reason": "cannot include"}, "cannot include"),
        ({"stdout": "only this"}, "only this"),
        ({}, "failed without a message"),
    ],
)
def test_the_reason_is_found_wherever_a_module_puts_it(res, message):
    assert failure_text(res) == message


def test_texts_lose_colours_and_excess():
    assert readable("\x1b[0;31mred\x1b[0m\r\n") == "red"
    assert "more characters" in shortened("x" * 20_000)


def phased(uuid, hosts, *tasks):
    """Return a play of tasks that are (name, phase, action)."""
    line = play(uuid, hosts, [name for name, _, _ in tasks], strategy="free")
    for described, (_, phase, action) in zip(line["tasks"], tasks, strict=True):
        described |= {"phase": phase, "action": action, "role": "slurmd"}
    return line


PHASED = (
    ("Validating arguments against arg spec 'main'", "packages", "ansible.builtin.validate_argument_spec"),
    ("Install", "packages", "ansible.builtin.apt"),
    ("Record what was installed", "packages", "ansible.builtin.set_fact"),
    ("Require", "proving", "ai_infra.slurm.require"),
)


def test_people_are_told_phase_and_work_and_not_how_the_books_are_kept():
    run = Playing(["a"], phased("Prepare the nodes", ["a"], *PHASED))
    told = []
    for name, _, _ in PHASED:
        run.event("runner_on_start", "Prepare the nodes", name, "a")
        (change,) = run.tracker.take_changes()
        told.append((change.phase, change.step))
    assert told == [("packages", "Install")] * 3 + [("proving", "Prepare the nodes")]
    run.ok("Prepare the nodes", "Require", "a")
    run.stats(ok={"a": 4})
    (change,) = run.tracker.take_changes()
    assert (change.phase, change.step) == ("", "done")


def test_a_task_that_no_plan_holds_leaves_the_phase():
    run = Playing(["a"], phased("p", ["a"], *PHASED))
    run.event("runner_on_start", "p", "Install", "a")
    run.event("runner_on_start", "p", "included", "a", task_action="ansible.builtin.command")
    run.event("runner_on_start", "p", "remember", "a", task_action="ansible.builtin.set_fact")
    (change,) = run.tracker.take_changes()
    assert (change.phase, change.step) == ("packages", "included")


def test_a_run_that_nothing_was_learned_for_goes_by_the_usual_times_of_its_phases(monkeypatch):
    monkeypatch.setattr(task_weights, "_SECONDS", {"packages": 10.0})
    monkeypatch.setattr(task_weights, "_BOOKKEEPING_SECONDS", 0.1)
    run = Playing(["a"], phased("p", ["a"], *PHASED))
    run.event("runner_on_start", "p", "Install", "a", at=100.0)
    # 0.1 + 10 + 0.1 + 0.1 seconds
    assert run.tracker.nodes["a"].progress == 0
    run.tracker.tick(105.0)
    assert run.tracker.nodes["a"].progress == 48
    assert run.tracker.remaining is None
    assert run.ok("p", "Install", "a", at=120.0) == {"a": 97}


def test_a_stage_is_a_part_of_the_way_and_a_node_that_is_through_it_waits():
    stage = Stage("register", "register.yml", 70, 80)
    run = Playing(["a", "b"], play("work", ["a", "b"], ["s", "t"]), stage=stage)
    run.play("work")
    assert run.ok("work", "s", "a")["a"] == 70
    run.failed("work", "t", "b", why="no room")
    assert 70 < run.ok("work", "t", "a")["a"] < 80
    run.stats(failures={"b": 1})
    changes = {change.node: change for change in run.tracker.take_changes()}
    assert (changes["a"].status, changes["a"].progress, changes["a"].completed_at) == (TaskStatus.PENDING, 80, None)
    assert (changes["b"].status, changes["b"].error.reason) == (TaskStatus.FAILED, "no room")
    assert changes["b"].completed_at


def test_after_the_last_stage_a_node_is_done():
    last = Playing(["a"], play("work", ["a"], ["s"]), stage=Stage("start", "start.yml", 80, 100))
    last.play("work")
    last.ok("work", "s", "a")
    last.stats()
    (change,) = last.tracker.take_changes()
    assert (change.status, change.progress) == (TaskStatus.COMPLETED, 100)


def test_the_stages_of_an_operation_make_the_whole_way():
    for definition in DEFINITIONS.values():
        borders = [(stage.begins, stage.ends) for stage in definition.stages]
        assert borders in ([], sorted(borders))
        assert [begins for begins, _ in borders[1:]] == [ends for _, ends in borders[:-1]]
        assert not borders or (borders[0][0], borders[-1][1]) == (0, 100)


def test_a_run_that_only_looks_does_not_wait_for_phases_that_it_does_not_reach():
    tasks = (("probe", "checking", "ai_infra.slurm.slurm_node_probe"), ("plan", "checking", "ai_infra.slurm.node_plan"))
    run = Playing(["a"], phased("p", ["a"], *tasks, *PHASED), changes=False)
    run.event("runner_on_start", "p", "probe", "a", at=0.0)
    run.ok("p", "probe", "a", at=1.0)
    assert run.tracker.nodes["a"].progress == 49
    run.event("runner_on_start", "p", "plan", "a", at=1.0)
    run.ok("p", "plan", "a", at=2.0)
    assert run.tracker.nodes["a"].progress == 99
