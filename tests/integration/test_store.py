"""The store does the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fakes.waiting import wait_for
from slurmscale.errors import NotFoundError, OverlapError, RunLostError, StoreError, StoreUnavailableError
from slurmscale.models import Cluster, Counts, Failure, LogLine, Run, SlurmJob, TaskChange, Timing
from slurmscale.operations import Operation
from slurmscale.runner.processes import owner
from slurmscale.runs.recovery import keep_result, record_kept_results, recover
from slurmscale.scaling_status import read_status
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store.jobs import JobRecords
from slurmscale.store.repository import Store
from slurmscale.store.tables import (
    error_columns,
    metadata,
    row_of_change,
    row_of_counts,
    row_of_log_line,
    row_of_run,
    runs,
)
from slurmscale.store.writer import Writer
from sqlalchemy import insert, text
from structlog.testing import capture_logs


def a_run(name="r1", nodes=("n1", "n2", "n3", "n4", "n5"), *, cluster="lab", created=None, **more):
    values = {"status": RunStatus.PENDING} | owner() | more
    created = time.time() if created is None else created
    counts = Counts(total=len(nodes), active=len(nodes))
    return Run(name, cluster, Operation.SCALE_UP, nodes=tuple(nodes), counts=counts, created_at=created, **values)


def change(node, status, progress, error=None, updated=None):
    updated = time.time() if updated is None else updated
    return TaskChange(node, status, progress, "checking", "step", error, updated, updated)


def record(store, run_id, ids, changes):
    """Write the state of nodes as a live run does."""
    tasks = {task.node: (task.status, task.progress) for task in store.tasks(run_id)}
    tasks |= {c.node: (c.status, c.progress) for c in changes}
    active = [progress for status, progress in tasks.values() if status in ("pending", "running")]
    success = sum(status == "completed" for status, _ in tasks.values())
    writer = Writer(store, store.run(run_id), ids)
    writer.put(
        changes, counts=Counts(len(tasks), len(active), success, len(tasks) - len(active) - success, sum(active))
    )
    writer.close()


def test_a_run_comes_back_as_it_was_recorded(store):
    run = a_run(variables={"duration": 1}, secret_names=("ansible_password",), forks=7, check=True)
    ids = store.create_run(run)
    found = store.run("r1")
    assert (found.nodes, found.variables, found.secret_names) == (run.nodes, run.variables, run.secret_names)
    assert (found.forks, found.check, found.status, found.counts) == (7, True, RunStatus.PENDING, run.counts)
    tasks = store.tasks("r1")
    assert [task.node for task in tasks] == list(run.nodes)
    assert {task.node: task.id for task in tasks} == ids
    assert {task.task_type for task in tasks} == {"slurm-node"}
    assert all(task.status is TaskStatus.PENDING and task.progress == 0 and task.active for task in tasks)


def test_the_example_of_the_requirements_gives_60(store):
    ids = store.create_run(a_run())
    record(store, "r1", ids, [
        change("n1", TaskStatus.COMPLETED, 100), change("n2", TaskStatus.COMPLETED, 100),
        change("n3", TaskStatus.RUNNING, 50), change("n4", TaskStatus.RUNNING, 50),
    ])  # fmt: skip
    status = read_status(store).status()
    assert (status.progress, status.active, status.active_tasks) == (60, True, 3)
    assert (status.success_nodes, status.failed_nodes) == (2, 0)


def test_tasks_are_counted_also_when_their_operation_is_not_among_the_newest(store):
    now = time.time()
    for number in range(12):
        ids = store.create_run(a_run(f"r{number:02}", ("n",), cluster=f"c{number}", created=now - 1000 + number))
        if number < 2:
            record(store, f"r{number:02}", ids, [change("n", TaskStatus.RUNNING, 30)])
        else:
            store.end_run(store.run(f"r{number:02}"), RunStatus.FAILED, Failure("run-interrupted", "why"))
    status = read_status(store).status()
    assert (status.active, status.active_tasks, status.failed_nodes) == (True, 2, 10)
    assert status.progress == 60 // 12
    assert [view.id for view in status.recent_operations] == ["r11", "r10", "r09", "r08", "r07"]
    assert {view.id for view in status.active_operations} == {"r00", "r01"}


def test_the_window_leaves_out_old_runs_but_never_active_ones(store):
    now = time.time()
    store.create_run(a_run("old", ("n1",), created=now - 90_000))
    store.end_run(store.run("old"), RunStatus.FAILED, Failure("run-interrupted", "why"))
    store.create_run(a_run("long", ("n2",), created=now - 90_000))
    status = read_status(store).status()
    assert (status.failed_nodes, status.active_tasks) == (0, 1)
    assert read_status(store, window=100_000).status().failed_nodes == 1


def test_what_only_looks_is_shown_and_fails_no_node(store):
    for name, operation, check in (
        ("check", Operation.CHECK, False), ("repair", Operation.REPAIR_TEST, False), ("dry", Operation.SCALE_UP, True),
        ("up", Operation.SCALE_UP, False),
    ):  # fmt: skip
        run = dataclasses.replace(a_run(name, ("n1",), cluster=name), operation=operation, check=check)
        store.create_run(run)
        store.end_run(run, RunStatus.FAILED, Failure("no-sudo", f"n1 of {name} has no sudo."))
    status = read_status(store, recent=10).status()
    assert (status.failed_nodes, status.progress) == (1, 0)
    assert {view.id for view in status.recent_operations} == {"check", "repair", "dry", "up"}
    (group,) = next(view for view in status.recent_operations if view.id == "check").failures
    assert (group.code, group.nodes) == ("no-sudo", ["n1"])


def test_hosts_that_are_no_nodes_are_shown_and_counted_as_none(store):
    operations = (
        Operation.PUBLISH_APPHUB, Operation.SETUP_CONTROLLER, Operation.DISCOVER_CLUSTER, Operation.SUBMIT_JOB,
        Operation.CANCEL_JOB,
    )  # fmt: skip
    for operation in operations:
        run = dataclasses.replace(a_run(operation.value, ("h1",), cluster=operation.value), operation=operation)
        store.create_run(run)
    status = read_status(store).status()
    assert (len(status.active_operations), status.active_tasks) == (5, 0)
    for run in store.runs():
        store.end_run(run, RunStatus.FAILED, Failure("x", "y"))
    status = read_status(store).status()
    assert (status.failed_nodes, status.progress) == (0, 0)
    # jobs come by the hundred, and would leave nothing else to be seen
    assert {view.type for view in status.recent_operations} == {
        "publish-apphub", "setup-controller", "discover-cluster",
    }  # fmt: skip


def test_recent_operations_are_those_of_the_window(store):
    old = a_run("old", ("n1",), created=time.time() - 30 * 3600)
    store.create_run(old)
    store.end_run(old, RunStatus.FAILED, Failure("x", "y"))
    assert read_status(store).status().recent_operations == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_status_reads_the_names_of_nodes_of_the_shown_runs_only(store, url):
    names = [f"a-node-of-the-cluster-{number:05}" for number in range(3000)]
    with store.begin() as connection:
        for number in range(50):
            row = row_of_run(a_run(f"r{number:02}", names, status=RunStatus.COMPLETED))
            connection.execute(insert(runs).values(**row | row_of_counts(Counts(total=3000, success=3000))))
    store.close()
    again = Store(url)

    def bytes_read():
        told = dict(line.split(": ") for line in Path("/proc/thread-self/io").read_text().splitlines())
        return int(told["rchar"])

    before = bytes_read()
    status = read_status(again).status()
    read = bytes_read() - before
    again.close()
    assert (status.success_nodes, len(status.recent_operations)) == (50 * 3000, 5)
    assert read < 2 * 5 * len("\n".join(names))


def test_a_run_that_is_read_again_shares_its_names(store):
    store.create_run(a_run())
    assert store.run("r1").nodes is store.runs()[0].nodes


def test_a_run_is_found_by_the_beginning_of_its_id_or_of_its_last_part(store):
    for number, name in enumerate(("20260101-120000-a1b2c3", "20260101-120000-a1ff00", "20260102-120000-c3a1b2")):
        store.create_run(a_run(name, (f"n{number}",)))
    assert store.runs_like("20260102") == ["20260102-120000-c3a1b2"]
    assert store.runs_like("a1b") == ["20260101-120000-a1b2c3"]
    assert store.runs_like("20260101-120000-a1ff00") == ["20260101-120000-a1ff00"]
    assert len(store.runs_like("20260101")) == 2
    assert store.runs_like("120000") == store.runs_like("%") == store.runs_like("2026_") == []


def test_deleted_runs_take_their_records_along_and_those_at_work_stay(store):
    old = time.time() - 100 * 86400
    for name, ended in (("ended", True), ("at-work", False)):
        run = a_run(name, (f"n-{name}",), created=old)
        store.create_run(run)
        store.record(run, lines=[a_line_row("text", f"n-{name}", name)], report={"kind": "readiness"})
        if ended:
            store.end_run(run, RunStatus.FAILED, Failure("x", "y"))
    assert store.delete_runs(time.time() - 90 * 86400) == 1
    assert [run.id for run in store.runs()] == ["at-work"]
    assert (store.tasks("ended"), store.log("ended", "n-ended"), store.report("ended")) == ([], [], None)
    assert (len(store.tasks("at-work")), store.report("at-work")) == (1, {"kind": "readiness"})


def test_a_silent_task_is_stalled_a_waiting_or_finished_one_is_not(store):
    now = time.time()
    ids = store.create_run(a_run(created=now - 5000))
    record(store, "r1", ids, [
        change("n1", TaskStatus.RUNNING, 40, updated=now - 700),
        change("n2", TaskStatus.RUNNING, 40, updated=now - 10),
        change("n3", TaskStatus.COMPLETED, 100, updated=now - 700),
    ])  # fmt: skip
    assert [task.node for task in read_status(store).status().stalled_tasks] == ["n1"]
    assert read_status(store, stalled_after=5).status().stalled_tasks[0].silent_seconds >= 700
    assert {task.node for task in read_status(store, stalled_after=5).status().stalled_tasks} == {"n1", "n2"}


def test_an_overlapping_run_is_refused_with_the_id_of_the_other(store):
    store.create_run(a_run("r1", ("n1", "n2")))
    with pytest.raises(OverlapError) as refused:
        store.create_run(a_run("r2", ("n2", "n3")))
    assert (refused.value.run_id, refused.value.nodes) == ("r1", ("n2",))
    assert "cancel r1" in str(refused.value)
    assert [run.id for run in store.runs()] == ["r1"]
    store.create_run(a_run("r3", ("n3",)))
    store.create_run(a_run("r4", ("n1",), cluster="another"))
    store.end_run(store.run("r1"), RunStatus.CANCELLED, Failure("run-interrupted", "cancelled"))
    store.create_run(a_run("r5", ("n1", "n2")))


def test_of_many_runs_that_want_a_node_at_the_same_moment_one_gets_it(store):
    outcomes = []

    def claim(number):
        try:
            store.create_run(a_run(f"r{number}", ("n1", "n2")))
            outcomes.append("claimed")
        except OverlapError:
            outcomes.append("refused")

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["claimed", *["refused"] * 7]
    assert len(store.runs()) == 1


def test_ending_a_run_from_outside_fails_its_active_tasks_with_the_reason(store):
    ids = store.create_run(a_run())
    record(store, "r1", ids, [change("n1", TaskStatus.COMPLETED, 100), change("n2", TaskStatus.RUNNING, 20)])
    store.end_run(store.run("r1"), RunStatus.INTERRUPTED, Failure("run-interrupted", "gone"))
    tasks = {task.node: task for task in store.tasks("r1")}
    assert tasks["n1"].succeeded
    assert tasks["n2"].failed
    assert tasks["n2"].error == tasks["n3"].error == ("run-interrupted", "gone", "")
    run = store.run("r1")
    assert (run.status, run.counts) == (RunStatus.INTERRUPTED, Counts(5, 0, 1, 4, 0))
    assert run.error == tasks["n2"].error


def test_each_node_has_its_whole_log(store):
    ids = store.create_run(a_run())
    writer = Writer(store, store.run("r1"), ids)
    for counter in range(3000):
        node = f"n{counter % 5 + 1}"
        writer.put(lines=[a_line(f"line {counter}", node, counter)])
    writer.close()
    log = store.log("r1", "n3")
    assert [line.counter for line in log] == list(range(2, 3000, 5))
    assert store.log("r1", "n3", after=log[-2].id) == log[-1:]
    assert store.log("r1") == []


def test_the_end_of_a_log_is_read_and_a_text_is_found_in_it(store):
    ids = store.create_run(a_run())
    writer = Writer(store, store.run("r1"), ids)
    writer.put(lines=[a_line(text) for text in ("one", "100% Done", "100 done", "last")])
    writer.close()
    lines = store.log("r1", "n1")
    assert [line.text for line in store.log("r1", "n1", before=2**53, limit=2)] == ["100 done", "last"]
    assert store.log("r1", "n1", before=lines[2].id, limit=1) == lines[1:2]
    assert [line.text for line in store.log("r1", "n1", containing="DONE")] == ["100% Done", "100 done"]
    assert [line.text for line in store.log("r1", "n1", containing="100%")] == ["100% Done"]


def test_what_the_database_refuses_at_the_end_of_a_run_is_left_out_alone(store):
    ids = store.create_run(a_run("r1", ("n1",)))
    writer = Writer(store, store.run("r1"), ids)
    # no database takes half a character
    lines = [a_line("before"), a_line("half: \ud83d"), a_line("after")]
    writer.put([change("n1", TaskStatus.COMPLETED, 100)], lines, Counts(1, 0, 1, 0, 0), report={"kind": "readiness"},
               status=RunStatus.COMPLETED)  # fmt: skip
    writer.close()
    assert (store.run("r1").status, store.tasks("r1")[0].status) == (RunStatus.COMPLETED, TaskStatus.COMPLETED)
    assert [line.text for line in store.log("r1", "n1")] == ["before", "after"]
    assert store.report("r1") == {"kind": "readiness"}


def test_status_changes_are_written_at_once(store, monkeypatch):
    monkeypatch.setattr("slurmscale.store.writer._INTERVAL", 600)
    ids = store.create_run(a_run())
    writer = Writer(store, store.run("r1"), ids)
    writer.put([change("n1", TaskStatus.COMPLETED, 100)], urgent=True)
    wait_for(lambda: store.tasks("r1")[0].status is TaskStatus.COMPLETED)
    writer.close()


def test_learned_seconds_are_the_median_of_the_latest_runs(store):
    for number, seconds in enumerate((1000.0, 10.0, 12.0, 11.0, 14.0, 13.0)):
        store.save_timings("scale_up.yml", f"r{number}", {"install": Timing(seconds, 0.5)})
        time.sleep(0.01)
    store.save_timings("scale_up.yml --check", "rx", {"install": Timing(1.0)})
    assert store.timings("scale_up.yml") == {"install": (12.0, 0.5)}
    assert store.timings("other") == {}


def test_clusters_are_kept_changed_and_forgotten(store):
    store.save_cluster(Cluster("lab", inventory="/a"))
    store.save_cluster(Cluster("lab", controller="ctl", apphub_urls=("http://a",), variables={"x": 1}))
    found = store.cluster("lab")
    assert (found.inventory, found.controller, found.apphub_urls, found.variables) == (
        None,
        "ctl",
        ("http://a",),
        {"x": 1},
    )
    store.remove_cluster("lab")
    with pytest.raises(NotFoundError, match="cluster add lab"):
        store.cluster("lab")


def test_of_many_processes_one_looks_at_a_cluster(store, url):
    for name in ("c1", "c2", "c3"):
        store.save_cluster(Cluster(name, controller="192.0.2.1", cluster_type="external", health="healthy"))
    store.save_cluster(Cluster("own", controller="192.0.2.1"))
    assert store.claim_looks(60, 8) == []
    with store.begin() as connection:
        connection.execute(text("UPDATE clusters SET updated_at = updated_at - 61"))
        connection.execute(text("UPDATE clusters SET updated_at = updated_at - 61 WHERE name = 'c2'"))
    assert store.claim_looks(60, 1) == ["c2"]
    others = [Store(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(lambda other: other.claim_looks(60, 8), others))
    assert sorted(name for names in claimed for name in names) == ["c1", "c3"]
    for other in others:
        other.close()
    store.record_look("c1", None)
    store.record_look("c1", {"version": "25.05"})
    store.record_look("gone", None)
    assert (store.cluster("c1").health, store.cluster("c1").info) == ("healthy", {"version": "25.05"})
    assert [one.name for one in store.clusters()] == ["c1", "c2", "c3", "own"]


def test_what_is_not_there_is_said_to_be_missing(store):
    with pytest.raises(NotFoundError, match="slurmscale runs"):
        store.run("nothing")
    with pytest.raises(NotFoundError, match="n9"):
        store.latest_task("n9")


def test_the_migrations_make_exactly_the_tables_of_the_schema(store):
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_opening_again_keeps_everything(store, url):
    store.create_run(a_run())
    again = Store(url)
    assert [run.id for run in again.runs()] == ["r1"]
    again.close()


def test_a_database_of_a_newer_version_is_refused(store, url):
    with store.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer"):
        Store(url)


def test_every_field_of_a_node_and_of_its_log_is_recorded(store):
    """A field that is added to the records needs no more than its column."""
    ids = store.create_run(a_run())
    full = TaskChange(
        "n1", TaskStatus.FAILED, 40, "packages", "install", Failure("job-failed", "It failed.", "Look."), 3.0, 1.0, 2.0
    )
    unset = [name for name in TaskChange.__dataclass_fields__ if getattr(full, name) == getattr(TaskChange(""), name)]
    assert unset == []
    writer = Writer(store, store.run("r1"), ids)
    writer.put([full], [a_line("x", counter=7)])
    writer.close()
    task = store.tasks("r1")[0]
    assert {name: getattr(task, name) for name in TaskChange.__dataclass_fields__} == dataclasses.asdict(full) | {
        "error": full.error
    }
    line = store.log("r1", "n1")[0]
    assert dataclasses.replace(line, id=0) == a_line("x", counter=7)
    assert line.id


def test_a_failed_transaction_leaves_nothing_behind(store):
    ids = store.create_run(a_run())
    row = {"b_id": ids["n1"], **row_of_change(TaskChange("n1", TaskStatus.COMPLETED, 100))}
    with pytest.raises(StoreError):
        store.record(store.run("r1"), [row], [a_line_row("x", run_id="no such run")])
    assert store.tasks("r1")[0].status is TaskStatus.PENDING


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_writer_that_is_locked_out_for_a_while_loses_nothing(store):
    ids = store.create_run(a_run())
    run = store.run("r1")
    with store.engine.connect() as blocker:
        blocker.exec_driver_sql("BEGIN IMMEDIATE")
        writer = Writer(store, run, ids)
        # who puts something in does not wait for the lock, which goes only after that
        for progress in range(100):
            writer.put([change("n1", TaskStatus.RUNNING, progress)], urgent=True)
        time.sleep(1)
        blocker.rollback()
    writer.close()
    assert store.tasks("r1")[0].progress == 99


def test_a_database_that_is_gone_is_given_up_at_the_end_with_an_error(store):
    ids = store.create_run(a_run())
    with store.begin() as connection:
        connection.execute(text("ALTER TABLE tasks RENAME TO elsewhere"))
    writer = Writer(store, store.run("r1"), ids, give_up=0.5)
    writer.put([change("n1", TaskStatus.COMPLETED, 100)])
    with pytest.raises(StoreError, match="Cannot write the database"):
        writer.close()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("sqlite:////proc/nowhere/store.db", "SLURMSCALE_DATA_DIR"),
        ("postgresql+psycopg://x@127.0.0.1:1/db", "SLURMSCALE_DATABASE_URL"),
        ("nonsense", "sqlite:///PATH"),
        ("postgresql+psycopg://x:hunter22@127.0.0.1:1/db", r"\*\*\*"),
    ],
)
def test_a_database_that_can_not_be_used_is_refused_with_a_remedy(bad, says):
    with pytest.raises(StoreError, match=says) as refused:
        Store(bad)
    assert "hunter22" not in str(refused.value)


def a_line(text, node="n1", counter=1):
    return LogLine(node=node, counter=counter, created_at=1.0, event="runner_on_ok", task="t", text=text)


def a_line_row(text, node="n1", run_id="r1"):
    return row_of_log_line(a_line(text, node), run_id)


def test_only_the_owner_of_a_run_at_work_writes_into_its_records(store):
    ids = store.create_run(a_run())
    own = store.run("r1")
    other = dataclasses.replace(own, owner_id="somebody else")
    row = {"b_id": ids["n1"], **row_of_change(TaskChange("n1", TaskStatus.RUNNING, 5, started_at=1.0))}
    with pytest.raises(RunLostError):
        store.record(other, [row], [a_line_row("x")], updated_at=1.0)
    with pytest.raises(RunLostError):
        store.cancel_requested(other)
    assert not store.end_run(other, RunStatus.FAILED, Failure("run-interrupted", "gone"))
    assert store.run("r1").status is RunStatus.PENDING
    store.record(own, [row])
    assert store.end_run(own, RunStatus.INTERRUPTED, Failure("run-interrupted", "gone"))
    with pytest.raises(RunLostError):
        store.record(own, [row | {"progress": 50}], [a_line_row("x")], status=RunStatus.COMPLETED)
    assert (store.run("r1").status, store.tasks("r1")[0].progress) == (RunStatus.INTERRUPTED, 5)
    assert store.log("r1", "n1") == []


def test_a_lease_goes_by_the_clock_of_the_database(store, monkeypatch):
    # the clock of this machine is an hour ahead, as the other's may be
    ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ahead)
    store.create_run(a_run())
    assert [expired for _, expired in store.active_runs()] == [False]
    run = store.run("r1")
    with store.begin() as connection:
        connection.execute(text("UPDATE runs SET lease_until = lease_until - 61"))
    assert [expired for _, expired in store.active_runs()] == [True]
    store.record(run)
    assert [expired for _, expired in store.active_runs()] == [False]
    assert not store.end_run(run, RunStatus.INTERRUPTED, Failure("run-interrupted", "gone"), only_if_expired=True)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_process_that_is_stopped_in_the_middle_of_a_write_holds_its_run_for_seconds_only(store, url):
    store.create_run(a_run())
    stopped = Store(url)

    def write_and_stop():
        with stopped.explained("write"), stopped.begin() as connection:
            connection.execute(text("UPDATE runs SET lease_until = lease_until - 61"))
            with ThreadPoolExecutor(1) as other:
                ended = other.submit(
                    store.end_run, store.run("r1"), RunStatus.INTERRUPTED, Failure("run-interrupted", "gone")
                )
                wait_for(ended.done, 15)
            assert ended.result()

    with pytest.raises(StoreUnavailableError):
        write_and_stop()
    stopped.close()


@pytest.mark.parametrize("odd", ["a\udce9b", "a\x00b\udce9"])
def test_one_odd_line_costs_no_other_record(store, odd):
    ids = store.create_run(a_run())
    failed = []
    writer = Writer(store, store.run("r1"), ids, on_failure=failed.append)
    with capture_logs() as logs:
        writer.put(
            [change("n1", TaskStatus.RUNNING, 30)],
            [a_line("first", counter=1), a_line(odd, counter=2), a_line("last", counter=3)],
            urgent=True,
        )
        writer.close()
    assert [line.text for line in store.log("r1", "n1")] == ["first", "last"]
    assert store.tasks("r1")[0].progress == 30
    assert failed == []
    assert [entry["count"] for entry in logs] == [1]


def test_a_writer_that_is_dead_says_so_and_blocks_nobody(store, monkeypatch):
    ids = store.create_run(a_run())
    failed = []
    writer = Writer(store, store.run("r1"), ids, on_failure=failed.append)
    monkeypatch.setattr(store, "record", lambda *_, **__: 1 / 0)
    # one that waited for it would do so until the test's own limit
    monkeypatch.setattr("slurmscale.store.writer._PATIENCE", 600)
    for counter in range(20):
        writer.put(lines=[a_line("x", counter=counter)] * 1000, urgent=True)
    with pytest.raises(StoreError, match="ZeroDivision"):
        writer.close()
    assert len(failed) == 1


def test_one_warning_tells_of_a_database_that_is_away_and_one_that_it_is_back(store, monkeypatch):
    ids = store.create_run(a_run())
    writer = Writer(store, store.run("r1"), ids)
    record = store.record
    monkeypatch.setattr("slurmscale.store.writer._RETRY_SECONDS", 0.01)

    def away(*_, **__):
        raise StoreUnavailableError("It does not answer.")

    with capture_logs() as logs:
        monkeypatch.setattr(store, "record", away)
        for progress in range(30):
            writer.put([change("n1", TaskStatus.RUNNING, progress)], [a_line("x")] * 1000, urgent=True)
            time.sleep(0.02)
        monkeypatch.setattr(store, "record", record)
        writer.close()
    assert ["again" in entry["event"] for entry in logs] == [False, True]
    assert store.tasks("r1")[0].progress == 29
    assert len(store.log("r1", "n1")) == 30_000


def test_a_machine_is_claimed_under_whatever_name_it_has(store):
    store.create_run(a_run("r1", ("n1", "n2"), cluster="by directory", claims=("10.0.0.1:22", "10.0.0.2:22")))
    with pytest.raises(OverlapError) as refused:
        store.create_run(a_run("r2", ("x", "y"), cluster="by file", claims=("10.0.0.3:22", "10.0.0.2:22")))
    assert (refused.value.run_id, refused.value.nodes) == ("r1", ("y",))
    store.create_run(a_run("r3", ("n1",), cluster="by directory", claims=("10.0.0.9:22",)))


def ended_while_away(store, tmp_path, monkeypatch):
    ids = store.create_run(a_run(nodes=("n1",)))
    run = store.run("r1")
    writer = Writer(store, run, ids, give_up=0.1)
    record = store.record

    def away(*_, **__):
        raise StoreUnavailableError("It does not answer.")

    monkeypatch.setattr(store, "record", away)
    writer.put([change("n1", TaskStatus.COMPLETED, 100)], [a_line("done")], Counts(1, 0, 1, 0, 0),
               status=RunStatus.COMPLETED, completed_at=5.0, **error_columns(None))  # fmt: skip
    with pytest.raises(StoreError):
        writer.close()
    monkeypatch.setattr(store, "record", record)
    return run, keep_result(run, writer.unwritten, tmp_path)


@pytest.mark.parametrize("meanwhile", ["at work", "called interrupted"])
def test_a_result_that_was_kept_is_recorded_when_the_database_is_back(store, tmp_path, monkeypatch, meanwhile):
    run, path = ended_while_away(store, tmp_path, monkeypatch)
    assert path.stat().st_mode & 0o777 == 0o600
    if meanwhile == "called interrupted":
        store.end_run(run, RunStatus.INTERRUPTED, Failure("run-interrupted", "gone"))
    recover(store, tmp_path)
    found = store.run("r1")
    assert (found.status, found.counts, found.completed_at) == (RunStatus.COMPLETED, Counts(1, 0, 1, 0, 0), 5.0)
    assert (found.error, store.tasks("r1")[0].error) == (None, None)
    assert store.tasks("r1")[0].progress == 100
    assert [line.text for line in store.log("r1", "n1")] == ["done"]
    assert not path.exists()
    store.create_run(a_run("r2", ("n1",)))


def test_a_kept_result_stays_until_the_database_is_back(store, tmp_path, monkeypatch):
    _, path = ended_while_away(store, tmp_path, monkeypatch)

    def away(*_, **__):
        raise StoreUnavailableError("It does not answer.")

    monkeypatch.setattr(store, "record_late", away)
    record_kept_results(store, tmp_path)
    assert path.exists()
    another = Store(f"sqlite:///{tmp_path / 'another.db'}")
    record_kept_results(another, tmp_path)
    another.close()
    assert path.exists()


def test_a_run_whose_process_can_not_be_seen_is_left_to_its_lease(store, tmp_path):
    """Another machine, another namespace of processes with the same host name, or a /proc that hides them."""
    store.create_run(a_run("r1", ("n1",), owner_machine="another", owner_pid=2**22, owner_ticks=5))
    assert recover(store, tmp_path) == []
    with store.begin() as connection:
        connection.execute(text("UPDATE runs SET lease_until = lease_until - 61"))
    assert [run.id for run in recover(store, tmp_path)] == ["r1"]
    assert store.run("r1").error.code == "run-interrupted"


def test_a_living_run_of_this_machine_stays_whatever_the_clock_says(store, tmp_path, monkeypatch):
    store.create_run(a_run("r1", ("n1",)))
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) + 3600)
    with store.begin() as connection:
        connection.execute(text("UPDATE runs SET lease_until = lease_until - 3600"))
    assert recover(store, tmp_path) == []
    with store.begin() as connection:
        connection.execute(text("UPDATE runs SET owner_ticks = owner_ticks + 1"))
    assert [run.id for run in recover(store, tmp_path)] == ["r1"]


def test_old_logs_and_timings_are_deleted_and_what_came_of_the_runs_stays(store):
    now = time.time()
    for name, created, ended in (("r1", now - 1000, True), ("old", now - 1000, False), ("new", now, True)):
        store.create_run(a_run(name, (name,), created=created))
        store.record(store.run(name), lines=[a_line_row("x", name, name)])
        if ended:
            store.end_run(store.run(name), RunStatus.FAILED, Failure("run-interrupted", "why"))
    store.save_timings("kind", "r1", {"install": Timing(1.0)})
    store.delete_logs(now - 500)
    assert [len(store.log(name, name)) for name in ("r1", "old", "new")] == [0, 1, 1]
    assert store.tasks("r1")[0].error.reason == "why"
    assert store.timings("kind") == {"install": (1.0, 1.0)}
    store.delete_logs(time.time() + 1)
    assert store.timings("kind") == {}


def test_jobs_are_found_by_our_id_its_beginning_and_by_slurms(store):
    records = JobRecords(store)
    jobs = [
        SlurmJob("20260101-120000-a1b2c3", "lab", "12", state="RUNNING", submitted_at=1),
        SlurmJob("20260101-120001-123456", "lab", "13", state="COMPLETED", submitted_at=2),
        SlurmJob("20260102-120000-a1ffff", "far", "12", state="PENDING", submitted_at=3),
    ]
    for job in jobs:
        records.add(job)
    assert records.newest() == jobs[::-1]
    assert records.newest(limit=1, cluster="lab") == [jobs[1]]
    assert records.like("20260101-120000-a1b2c3") == [jobs[0]]
    assert records.like("a1") == [jobs[2], jobs[0]]
    assert records.like("a1b") == [jobs[0]]
    assert records.like("12") == [jobs[2], jobs[0]]
    assert records.like("12", "lab") == [jobs[0]]
    assert records.like("%") == records.like("x") == []


def test_what_is_known_of_a_job_is_not_replaced_by_what_is_older(store):
    records = JobRecords(store)
    job = SlurmJob("j1", "lab", "12", state="RUNNING", asked_at=10)
    records.add(job)
    ended = dataclasses.replace(job, state="COMPLETED", exit_code="0:0", asked_at=20)
    records.update([ended])
    records.update([dataclasses.replace(job, asked_at=15)])
    assert records.newest() == [ended]
    lost = SlurmJob("j2", "lab", "13", state="RUNNING", lost=True)
    waiting = SlurmJob("j3", "lab", "14", state="PENDING")
    for one in (lost, waiting):
        records.add(one)
    assert records.live("lab") == [waiting]
    assert records.live("far") == []
