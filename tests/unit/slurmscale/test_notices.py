"""Pushed progress: nobody is waited for, nobody misses the end."""

from __future__ import annotations

import threading

from slurmscale.models import Counts, Notice, TaskChange
from slurmscale.runs.broadcast import Broadcaster
from slurmscale.states import RunStatus, TaskStatus


def notice(run="r", progress=0, status=RunStatus.RUNNING, **nodes):
    changes = tuple(TaskChange(n, TaskStatus.RUNNING, p) for n, p in nodes.items())
    return Notice(run, status, Counts(1, 1, active_progress=progress), changes)


def test_a_slow_subscriber_gets_one_merged_notice_with_the_newest_state_of_each_node():
    broadcaster = Broadcaster()
    with broadcaster.subscribe("r") as subscription:
        broadcaster.publish(notice(progress=1, a=1, b=1))
        broadcaster.publish(notice(progress=2, b=2))
        got = subscription.get(0)
        assert (got.progress, {change.node: change.progress for change in got.tasks}) == (2, {"a": 1, "b": 2})
        assert subscription.get(0) is None


def test_a_subscription_ends_with_its_run_and_sees_no_other():
    broadcaster = Broadcaster()
    subscription = broadcaster.subscribe("r")
    everything = broadcaster.subscribe()
    broadcaster.publish(notice("other", 5))
    broadcaster.publish(notice("r", 100, RunStatus.COMPLETED))
    assert [got.run_id for got in subscription] == ["r"]
    assert {everything.get(0).run_id, everything.get(0).run_id} == {"other", "r"}


def test_closing_wakes_whoever_waits():
    broadcaster = Broadcaster()
    subscription = broadcaster.subscribe()
    waiting = threading.Thread(target=subscription.get)
    waiting.start()
    subscription.close()
    waiting.join(5)
    assert not waiting.is_alive()
    broadcaster.publish(notice())
    assert subscription.get(0) is None
