"""A reader that resumes after any revision sees each change, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slurmscale.errors import NotFoundError, RunLostError, StoreError
from slurmscale.models import Counts, Failure, LogLine, Run, TaskChange
from slurmscale.operations import Operation
from slurmscale.runner.processes import owner
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store import engine
from slurmscale.store.logins import KeptLogin, Logins
from slurmscale.store.repository import Store
from slurmscale.store.tables import row_of_change, row_of_log_line
from sqlalchemy import event, insert, text
from sqlalchemy import table as a_table
from sqlalchemy.sql import column

NODES = ("n1", "n2", "n3", "n4")
INTERRUPTED = Failure("run-interrupted", "gone")


def a_run(name="r1"):
    counts = Counts(total=len(NODES), active=len(NODES))
    return Run(
        name, name, Operation.SCALE_UP, RunStatus.PENDING, NODES, counts, created_at=time.time(), **owner()
    )  # fmt: skip


def rows(ids, changes):
    return [
        {
            "b_id": ids[node],
            **row_of_change(TaskChange(node, TaskStatus.RUNNING, progress, "packages", "install", updated_at=1.0)),
        }
        for node, progress in changes.items()
    ]


class Reader:
    """Knows a run by what it was told, and nothing else."""

    def __init__(self, store, run_id):
        self.store = store
        self.run_id = run_id
        self.run = None
        self.tasks = {}

    def look(self):
        after = self.run.revision if self.run else 0
        self.run, changed = self.store.run_changes(self.run_id, after)
        assert all(after < task.revision <= self.run.revision for task in changed)
        self.tasks |= {task.node: task for task in changed}

    def knows_all(self):
        return self.run == self.store.run(self.run_id) and list(self.tasks.values()) == self.store.tasks(self.run_id)


CHANGES = st.dictionaries(st.sampled_from(NODES), st.integers(0, 100), max_size=4)
WRITES = st.one_of(
    st.tuples(st.just("record"), CHANGES),
    st.tuples(st.just("lines"), st.just({})),
    st.tuples(st.just("values"), st.just({})),
    st.tuples(st.just("cancel"), st.just({})),
    st.tuples(st.just("end"), st.just({})),
    st.tuples(st.just("late"), CHANGES),
)


def write(store, run, ids, kind, changes):
    """Do what a live run, whoever cancels it and whoever ends it do."""
    try:
        if kind == "record":
            store.record(run, rows(ids, changes))
        elif kind == "lines":
            store.record(run, lines=[row_of_log_line(LogLine("n1", 1, 1.0, "runner_on_ok", "t", "x"), run.id)])
        elif kind == "values":
            store.record(run, status=RunStatus.RUNNING, started_at=1.0)
        elif kind == "cancel":
            store.request_cancel(run.id)
        elif kind == "end":
            store.end_run(run, RunStatus.INTERRUPTED, INTERRUPTED)
        else:
            store.record_late(run, rows(ids, changes), [], status=RunStatus.COMPLETED)
    except RunLostError:
        # it has ended
        pass


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=st.lists(st.tuples(WRITES, st.booleans()), max_size=8))
def test_a_reader_that_resumes_anywhere_knows_all(store, writes):
    run = replace(a_run(f"r{len(store.runs())}"))
    ids = store.create_run(run)
    reader = Reader(store, run.id)
    for (kind, changes), looks in writes:
        before = store.run(run.id)
        write(store, run, ids, kind, changes)
        after = store.run(run.id)
        told = replace(after, revision=0, updated_at=0, lease_until=0)
        if told != replace(before, revision=0, updated_at=0, lease_until=0) or store.run_changes(run.id, 0)[1] == []:
            assert after.revision > before.revision
        if looks:
            reader.look()
    reader.look()
    # of a lease that is moved on nobody has to be told
    reader.run = replace(reader.run, lease_until=None)
    assert list(reader.tasks.values()) == store.tasks(run.id)
    assert reader.run == replace(store.run(run.id), lease_until=None)


def test_a_reader_beside_writers_misses_nothing(store):
    """The run's own process writes while another one cancels and, in the end, interrupts it."""
    run = a_run()
    ids = store.create_run(run)
    reader = Reader(store, run.id)

    def work():
        try:
            for progress in range(60):
                store.record(run, rows(ids, {NODES[progress % len(NODES)]: progress}))
        except RunLostError:
            return

    def interfere():
        for _ in range(10):
            store.request_cancel(run.id)
        store.end_run(run, RunStatus.INTERRUPTED, INTERRUPTED)

    threads = [threading.Thread(target=work), threading.Thread(target=interfere)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        reader.look()
    reader.look()
    assert reader.knows_all()
    assert reader.run.status is RunStatus.INTERRUPTED


def test_a_change_is_told_once_and_a_renewed_lease_not_at_all(store):
    run = a_run()
    ids = store.create_run(run)
    first, tasks = store.run_changes(run.id)
    assert [task.node for task in tasks] == list(NODES)
    store.record(run)
    assert store.run_changes(run.id, first.revision) == (store.run(run.id), [])
    assert store.run(run.id).revision == first.revision
    store.record(run, rows(ids, {"n2": 10}))
    second, tasks = store.run_changes(run.id, first.revision)
    assert [(task.node, task.progress, task.revision) for task in tasks] == [("n2", 10, second.revision)]
    assert store.run_changes(run.id, second.revision)[1] == []
    with pytest.raises(NotFoundError):
        store.run_changes("nothing")


def test_what_is_written_between_two_reads_belongs_to_the_next_step(store):
    run = a_run()
    ids = store.create_run(run)
    known = store.run(run.id)
    store.record(run, rows(ids, {"n1": 1}))

    reader, written = threading.get_ident(), []

    def write_between(_connection, _cursor, statement, *_):
        if threading.get_ident() == reader and "FROM runs" in statement and not written:
            written.append(rows(ids, {"n1": 2, "n2": 2}))
            other = threading.Thread(target=store.record, args=[run, *written])
            other.start()
            other.join()

    event.listen(store.engine, "after_cursor_execute", write_between)
    seen, tasks = store.run_changes(run.id, known.revision)
    assert [(task.node, task.progress) for task in tasks] == [("n1", 1)]
    _, tasks = store.run_changes(run.id, seen.revision)
    assert [(task.node, task.progress) for task in tasks] == [("n1", 2), ("n2", 2)]


def test_what_was_recorded_before_there_were_revisions_is_the_first(url, monkeypatch):
    monkeypatch.setattr(engine, "HEAD", "0002")
    old = Store(url)
    with old.begin() as connection:
        values = {
            "id": "r1", "cluster": "lab", "operation": "scale-up", "status": "completed", "nodes": "n1", "total": 1,
            "active": 0, "success": 1, "failed": 0, "active_progress": 0, "created_at": 1.0, "updated_at": 1.0,
            "forks": 1, "check_mode": False, "variables": "{}", "secret_names": "[]", "logins": "{}", "owner_id": "",
            "owner_host": "", "owner_machine": "", "owner_pid": 0, "owner_ticks": 0, "cancel_requested": False,
        }  # fmt: skip
        connection.execute(insert(a_table("runs", *map(column, values))).values(values))
        connection.execute(
            text(
                "INSERT INTO tasks (task_id, run_id, node, task_type, status, progress, phase, step, created_at,"
                " updated_at) VALUES ('r1:n1', 'r1', 'n1', 'slurm-node', 'completed', 100, '', 'done', 1, 1)"
            )
        )
    old.close()
    monkeypatch.undo()
    store = Store(url)
    run, tasks = store.run_changes("r1")
    assert (run.revision, run.attempt, run.queued, run.request) == (1, 0, False, {})
    assert [(task.node, task.revision) for task in tasks] == [("n1", 1)]
    with store.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(engine._SCRIPTS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    store.close()


def test_the_login_of_a_cluster_is_kept_when_credentials_get_ids(url, monkeypatch):
    monkeypatch.setattr(engine, "HEAD", "0012")
    old = Store(url)
    with old.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO clusters (name, apphub_urls, variables, login, cluster_type, config, host_keys, health,"
                " created_at, updated_at) VALUES ('lab', '[]', '{}', '{}', 'managed', '{}', '[]', '', 1, 1)"
            )
        )
        connection.execute(
            text("INSERT INTO credentials VALUES ('lab', 'ops', 'password,become_password', 'sealed', '', 2.0)")
        )
    old.close()
    monkeypatch.undo()
    store = Store(url)
    logins = Logins(store)
    (kept,) = logins.all()
    values = {"user": "ops", "kind": "password,become_password", "sealed": "sealed", "fingerprint": ""}
    assert kept == KeptLogin(kept.id, "lab", **values, for_cluster=True, updated_at=2.0)
    assert kept == logins.find("lab")
    other = logins.save(kept._replace(id="0" * 16, for_cluster=False))
    assert logins.find("lab") == kept
    with pytest.raises(StoreError), store.begin() as connection, store.explained("write"):
        # a cluster has no second one of its own
        connection.execute(text("UPDATE credentials SET for_cluster = true"))
    assert {one.id for one in logins.all()} == {kept.id, other.id}
    with store.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(engine._SCRIPTS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0012")
        assert connection.execute(text("SELECT cluster, sealed FROM credentials")).all() == [("lab", "sealed")]
    store.close()
