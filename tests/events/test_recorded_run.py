"""The recorded run gets the right answers, whatever is known of its plan, and whatever was timings before."""

from __future__ import annotations

import pytest
from slurmscale.models import Failure, Timing
from slurmscale.progress.events import Kind, parse
from slurmscale.progress.task_plan import TaskPlan
from slurmscale.progress.tracker import Tracker
from slurmscale.states import ACTIVE, TaskStatus

NODES = ("a", "b", "c", "dead")


def replay(events, plan=(), *, late=(), timings=None, nodes=NODES):
    """Return the tracker after all events, and every progress value each node ever had."""
    tracker = Tracker(nodes, timings)
    for line in plan:
        tracker.add_plan_line(line)
    late = list(late)
    seen = {node: [0] for node in nodes}
    for raw in events:
        if late and raw["event"] == "playbook_on_play_start":
            tracker.add_plan_line(late.pop(0))
        tracker.handle(parse(raw))
        for change in tracker.take_changes():
            seen[change.node].append(change.progress)
    return tracker, seen


def outline(lines):
    """Turn recorded play lines into the outline that the callback writes first."""
    plays = {line["puuid"].partition("_")[0]: line for line in reversed(lines)}
    ordered = dict.fromkeys(line["puuid"].partition("_")[0] for line in lines)
    return {"kind": "outline", "plays": [plays[uuid] | {"puuid": uuid} for uuid in ordered]}


@pytest.mark.parametrize("how", ["all lines first", "a line per play", "outline", "nothing"])
def test_every_node_ends_as_it_really_did(recorded, recorded_plan, how):
    arguments = {
        "all lines first": {"plan": recorded_plan},
        "a line per play": {"late": recorded_plan},
        "outline": {"plan": [outline(recorded_plan)], "late": recorded_plan},
        "nothing": {},
    }[how]
    tracker, _ = replay(recorded, **arguments)
    nodes = tracker.nodes
    assert {name: node.status for name, node in nodes.items()} == dict.fromkeys(NODES, TaskStatus.FAILED)
    assert (nodes["a"].step, nodes["a"].error.code) == ("hard fail a", "task-failed")
    assert (nodes["c"].step, nodes["c"].error.reason) == ("x1", "non-zero return code")
    assert nodes["dead"].error.code == "host-unreachable"
    assert "Connection refused" in nodes["dead"].error.reason
    assert nodes["b"].error.code == "run-stopped"
    assert tracker.finished


def test_progress_never_goes_back_and_failed_nodes_never_show_100(recorded, recorded_plan):
    _, seen = replay(recorded, recorded_plan)
    for values in seen.values():
        assert values == sorted(values)
        assert max(values) < 100
    assert len(set(seen["c"])) >= 8


def test_a_rescued_failure_is_taken_back_as_soon_as_the_rescue_works(recorded, recorded_plan):
    tracker = Tracker(NODES)
    for line in recorded_plan:
        tracker.add_plan_line(line)
    pending = {}
    for raw in recorded:
        event = parse(raw)
        tracker.handle(event)
        if event.host == "c" and event.kind is Kind.RESULT:
            pending[event.task] = tracker.nodes["c"].pending_failure
    assert pending["in block fails on c"]
    assert pending["in rescue"] is None
    assert pending["last"] is None


def test_an_ignored_failure_is_none(recorded, recorded_plan):
    tracker = Tracker(NODES)
    for line in recorded_plan:
        tracker.add_plan_line(line)
    for raw in recorded:
        event = parse(raw)
        tracker.handle(event)
        if event.task == "ignored" and event.kind is Kind.RESULT:
            assert tracker.nodes[event.host].pending_failure is None


def test_a_node_that_is_out_is_reported_when_the_next_play_begins_not_at_the_end(recorded, recorded_plan):
    tracker = Tracker(NODES)
    for line in recorded_plan:
        tracker.add_plan_line(line)
    for raw in recorded:
        event = parse(raw)
        tracker.handle(event)
        if event.play == "P2 free" and event.kind is Kind.PLAY_START:
            assert tracker.nodes["dead"].status is TaskStatus.FAILED
            assert tracker.nodes["a"].status is TaskStatus.FAILED
            assert tracker.nodes["b"].status in ACTIVE
            return
    pytest.fail("the second play never began")


def test_a_run_cut_off_anywhere_leaves_no_node_active(recorded, recorded_plan):
    for length in range(0, len(recorded) - 1, 7):
        tracker, _ = replay(recorded[:length], recorded_plan)
        tracker.abort(Failure("run-cancelled", "It was cancelled."), 1.0)
        assert all(node.status is TaskStatus.FAILED for node in tracker.nodes.values())
        assert all(node.error for node in tracker.nodes.values())
        assert tracker.counts().active == 0


def test_learned_weights_move_the_bar_by_time_not_by_count(recorded_plan):
    plan = TaskPlan({"P1 linear||async": Timing(90.0), "P1 linear||ping": Timing(10.0)})
    for line in recorded_plan:
        plan.add(line)
    names = [task.name for task in plan.tasks]
    position = names.index("async")
    before, after = plan.percent(10.0, position, 0), plan.percent(10.0, position, 1.0)
    assert after - before > 80


def test_a_run_teaches_how_long_its_tasks_take(recorded, recorded_plan):
    tracker, _ = replay(recorded, recorded_plan)
    seconds = tracker.timings()
    assert seconds["P1 linear||async"].seconds > 2
    assert seconds["P1 linear||skipme on b"].seconds < 0.5
    assert max(seconds, key=seconds.get) == "P1 linear||async"


def test_counts_agree_with_the_nodes_after_every_event(recorded, recorded_plan):
    tracker = Tracker(NODES)
    for line in recorded_plan:
        tracker.add_plan_line(line)
    for raw in recorded:
        tracker.handle(parse(raw))
        counts = tracker.counts()
        active = [node for node in tracker.nodes.values() if node.status in ACTIVE]
        assert counts.active == len(active)
        assert counts.active_progress == sum(node.progress for node in active)
        assert counts.active + counts.success + counts.failed == counts.total
