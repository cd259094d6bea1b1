"""The end of each run that a user of the service asked for is audited once, whoever ended it, on each database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from fakes.waiting import wait_for
from integration.test_store import a_run
from integration.test_worker import SLOW, Site
from slurmscale.errors import StoreUnavailableError
from slurmscale.models import CANCELLED, Failure, TaskChange
from slurmscale.operations import Operation
from slurmscale.runner.processes import owner
from slurmscale.runs.recovery import keep_result, recover
from slurmscale.service.access.run_audit import auditing_ends
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store.audit import AuditTrail
from slurmscale.store.repository import Batch, Store
from slurmscale.store.tables import error_columns, row_of_change
from structlog.testing import capture_logs

KEYS = (b"k" * 32,)
LATE = Failure("nodes-failed", "1 node failed.")


@pytest.fixture
def gone():
    """The owner of what a process carried that was killed."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return owner() | {"owner_pid": process.pid, "owner_ticks": 1}


@pytest.fixture
def trail(store):
    return AuditTrail(store, KEYS)


def taken(store, gone, name="r1", *, operation=Operation.UPGRADE, requested_by="ann"):
    """Record a run that a process took up which is gone by now; returns it with the ids of its tasks."""
    nodes = (f"{name}-n1", f"{name}-n2")
    run = replace(a_run(name, nodes, queued=True, requested_by=requested_by), operation=operation)
    ids = store.create_run(run)
    return store.take(run, gone, "worker-a"), ids


def ends(trail):
    return [(row.run_id, row.action, row.status, row.details["status"]) for row in reversed(trail.entries(limit=200))]


def test_a_run_whose_process_was_killed_ends_in_the_trail_once(store, trail, gone, tmp_path):
    taken(store, gone)
    recover(store, tmp_path)
    trail.add_ends()
    trail.add_ends()
    (row,) = trail.entries(limit=10)
    assert (row.run_id, row.action, row.status, row.user_name) == ("r1", "upgrade-end", "failed", "ann")
    assert (row.source, row.resource, row.cluster, row.nodes) == ("worker-a", "run/r1", "lab", "r1-n1,r1-n2")
    assert row.details == {
        "status": "interrupted", "results": {"r1-n1": "run-interrupted", "r1-n2": "run-interrupted"},
    }  # fmt: skip
    assert trail.broken() is None


def test_a_cancelled_run_whose_process_was_killed_ends_in_the_trail_once(store, trail, gone, tmp_path):
    taken(store, gone, operation=Operation.SCALE_UP)
    assert not store.request_cancel("r1")
    recover(store, tmp_path)
    trail.add_ends()
    trail.add_ends()
    assert ends(trail) == [("r1", "scale-up-end", "failed", "cancelled")]


def test_what_is_cancelled_before_it_begins_ends_in_the_trail_once(store, trail):
    run = a_run(queued=True, requested_by="ann")
    store.create_run(run)
    assert store.end_run(run, RunStatus.CANCELLED, CANCELLED)
    trail.add_ends()
    assert ends(trail) == [("r1", "scale-up-end", "failed", "cancelled")]


def late(ids):
    """Return what a process could not record: one node was done, and one failed."""
    done = TaskChange("r1-n1", TaskStatus.COMPLETED, 100, "", "done")
    failed = TaskChange("r1-n2", TaskStatus.FAILED, 50, "", "install", Failure("disk-full", "It is full."))
    changes = [row_of_change(one) | {"b_id": ids[one.node]} for one in (done, failed)]
    values = {"status": "failed", "completed_at": time.time(), "active": 0, "success": 1, "failed": 1}
    return Batch(changes, [], {**values, **error_columns(LATE)}, None)


def test_a_result_that_another_process_records_late_ends_in_the_trail(store, trail, gone, tmp_path):
    run, ids = taken(store, gone)
    keep_result(run, late(ids), tmp_path)
    recover(store, tmp_path)
    trail.add_ends()
    assert ends(trail) == [("r1", "upgrade-end", "failed", "failed")]
    assert trail.entries(limit=1)[0].details["results"] == {"r1-n1": "completed", "r1-n2": "disk-full"}


def test_the_trail_tells_also_of_the_result_of_a_run_that_was_called_interrupted(store, trail, gone, tmp_path):
    run, ids = taken(store, gone)
    recover(store, tmp_path)
    trail.add_ends()
    keep_result(run, late(ids), tmp_path)
    recover(store, tmp_path)
    trail.add_ends()
    trail.add_ends()
    assert ends(trail) == [("r1", "upgrade-end", "failed", "interrupted"), ("r1", "upgrade-end", "failed", "failed")]


def test_nobody_asked_the_service_for_a_run_of_the_command(store, trail, gone, tmp_path):
    taken(store, gone, requested_by=None)
    recover(store, tmp_path)
    trail.add_ends()
    assert ends(trail) == []
    assert store.delete_runs(time.time() + 1) == 1


def test_a_run_is_not_deleted_before_its_end_is_in_the_trail(store, trail, gone, tmp_path):
    taken(store, gone)
    recover(store, tmp_path)
    assert store.delete_runs(time.time() + 1) == 0
    trail.add_ends()
    assert store.delete_runs(time.time() + 1) == 1
    assert ends(trail) == [("r1", "upgrade-end", "failed", "interrupted")]


def test_many_services_write_each_end_once(store, trail, gone, url, tmp_path):
    names = [f"r{number}" for number in range(10)]
    for name in names:
        taken(store, gone, name)
    recover(store, tmp_path)
    stores = [Store(url) for _ in range(4)]
    together = threading.Barrier(len(stores))

    def write(one):
        together.wait(30)
        AuditTrail(one, KEYS).add_ends()

    threads = [threading.Thread(target=write, args=[one]) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for one in stores:
        one.close()
    assert sorted(row[0] for row in ends(trail)) == names
    assert trail.broken() is None


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_two_services_write_the_end_of_a_cancelled_run_whose_worker_was_killed_once(
    config, url, inventory, project_dir, tmp_path
):
    work = SLOW.format(os.getpid() * 10_000 + 77)
    playbook = project_dir / "playbooks" / "scale_up.yml"
    playbook.write_text(playbook.read_text().replace("sleep {{ duration | default(0.3) }}", work))
    site = Site(config, url, inventory, tmp_path)
    try:
        other, _ = site.start("serve", "--port", "0")
        worker, _ = site.start("worker")
        run_id = site.ask(["n1", "n2"])
        wait_for(lambda: any(task["status"] == "running" for task in tasks(site, run_id)))
        worker.send_signal(signal.SIGKILL)
        site.client.post(f"/api/slurm/runs/{run_id}/cancel").raise_for_status()
        assert site.ended(run_id)["status"] == "cancelled"
        site.check_audited(run_id)
        # both of them look again, also while they stop
        other.terminate()
        assert other.wait(60) == 0
        site.check_audited(run_id)
    finally:
        site.close()


def tasks(site, run_id):
    return site.client.get(f"/api/slurm/runs/{run_id}/tasks").json()["items"]


def test_what_the_database_does_not_take_is_left_for_the_next_process(store, trail, gone, tmp_path, monkeypatch):
    taken(store, gone)
    recover(store, tmp_path)

    def away():
        raise StoreUnavailableError("It is away.")

    with capture_logs() as logs, monkeypatch.context() as patched:
        patched.setattr(trail, "add_ends", away)
        with auditing_ends(trail):
            pass
    assert {line["error"] for line in logs} == {"It is away."}
    assert ends(trail) == []
    with auditing_ends(trail):
        pass
    assert ends(trail) == [("r1", "upgrade-end", "failed", "interrupted")]
