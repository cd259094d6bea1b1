"""Whoever listens is told of each change of a run, on SQLite within the process, on PostgreSQL in all processes."""

from __future__ import annotations

import queue
import time

import pytest
from slurmscale.errors import OverlapError
from slurmscale.models import Counts, Failure, LogLine, Run, TaskChange
from slurmscale.operations import Operation
from slurmscale.runner.processes import owner
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store.repository import Store
from slurmscale.store.tables import row_of_change, row_of_log_line
from sqlalchemy import text

LIMIT = 30


def a_run(name="r1", cluster="lab", created=None):
    counts = Counts(total=1, active=1)
    created = time.time() if created is None else created
    return Run(name, cluster, Operation.SCALE_UP, RunStatus.PENDING, ("n1",), counts, created, **owner())


def listening(store, told):
    """Listen, and wait until PostgreSQL does."""
    context = store.notices.listen(told.put)
    context.__enter__()
    deadline = time.monotonic() + LIMIT
    while store.engine.dialect.name == "postgresql":
        with store.begin() as connection:
            connection.execute(text("SELECT pg_notify('slurmscale', 'ready')"))
        try:
            assert told.get(timeout=0.2) == "ready"
        except queue.Empty:
            assert time.monotonic() < deadline
            continue
        break
    return context


@pytest.fixture
def told(store):
    told = queue.Queue()
    context = listening(store, told)
    yield told
    context.__exit__(None, None, None)


def heard(told):
    while (found := told.get(timeout=LIMIT)) == "ready":
        pass
    return found


def test_each_change_is_told(store, told):
    run = a_run()
    ids = store.create_run(run)
    assert heard(told) == "r1"
    change = TaskChange("n1", TaskStatus.RUNNING, 10, updated_at=1.0)
    store.record(run, [{"b_id": ids["n1"], **row_of_change(change)}])
    assert heard(told) == "r1"
    store.record(run, lines=[row_of_log_line(LogLine("n1", 1, 1.0, "runner_on_ok", "t", "x"), run.id)])
    assert heard(told) == "r1"
    store.request_cancel("r1")
    assert heard(told) == "r1"
    store.end_run(run, RunStatus.INTERRUPTED, Failure("run-interrupted", "gone"))
    assert heard(told) == "r1"
    store.record_late(run, [], [], status=RunStatus.COMPLETED)
    assert heard(told) == "r1"


def test_what_was_rolled_back_is_not_told(store, told):
    store.create_run(a_run())
    assert heard(told) == "r1"
    with pytest.raises(OverlapError):
        store.create_run(a_run("r2"))
    # nor that a lease goes on
    store.record(store.run("r1"))
    store.request_cancel("r1")
    assert heard(told) == "r1"
    assert told.empty()


def test_who_listens_no_more_is_told_no_more(store):
    told = queue.Queue()
    listening(store, told).__exit__(None, None, None)
    while not told.empty():
        told.get()
    store.create_run(a_run())
    assert told.empty()


def test_another_process_is_told_on_postgresql_also_after_the_connection_was_lost(store, told):
    if store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite tells no other process: who listens looks by himself")
    other = Store(store.engine.url.render_as_string(hide_password=False))
    run = a_run()
    other.create_run(run)
    assert heard(told) == "r1"
    with other.begin() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> 0")
        )
    deadline = time.monotonic() + LIMIT
    while told.empty():
        assert time.monotonic() < deadline
        other.request_cancel("r1")
        time.sleep(0.1)
    assert heard(told) == "r1"
    other.close()


def test_revisions_are_of_what_is_asked_for_what_is_at_work_and_what_is_new(store):
    for number, status in enumerate((RunStatus.COMPLETED, RunStatus.COMPLETED, RunStatus.RUNNING, RunStatus.FAILED)):
        run = a_run(f"r{number}", f"lab{number}", float(number))
        store.create_run(run)
        store.record(run, status=status)
    assert store.revisions() == {"r2": 2, "r3": 2}
    assert store.revisions(["r1", "nothing"]) == {"r1": 2, "r2": 2, "r3": 2}


def test_the_end_of_a_log_is_its_last_line(store):
    run = a_run()
    store.create_run(run)
    assert store.log_end("r1", "n1") == 0
    lines = [LogLine(node, 1, 1.0, "runner_on_ok", "t", "x") for node in ("n1", None, "n1", None)]
    store.record(run, lines=[row_of_log_line(line, run.id) for line in lines])
    assert store.log_end("r1", "n1") == store.log("r1", "n1")[-1].id
    assert store.log_end("r1") == store.log("r1")[-1].id
