"""A run that is too large for one worker: several share it, each in a process of its own, on one PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.shard_job import BAD, ShardJob, maker
from fakes.waiting import wait_for
from slurmscale.errors import OverlapError, RefusedError, RunLostError
from slurmscale.models import Cluster, RunOptions, Timing
from slurmscale.operations import Operation
from slurmscale.runner import processes
from slurmscale.scaling import Scaling
from slurmscale.states import RUN_ACTIVE, RunStatus, TaskStatus
from slurmscale.store.run_queue import RunQueue
from slurmscale.store.tables import claims, run_shards
from sqlalchemy import select, text

TESTS = Path(__file__).resolve().parents[1]
LAB = Cluster("lab", controller="10.0.0.1")
LIMIT = 90
WORKER = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
import structlog
from fakes.shard_job import maker
from slurmscale.runs import executor
from slurmscale.runs.queue_executor import QueueWorker
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from slurmscale.store.run_queue import RunQueue
# nobody reads more than the first line of the output
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
executor._LOOK_SECONDS = 0.5
config = Settings(data_dir=Path({data_dir!r}), project_dir=Path({project_dir!r}), database_url={url!r})
config = config.model_copy(update={{"lease_seconds": 20}})
scaling = Scaling(config, make_job=maker({folder!r}, {seconds}), make_queue=RunQueue)
worker = QueueWorker(scaling, scaling.queue, 1)
print("working", flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


class Site:
    """Who asks, and the workers."""

    def __init__(self, config, url, tmp_path):
        self._config = config.model_copy(update={"database_url": url, "lease_seconds": 20.0})
        for stage in Operation.SCALE_UP.definition.stages:
            (config.project_dir / "playbooks" / stage.playbook).write_text("[]")
        self.folder = tmp_path / "jobs"
        self.folder.mkdir()
        self.scaling = self.opened()
        self.workers = []

    def opened(self, make_job=None, **changes):
        config = self._config.model_copy(update=changes)
        return Scaling(config, make_job=make_job or maker(str(self.folder), 0.1), make_queue=RunQueue)

    def start(self, count, seconds):
        script = WORKER.format(
            path=[str(TESTS), str(TESTS.parent / "python_lib")], data_dir=str(self._config.data_dir), seconds=seconds,
            project_dir=str(self._config.project_dir), url=self._config.database_url, folder=str(self.folder),
        )  # fmt: skip
        started = [
            subprocess.Popen(
                [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                # how the database knows who it is
                env=os.environ | {"PGAPPNAME": f"worker {number}"},
            )
            for number in range(count)
        ]  # fmt: skip
        self.workers += started
        for worker in started:
            assert worker.stdout.readline()

    def ask(self, nodes):
        return self.scaling.request(Operation.SCALE_UP, LAB, nodes, requested_by="ann").id

    def jobs(self, stage=None):
        """Return what the jobs were started for, of one stage or of all."""
        found = [json.loads(path.read_text()) for path in sorted(self.folder.glob(f"{stage or ''}*"))]
        return found if stage else sorted(found, key=lambda job: job["stage"])

    def shards(self, run_id):
        with self.scaling.store.engine.connect() as connection:
            query = select(run_shards).where(run_shards.c.run_id == run_id).order_by(run_shards.c.number)
            return connection.execute(query).mappings().all()

    def run(self, run_id):
        return self.scaling.store.run(run_id)

    def watch(self, run_id):
        """Follow a run to its end; returns it, and the progress of each node as it was seen."""
        seen, revision = {}, 0
        while True:
            run, changed = self.scaling.store.run_changes(run_id, revision)
            revision = run.revision
            for task in changed:
                seen.setdefault(task.node, []).append(task.progress)
            if run.status not in RUN_ACTIVE:
                return run, seen
            time.sleep(0.1)

    def close(self):
        for worker in self.workers:
            worker.kill()
            worker.wait()
            worker.stdin.close()
            worker.stdout.close()
        self.scaling.close()


@pytest.fixture
def site(config, url, tmp_path):
    site = Site(config, url, tmp_path)
    yield site
    site.close()


def test_four_workers_share_a_thousand_nodes_and_one_of_them_is_lost(site):
    site.start(4, seconds=2)
    run_id = site.ask("n[0001-1000]")
    with pytest.raises(OverlapError):
        site.ask("n0500")
    first = wait_for(lambda: [shard for shard in site.shards(run_id) if shard["status"] == "running"])
    wait_for(lambda: len(site.jobs()) >= 4)
    assert [len(shard["nodes"].split("\n")) for shard in site.shards(run_id)] == [100] * 10
    lost = next(worker for worker in site.workers if worker.pid == first[0]["owner_pid"])
    lost.kill()
    lost.wait()
    run, seen = site.watch(run_id)
    assert (run.status, run.counts.success, run.counts.failed, run.counts.active) == (RunStatus.FAILED, 999, 1, 0)
    assert run.error_message == f"1 of 1000 nodes failed: {BAD}"
    # never backwards, whoever works on a node
    assert all(values == sorted(values) for values in seen.values())
    (failed,) = site.scaling.store.tasks(run_id, status=[TaskStatus.FAILED])
    assert (failed.node, failed.error_message) == (BAD, "its disk is full")
    assert (run.attempt, run.requested_by) == (2, "ann")
    assert f"/{lost.pid}" in run.explanation
    assert run.explanation.endswith("continues, attempt 2.")
    check_the_work(site, again=first[0]["nodes"].split("\n"))
    with site.scaling.store.engine.connect() as connection:
        assert connection.execute(select(claims)).all() == []


def check_the_work(site, again):
    """See to it that the nodes of the lost worker were worked on again, and no others; all were registered at once."""
    prepared = [node for job in site.jobs("prepare_nodes") for node in job["nodes"]]
    assert sorted({node for node in prepared if prepared.count(node) > 1}) == sorted(again)
    (registered,) = site.jobs("register_prepared")
    assert len(registered["nodes"]) == 999
    assert registered["told"] == sorted(registered["nodes"])
    started = [node for job in site.jobs("start_nodes") for node in job["nodes"]]
    assert sorted(started) == sorted(registered["nodes"])
    assert {job["pid"] for job in site.jobs()} == {worker.pid for worker in site.workers}


NOTE_WRITERS = """
CREATE TABLE written (id serial, by text, of text, what text);
CREATE FUNCTION note_writer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO written (by, of, what)
  VALUES (current_setting('application_name'), TG_TABLE_NAME, coalesce(to_jsonb(NEW)->>'node', NEW::text));
  RETURN NEW;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION note_writer();
