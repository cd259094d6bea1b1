"""Whoever listens is told of each change of a run, on SQLite within the process, on PostgreSQL in all processes."""

from __future__ import annotations

import queue
import time
from dataclasses import replace

import pytest
from slurmscale.errors import OverlapError
from slurmscale.models import Cluster, Counts, Failure, LogLine, Run, SlurmJob, TaskChange
from slurmscale.operations import Operation
from slurmscale.runner.processes import owner
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store.accounts import Token, Tokens, User, Users
from slurmscale.store.jobs import JobRecords
from slurmscale.store.notices import Change, Kind
from slurmscale.store.repository import Store
from slurmscale.store.tables import changed_run, changed_task, row_of_change, row_of_counts, row_of_log_line
from sqlalchemy import text

LIMIT = 30


def a_run(name="r1", cluster="lab", created=None, nodes=("n1",)):
    counts = Counts(total=len(nodes), active=len(nodes))
    created = time.time() if created is None else created
    return Run(name, cluster, Operation.SCALE_UP, RunStatus.PENDING, tuple(nodes), counts, created, **owner())


def listening(store, told):
    """Listen, and wait until PostgreSQL does."""
    context = store.notices.listen(told.put)
    context.__enter__()
    if store.engine.dialect.name == "postgresql":
        assert told.get(timeout=LIMIT) == Change(Kind.ANYTHING)
    return context


@pytest.fixture
def told(store):
    told = queue.Queue()
    context = listening(store, told)
    yield told
    context.__exit__(None, None, None)


def heard(told):
    """Return the next change of a run: its id, its revision, and whether more than that is told."""
    while (change := told.get(timeout=LIMIT)).kind is not Kind.RUN:
        pass
    return change.run_id, change.revision, change.values is not None


def test_each_change_is_told_and_what_was_written(store, told):
    run = a_run()
    ids = store.create_run(run)
    assert heard(told) == ("r1", 1, False)
    task = store.tasks("r1")[0]
    change = TaskChange("n1", TaskStatus.RUNNING, 10, "prepare", "packages", updated_at=1.0)
    store.record(run, [{"b_id": ids["n1"], **row_of_change(change)}], **row_of_counts(Counts(1, 1, 0, 0, 10)))
    written = told.get(timeout=LIMIT)
    assert (written.run_id, written.cluster, written.revision, written.lines) == ("r1", "lab", 2, False)
    # whoever knows the run before it knows it afterwards
    known, tasks = store.run_changes("r1", 1)
    assert [changed_task(task, 2, written.tasks[ids["n1"]])] == tasks
    assert changed_run(replace(known, updated_at=0.0, counts=Counts(1, 1)), 2, written.values) == known
    store.record(run, lines=[row_of_log_line(LogLine("n1", 1, 1.0, "runner_on_ok", "t", "x"), run.id)])
    assert told.get(timeout=LIMIT).lines
    store.request_cancel("r1")
    assert heard(told) == ("r1", 4, False)
    store.end_run(run, RunStatus.INTERRUPTED, Failure("run-interrupted", "gone"))
    assert heard(told) == ("r1", 5, False)


def test_of_what_is_too_much_for_a_notice_only_the_revision_is_told(store, told):
    run = a_run(nodes=[f"node{number}" for number in range(200)])
    ids = store.create_run(run)
    assert heard(told) == ("r1", 1, False)
    changes = [{"b_id": ids[node], **row_of_change(TaskChange(node, TaskStatus.RUNNING, 10))} for node in run.nodes]
    store.record(run, changes)
    # within a process there is no limit
    assert heard(told) == ("r1", 2, store.engine.dialect.name == "sqlite")


def test_what_else_viewers_look_at_is_told(store, told):
    users, tokens, jobs = Users(store), Tokens(store), JobRecords(store)
    user = users.add(User("u1", "ann", "viewer"))
    tokens.add(Token("t1", "u1", "token", "t", "digest", 1.0, time.time() + 60))
    assert told.empty()
    users.change("u1", disabled=True)
    assert told.get(timeout=LIMIT) == Change(Kind.ACCOUNTS)
    tokens.remove("t1")
    tokens.remove("t1")
    assert told.get(timeout=LIMIT) == Change(Kind.ACCOUNTS)
    users.remove(user.id)
    assert told.get(timeout=LIMIT) == Change(Kind.ACCOUNTS)
    store.save_cluster(Cluster("lab", controller="ctl"))
    assert told.get(timeout=LIMIT) == Change(Kind.CLUSTERS)
    store.remove_cluster("lab")
    assert told.get(timeout=LIMIT) == Change(Kind.CLUSTERS)
    jobs.add(SlurmJob("j1", "lab", "7"))
    assert told.get(timeout=LIMIT) == Change(Kind.JOBS)
    jobs.update([SlurmJob("j1", "lab", "7")])
    assert told.get(timeout=LIMIT) == Change(Kind.JOBS)


def test_what_another_version_sends_is_looked_for():
    for text_of_it in ("r1", "{}", "[]", '{"kind": "news", "tasks": {}}', '{"kind": "run", "tasks": {}, "more": 1}'):
        assert Change.of_text(text_of_it) == Change(Kind.ANYTHING)
    change = Change(Kind.RUN, "r1", "lab", 2, {"status": "running"}, {5: {"progress": 1}}, lines=False)
    assert Change.of_text(change.as_text()) == change


def test_what_was_rolled_back_is_not_told(store, told):
    store.create_run(a_run())
    assert heard(told)[0] == "r1"
    with pytest.raises(OverlapError):
        store.create_run(a_run("r2"))
    # nor that a lease goes on
    store.record(store.run("r1"))
    store.request_cancel("r1")
    assert heard(told)[0] == "r1"
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
    assert heard(told)[0] == "r1"
    with other.begin() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> 0")
        )
    # once it listens again: that something may have been missed
    assert told.get(timeout=LIMIT) == Change(Kind.ANYTHING)
    other.request_cancel("r1")
    assert heard(told)[0] == "r1"
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
