"""Properties that hold for every run, generated: any playbook shape, any outcome, any interleaving of hosts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from slurmscale.models import Failure, Timing
from slurmscale.progress.events import parse
from slurmscale.progress.tracker import Tracker
from slurmscale.states import ACTIVE, TaskStatus

STRATEGIES = ("linear", "free", "host_pinned", "")


def one_task(draw, events, play, host, task):
    """Append the events of a task on a host, and return how it ended."""
    unknown = draw(st.integers(0, 9)) == 0
    data = {"host": host, "task": task["name"], "play_uuid": play["puuid"], "play": play["play"]}
    data["task_uuid"] = "included" if unknown else task["uuid"]
    outcome = draw(st.sampled_from(["ok"] * 8 + ["skipped", "failed", "ignored", "unreachable", "rescued"]))
    events.append({"event": "playbook_on_task_start", "event_data": {k: data[k] for k in data if k != "host"}})
    events.append({"event": "runner_on_start", "event_data": data})
    name = {"ignored": "failed", "rescued": "failed"}.get(outcome, outcome)
    result = dict(data, res={"msg": "why"}, ignore_errors=outcome == "ignored")
    events.append({"event": f"runner_on_{name}", "event_data": result})
    return outcome


@st.composite
def runs(draw):
    """Generate a plan, the events of a run of it in any order that Ansible may emit, and what is timings already."""
    hosts = [f"n{number}" for number in range(draw(st.integers(1, 5)))]
    plan, events, dead, failed = [], [], set(), set()
    for play_number in range(draw(st.integers(1, 4))):
        members = draw(st.sampled_from([hosts, hosts[:1], ["controller"]]))
        sections = draw(
            st.lists(st.sampled_from(["block", "block", "rescue", "always", "meta"]), min_size=1, max_size=6)
        )
        tasks = [
            {"uuid": f"t{play_number}-{n}", "name": f"task {n}", "role": None, "sec": "block" if s == "meta" else s}
            | ({"meta": "end_host"} if s == "meta" else {})
            for n, s in enumerate(sections)
        ]
        play = {
            "kind": "play", "play": f"p{play_number}", "puuid": f"play{play_number}", "hosts": members,
            "strategy": draw(st.sampled_from(STRATEGIES)), "tasks": tasks,
        }  # fmt: skip
        plan.append(play)
        events.append({"event": "playbook_on_play_start", "event_data": {"play_uuid": play["puuid"]}})
        queues = {host: list(tasks) for host in members if host not in dead | failed}
        while any(queues.values()):
            host = draw(st.sampled_from([name for name, queue in queues.items() if queue]))
            outcome = one_task(draw, events, play, host, queues[host].pop(0))
            if outcome in ("failed", "unreachable"):
                (dead if outcome == "unreachable" else failed).add(host)
                queues[host] = []
    stats = {"failures": dict.fromkeys(failed, 1), "dark": dict.fromkeys(dead, 1), "ok": dict.fromkeys(hosts, 1)}
    if draw(st.booleans()):
        events.append({"event": "playbook_on_stats", "event_data": stats})
    timings = draw(
        st.sampled_from([{}, {"p0||task 0": Timing(50.0), "p1||task 1": Timing(1, 0.5)}, {"p0||task 0": Timing(0.0)}])
    )
    return hosts, plan, events, timings, stats


@settings(max_examples=300, deadline=None)
@given(runs(), st.sampled_from(["first", "as it goes", "never"]))
def test_progress_rises_stays_in_range_and_settles(run, plan_comes):
    hosts, plan, events, timings, stats = run
    tracker = Tracker(hosts, timings)
    late = list(plan) if plan_comes == "as it goes" else []
    for line in plan if plan_comes == "first" else ():
        tracker.add_plan_line(line)
    last = dict.fromkeys(hosts, 0)
    for second, raw in enumerate(events):
        if late and raw["event"] == "playbook_on_play_start":
            tracker.add_plan_line(late.pop(0))
        tracker.handle(parse(raw | {"counter": second}, now=float(second + 1)))
        tracker.tick(second + 1.5)
        for change in tracker.take_changes():
            assert last[change.node] <= change.progress <= 100
            assert (change.progress == 100) == (change.status is TaskStatus.COMPLETED)
            last[change.node] = change.progress
        counts = tracker.counts()
        assert counts.active_progress == sum(n.progress for n in tracker.nodes.values() if n.status in ACTIVE)
    if not tracker.finished:
        tracker.abort(Failure("run-interrupted", "It was interrupted."), 1e6)
    for node in tracker.nodes.values():
        assert node.status in (TaskStatus.COMPLETED, TaskStatus.FAILED)
        assert node.error if node.status is TaskStatus.FAILED else node.error is None
        if events[-1]["event"] == "playbook_on_stats" and node.name in stats["failures"] | stats["dark"]:
            assert node.status is TaskStatus.FAILED


@settings(max_examples=100, deadline=None)
@given(st.permutations(["a", "b", "c"]), st.integers(1, 12))
def test_without_any_failure_every_node_is_done_in_any_order(order, tasks):
    plan = {
        "puuid": "p", "play": "p", "hosts": ["a", "b", "c"], "strategy": "linear",
        "tasks": [{"uuid": str(n), "name": str(n), "role": None, "sec": "block"} for n in range(tasks)],
    }  # fmt: skip
    tracker = Tracker(order)
    tracker.add_plan_line(plan)
    tracker.handle(parse({"event": "playbook_on_play_start", "event_data": {"play_uuid": "p"}}))
    for number in range(tasks):
        for host in order:
            data = {"host": host, "task_uuid": str(number), "play_uuid": "p", "task": str(number)}
            tracker.handle(parse({"event": "runner_on_ok", "event_data": data}))
    tracker.handle(parse({"event": "playbook_on_stats", "event_data": {"ok": dict.fromkeys(order, tasks)}}))
    assert all(node.status is TaskStatus.COMPLETED and node.progress == 100 for node in tracker.nodes.values())