CREATE TRIGGER note AFTER INSERT OR UPDATE ON log_lines FOR EACH ROW EXECUTE FUNCTION note_writer();
"""


@pytest.mark.long
def test_a_worker_that_is_stopped_and_woken_after_its_lease_leaves_its_part_to_who_took_it(site):
    with site.scaling.store.begin() as connection:
        connection.execute(text(NOTE_WRITERS))

    def written(after=0):
        with site.scaling.store.engine.connect() as connection:
            query = text("SELECT id, by, of, what FROM written WHERE id > :after ORDER BY id")
            return connection.execute(query, {"after": after}).all()

    site.start(2, seconds=5)
    run_id = site.ask("n[0101-0250]")
    wait_for(lambda: [shard["status"] for shard in site.shards(run_id)] == ["running"] * 2)
    part = site.shards(run_id)[0]
    (stopped,) = (number for number, worker in enumerate(site.workers) if worker.pid == part["owner_pid"])
    nodes = set(part["nodes"].split("\n"))
    wait_for(lambda: any(row.by == f"worker {stopped}" and row.what in nodes for row in written()))
    os.kill(part["owner_pid"], signal.SIGSTOP)
    try:
        taken = wait_for(lambda: (now := site.shards(run_id)[0])["attempt"] == 2 and now)
        last = written()[-1].id
    finally:
        os.kill(part["owner_pid"], signal.SIGCONT)
    assert taken["owner_pid"] == site.workers[1 - stopped].pid
    # the one that was woken ends its own work, and is a worker as before
    wait_for(lambda: list(site.folder.glob(f"prepare_nodes-{part['owner_pid']}-*.stopped")))
    wait_for(lambda: site.shards(run_id)[0]["status"] == "completed")
    prepared = written(last)
    run, seen = site.watch(run_id)
    assert (run.status, run.counts.success, run.attempt) == (RunStatus.COMPLETED, 150, 2)
    assert run.explanation.endswith("continues, attempt 2.")
    assert all(values == sorted(values) for values in seen.values())
    assert {row.by for row in prepared if row.what in nodes} == {f"worker {1 - stopped}"}
    for stage in ("prepare_nodes", "register_prepared", "start_nodes"):
        done = [json.loads(path.read_text())["nodes"] for path in site.folder.glob(f"{stage}-*.done")]
        assert sorted(node for job in done for node in job) == sorted(run.nodes), stage


def test_a_cancel_reaches_all_who_share_a_run(site):
    site.start(3, seconds=120)
    run_id = site.ask("n[0001-0500]")
    wait_for(lambda: len(site.jobs()) == 3)
    began = time.monotonic()
    run = site.scaling.cancel(run_id)
    assert (run.status, run.counts.failed, run.error_code) == (RunStatus.CANCELLED, 500, "run-cancelled")
    assert time.monotonic() - began < 10
    wait_for(lambda: len(list(site.folder.glob("*.stopped"))) == 3)
    assert {shard["status"] for shard in site.shards(run_id)} == {"cancelled"}
    assert {task.error_code for task in site.scaling.tasks(run_id)} == {"run-cancelled"}
    # the nodes are free again, and nobody works on what is left
    assert site.run(site.ask("n0001")).status is RunStatus.PENDING


def test_a_run_that_nobody_has_begun_is_cancelled_at_once(site):
    run_id = site.ask("n[0001-0250]")
    keys = [f"{run_id}.{shard['number']}" for shard in site.shards(run_id)]
    assert [site.scaling.store.carried(key).nodes[0] for key in keys] == ["n0001", "n0084", "n0167"]
    assert site.scaling.cancel(run_id).status is RunStatus.CANCELLED
    with pytest.raises(RefusedError, match="does not wait"):
        site.scaling.execute(keys[0])
    # likewise between two parts
    run_id = site.ask("n[0001-0250]")
    notices = site.scaling.subscribe()
    site.scaling.execute(f"{run_id}.1").wait(LIMIT)
    assert site.run(run_id).status is notices.get(0).status is RunStatus.RUNNING
    run = site.scaling.cancel(run_id)
    assert (run.status, run.counts.failed) == (RunStatus.CANCELLED, 250)
    assert notices.get(0).status is RunStatus.CANCELLED


def lose(site, key):
    """Take up a part of a run, and lose the process that did."""
    taken = site.scaling.store.take(site.scaling.store.carried(key), {"owner_id": key, "owner_pid": 1}, "w/1")
    with site.scaling.store.begin() as connection:
        connection.execute(run_shards.update().where(run_shards.c.owner_id == key).values(lease_until=0))
    site.scaling.recover()
    return taken


def test_a_part_that_is_lost_three_times_ends_alone(site):
    run_id = site.ask("n[0101-0250]")
    for _ in range(3):
        lose(site, f"{run_id}.2")
    assert [shard["status"] for shard in site.shards(run_id)] == ["pending", "interrupted"]
    site.scaling.execute(f"{run_id}.1").wait(LIMIT)
    notices = site.scaling.subscribe(run_id)
    for number in (3, 4):
        site.scaling.execute(f"{run_id}.{number}").wait(LIMIT)
    # whoever ends the last part tells of the end of the run
    assert [notice.status for notice in notices][-1] is RunStatus.FAILED
    run = site.run(run_id)
    assert (run.status, run.counts.success, run.counts.failed) == (RunStatus.FAILED, 75, 75)
    assert {task.error_code for task in site.scaling.store.tasks(run_id, status=[TaskStatus.FAILED])} == {
        "run-interrupted"
    }


def test_what_the_parts_warn_of_is_told_with_the_run(site):
    run_id = site.ask("n[0101-0250]")
    store = site.scaling.store
    for number, told in ((1, ["one"]), (2, ["one", "two"])):
        taken = store.take(store.carried(f"{run_id}.{number}"), processes.owner(), "worker")
        store.record(taken, warnings=told)
    assert store.run(run_id).warnings == ("one", "two")


class PlannedJob(ShardJob):
    """A job that tells its plan."""

    def plan_lines(self, wait=0.0):
        tasks = [{"uuid": f"t{step}", "name": f"step {step}"} for step in range(5)] if wait else []
        play = {"puuid": "p", "play": "p", "hosts": self.nodes, "strategy": "free", "tasks": tasks}
        return [{"kind": "outline", "plays": [play]}] if tasks else []


def test_a_shared_run_tells_the_time_that_is_left_of_all_its_stages_once_all_of_it_is_at_work(site):
    store = site.scaling.store
    store.save_timings("scale-up prepare", "earlier", {f"p||step {step}": Timing(10.0) for step in range(5)})
    store.save_timings("scale-up register", "earlier", {"p||register": Timing(5.0)})
    run_id = site.ask("n[0101-0250]")
    with site.opened(lambda launch: PlannedJob(launch, site.folder, 5)) as carrier:
        handles = [carrier.execute(f"{run_id}.{number}") for number in (1, 2)]
        wait_for(lambda: all(handle.counts().active_progress for handle in handles))
        # the last stage may take any time
        assert site.run(run_id).remaining is None
        carrier.cancel(run_id)
        store.save_timings("scale-up start", "earlier", {"p||start": Timing(40.0, 0.5)})
        run_id = site.ask("n[0101-0250]")
        handles = [carrier.execute(f"{run_id}.1")]
        wait_for(lambda: site.shards(run_id)[0]["remaining"])
        # and so may the part that waits for a worker
        assert site.run(run_id).remaining is None
        handles.append(carrier.execute(f"{run_id}.2"))
        assert 50 < wait_for(lambda: site.run(run_id).remaining) <= 75
        for handle in handles:
            handle.wait(LIMIT)
        assert site.run(run_id).remaining is None


def test_a_worker_that_lost_its_part_writes_nothing_more(site):
    run_id = site.ask("n[0101-0250]")
    taken = lose(site, f"{run_id}.1")
    with pytest.raises(RunLostError, match="another process carries this part"):
        site.scaling.store.record(taken, status=RunStatus.COMPLETED)
    with pytest.raises(RunLostError, match="another process carries this part"):
        site.scaling.store.record(taken)
    assert site.shards(run_id)[0]["status"] == "pending"


def test_only_what_is_large_is_shared(site):
    few = site.ask("n[0001-0100]")
    assert site.shards(few) == []
    checked = site.scaling.request(Operation.SCALE_UP, LAB, "n[0101-0250]", RunOptions(check=True))
    assert site.shards(checked.id) == []
    down = site.scaling.request(Operation.SCALE_DOWN, LAB, "n[0301-0450]")
    assert site.shards(down.id) == []
