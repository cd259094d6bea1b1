"""Runs that are asked for first and carried out later, by this process or by another one."""

from __future__ import annotations

import threading
import time

import pytest
from fakes.waiting import wait_for
from slurmscale.errors import OverlapError, RefusedError, StoreUnavailableError
from slurmscale.models import Cluster, Counts, Credentials, Failure, NodeSpec, RunOptions, TaskChange
from slurmscale.operations import Operation, Scope
from slurmscale.runner import processes
from slurmscale.runs import executor as executors
from slurmscale.runs.executor import LocalExecutor
from slurmscale.runs.queue_executor import QueueWorker
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store.run_queue import RunQueue
from slurmscale.store.tables import row_of_change

LIMIT = 60
# of a cluster without a file nothing has to be read
LAB, OTHER = Cluster("lab", controller="10.0.0.1"), Cluster("other", controller="10.0.0.2")
GROUPS = {"slurm_controllers": ["ctl1"], "slurm_nodes": ["n1", "n2"], "apphub": ["hub1"]}
WHOLE = Cluster("whole", hosts={"groups": GROUPS, "hostvars": {}})
RECORDED = [operation for operation in Operation if operation.definition.recorded]
in_both_modes = pytest.mark.parametrize(
    ("url", "mode"), [("sqlite", "local"), ("postgresql", "local"), ("postgresql", "queue")], indirect=True
)
SECRET = "hunter22"  # noqa: S105 - made up, to be looked for


class HeldJob:
    """A job that works until it is let go or stopped, then says that all its nodes are done."""

    def __init__(self, launch, started):
        self.launch = launch
        self.run_dir = self.pid = self.stopped = self.error = None
        self.go_on = threading.Event()
        self._started = started

    @property
    def nodes(self):
        named = self.launch.extra_vars.get("nodes")
        return named.split(",") if named else self.launch.added["all"]["hosts"]

    def start(self):
        self._started.append(self)

    def stream(self, tick):
        for number, node in enumerate(self.nodes):
            yield self._event(number + 1, "runner_on_start", host=node, task="work", task_uuid="t1")
        while not self.go_on.wait(min(tick, 0.05)) and self.stopped is None:
            yield None
        if self.stopped is None:
            yield self._event(99, "playbook_on_stats", dark={}, failures={}, ok=dict.fromkeys(self.nodes, 1))

    def _event(self, counter, name, **data):
        return {"event": name, "counter": counter, "stdout": "", "created": "2026-01-01T00:00:00", "event_data": data}

    def plan_lines(self, wait=0.0):  # noqa: ARG002 - the interface's parameter
        return []

    def report(self):
        return {}

    def stop(self, reason, *, force=False):  # noqa: ARG002 - the interface's parameter
        self.stopped = self.stopped or reason

    def close(self):
        pass


@pytest.fixture
def jobs():
    """The jobs that were begun, in order."""
    return []


@pytest.fixture
def open_scaling(url, mode, config, jobs):
    """Opens the library on the database of the test, with jobs that are held."""
    opened = []

    def new(**changes):
        changes = {"database_url": url, **changes}
        scaling = Scaling(
            config.model_copy(update=changes),
            make_job=lambda launch: HeldJob(launch, jobs),
            make_queue=RunQueue if mode == "queue" else None,
        )
        opened.append(scaling)
        return scaling

    yield new
    for job in jobs:
        job.go_on.set()
    for scaling in opened:
        for handle in list(scaling._handles.values()):
            handle.wait(LIMIT)
        scaling.close()


@pytest.fixture
def scaling(open_scaling):
    return open_scaling()


def lost(scaling, run_id):
    """Make a run one whose process is gone."""
    with scaling.store.begin() as connection:
        connection.exec_driver_sql(f"UPDATE runs SET owner_ticks = owner_ticks + 1 WHERE id = '{run_id}'")  # noqa: S608 - our own id


@in_both_modes
def test_a_request_claims_its_nodes_and_waits(scaling, jobs):
    run = scaling.request(Operation.SCALE_UP, LAB, "n[1-2]", requested_by="ann")
    assert (run.status, run.counts, run.attempt) == (RunStatus.PENDING, Counts(total=2, active=2), 0)
    assert scaling.store.run(run.id).requested_by == "ann"
    assert [task.status for task in scaling.tasks(run.id)] == [TaskStatus.PENDING] * 2
    with pytest.raises(OverlapError) as refused:
        scaling.request(Operation.CHECK, LAB, "n2")
    assert refused.value.run_id == run.id
    assert jobs == []
    handle = scaling.execute(run.id)
    jobs[0].go_on.set()
    ended = handle.wait(LIMIT)
    assert (ended.status, ended.attempt, ended.counts.success) == (RunStatus.COMPLETED, 1, 2)
    assert ended.worker
    with pytest.raises(RefusedError, match="does not wait"):
        scaling.execute(run.id)


@pytest.mark.parametrize(("url", "mode"), [("sqlite", "local"), ("postgresql", "local")], indirect=True)
def test_without_workers_a_run_of_any_size_is_one_job_to_its_end(open_scaling, jobs, execute):
    scaling = open_scaling(shard_size=2)
    run = scaling.request(Operation.SCALE_UP, LAB, "n[1-5]")
    execute(scaling).submit(run.id)
    wait_for(lambda: jobs)
    assert [job.launch.playbook.name for job in jobs] == ["scale_up.yml"]
    assert jobs[0].nodes == ["n1", "n2", "n3", "n4", "n5"]
    jobs[0].go_on.set()
    wait_for(lambda: status(scaling, run) is RunStatus.COMPLETED)
    ended = scaling.store.run(run.id)
    assert (ended.counts, ended.attempt, len(jobs)) == (Counts(5, 0, 5, 0, 0), 1, 1)


@in_both_modes
def test_of_many_that_take_a_run_one_does(scaling, open_scaling, jobs):
    run = scaling.request(Operation.SCALE_UP, LAB, "n1")
    outcomes = []

    def take(own):
        try:
            own.execute(run.id)
            outcomes.append("taken")
        except RefusedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=take, args=[own]) for own in (scaling, *(open_scaling() for _ in range(3)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "refused", "refused", "taken"]
    assert len(jobs) == 1
    assert scaling.store.run(run.id).attempt == 1


def test_what_was_asked_for_is_recorded_without_secrets_and_taken_up_by_another_process(scaling, open_scaling, jobs):
    nodes = [NodeSpec("n1"), NodeSpec("n2", "10.0.0.8", Credentials(user="ann", port=2222))]
    options = RunOptions(forks=7, timeout=500, extra_vars={"duration": 1}, verbosity=1)
    run = scaling.request(Operation.SCALE_UP, LAB, nodes, options, requested_by="ann")
    lost(scaling, run.id)
    other = open_scaling()
    waiting = other.store.run(run.id)
    assert (waiting.status, waiting.explanation, other.store.waiting_runs()) == (RunStatus.PENDING, None, [waiting])
    handle = other.execute(run.id)
    launch = jobs[0].launch
    assert (launch.forks, launch.timeout, launch.verbosity) == (7, 500, 1)
    assert launch.extra_vars["duration"] == 1
    assert launch.extra_vars["nodes"] == "n1,n2"
    assert launch.added["_meta"]["hostvars"]["n2"]["ansible_host"] == {"__ansible_unsafe": "10.0.0.8"}
    jobs[0].go_on.set()
    assert handle.wait(LIMIT).status is RunStatus.COMPLETED
    with pytest.raises(RefusedError):
        scaling.execute(run.id)


def test_secrets_stay_in_memory_and_with_them_the_run_ends_with_its_process(scaling, open_scaling, jobs):
    nodes = [NodeSpec("n1", credentials=Credentials(password=SECRET))]
    options = RunOptions(extra_vars={"munge_key": SECRET}, vault_password=SECRET)
    runs = [
        scaling.request(Operation.SCALE_UP, LAB, nodes),
        scaling.request(Operation.SCALE_UP, LAB, "n2", RunOptions(credentials=Credentials(password=SECRET))),
        scaling.request(Operation.SCALE_UP, LAB, "n3", options),
    ]
    assert [run.request["secret"] for run in runs] == [True] * 3
    assert SECRET not in str([scaling.store.run(run.id) for run in runs])
    with pytest.raises(RefusedError) as refused:
        open_scaling().execute(runs[0].id)
    assert refused.value.code == "credentials-needed"
    scaling.execute(runs[0].id)
    assert SECRET in str(jobs[0].launch.added)
    for run in runs[1:]:
        lost(scaling, run.id)
    assert {run.id for run in open_scaling().runs() if run.status is RunStatus.INTERRUPTED} == {
        run.id for run in runs[1:]
    }


def test_what_must_not_be_repeated_is_not_taken_up(scaling, project_dir):
    (project_dir / "playbooks" / "upgrade_nodes.yml").write_text("[]")
    run = scaling.request(Operation.UPGRADE, LAB, "n1", RunOptions(extra_vars={"slurm_version": "24.11.5-4"}))
    lost(scaling, run.id)
    assert [ended.id for ended in scaling.recover()] == [run.id]
    assert scaling.store.run(run.id).status is RunStatus.INTERRUPTED


@in_both_modes
def test_a_run_that_waits_is_cancelled_at_once(scaling, open_scaling):
    run = scaling.request(Operation.SCALE_UP, LAB, "n1")
    with scaling.subscribe(run.id) as notices:
        ended = scaling.cancel(run.id)
        assert notices.get(LIMIT).status is RunStatus.CANCELLED
    assert (ended.status, ended.error_code, ended.counts.failed) == (RunStatus.CANCELLED, "run-cancelled", 1)
    another = scaling.request(Operation.SCALE_UP, LAB, "n1")
    assert open_scaling().cancel(another.id).status is RunStatus.CANCELLED
    for cancelled in (run, another):
        with pytest.raises(RefusedError, match="does not wait"):
            scaling.execute(cancelled.id)
    assert scaling._prepared == {}


@in_both_modes
def test_a_retry_may_be_asked_for(scaling, jobs):
    scaling.add_cluster(LAB)
    run = scaling.request(Operation.SCALE_UP, LAB, "n[1-2]")
    scaling.cancel(run.id)
    again = scaling.request_retry(run.id, requested_by="ann")
    assert (again.retry_of, again.requested_by, again.nodes, again.status) == (run.id, "ann", ("n1", "n2"), "pending")
    scaling.execute(again.id)
    assert jobs[0].nodes == ["n1", "n2"]


# -- lost processes


def ask(scaling, operation):
    """Ask for an operation on what it takes of a whole cluster."""
    definition = operation.definition
    (scaling.settings.project_dir / "playbooks" / definition.playbook).write_text("[]")
    required = {option.name: "24.11.5-4" for option in definition.options if option.required}
    nodes = "n[1-2]" if definition.scope is Scope.NODES else ()
    return scaling.request(operation, WHOLE, nodes, RunOptions(extra_vars=required), requested_by="ann")


def lose(scaling, operation):
    """Ask for an operation, begin it, and lose its process when all its hosts are in progress."""
    run = ask(scaling, operation)
    scaling.execute(run.id)
    wait_for(lambda: all(task.status is TaskStatus.RUNNING for task in scaling.tasks(run.id)))
    lost(scaling, run.id)
    return run


def test_what_changes_more_when_it_is_done_twice_is_not_repeated():
    assert {one.value for one in RECORDED if not one.definition.repeatable} == {
        "repair-fix", "upgrade", "rotate-munge-key", "submit-job", "cancel-job",
    }  # fmt: skip


@in_both_modes
@pytest.mark.parametrize("operation", [one for one in RECORDED if not one.definition.repeatable])
def test_what_must_not_be_repeated_is_begun_once(scaling, open_scaling, jobs, execute, operation):
    run = lose(scaling, operation)
    other = open_scaling()
    ended = other.store.run(run.id)
    assert (ended.status, ended.error_code, ended.attempt) == (RunStatus.INTERRUPTED, "run-interrupted", 1)
    assert {(task.status, task.error_code) for task in other.tasks(run.id)} == {(TaskStatus.FAILED, "run-interrupted")}
    wait_for(lambda: jobs[0].stopped)
    with pytest.raises(RefusedError, match="does not wait"):
        other.execute(run.id)
    # its hosts are free, and of the two the executor begins what was asked for anew
    executor, anew = execute(other), ask(other, operation)
    executor.submit(anew.id)
    wait_for(lambda: len(jobs) == 2)
    jobs[1].go_on.set()
    wait_for(lambda: status(other, anew) is RunStatus.COMPLETED)
    assert (other.store.run(run.id), other.store.run(anew.id).attempt, len(jobs)) == (ended, 1, 2)


@pytest.mark.parametrize(
    ("url", "mode"),
    [("sqlite", "local"), pytest.param("postgresql", "queue", marks=pytest.mark.long)], indirect=True,
)  # fmt: skip
@pytest.mark.parametrize("operation", [one for one in RECORDED if one.definition.repeatable])
def test_what_may_be_repeated_is_gone_on_with_as_the_same_run(scaling, open_scaling, jobs, execute, operation):
    run = lose(scaling, operation)
    execute(open_scaling())
    wait_for(lambda: len(jobs) == 2)
    assert (jobs[1].launch.playbook, jobs[1].nodes) == (jobs[0].launch.playbook, jobs[0].nodes)
    jobs[1].go_on.set()
    wait_for(lambda: status(scaling, run) is RunStatus.COMPLETED)
    ended = scaling.store.run(run.id)
    assert (ended.attempt, ended.requested_by, ended.error) == (2, "ann", None)
    assert ended.explanation.endswith("continues, attempt 2.")
    assert [one.id for one in scaling.runs()] == [run.id]


@in_both_modes
def test_the_third_attempt_is_the_last(scaling, jobs):
    run = scaling.request(Operation.SCALE_UP, LAB, "n1")
    for attempt in (1, 2, 3):
        handle = scaling.execute(run.id)
        wait_for(lambda: scaling.tasks(run.id)[0].status is TaskStatus.RUNNING)
        lost(scaling, run.id)
        assert len(scaling.recover()) == (attempt == 3)
        assert handle.wait(LIMIT).attempt == attempt
        assert jobs[-1].stopped.code == "run-lost"
    ended = scaling.store.run(run.id)
    assert (ended.status, ended.error_code) == (RunStatus.INTERRUPTED, "run-interrupted")
    assert "continues, attempt 3." in ended.explanation


@in_both_modes
def test_a_lost_run_that_was_to_be_cancelled_is_cancelled(scaling, open_scaling):
    run = scaling.request(Operation.SCALE_UP, LAB, "n1")
    taken = scaling.store.take(run, processes.owner(), "other/1")
    scaling.store.request_cancel(run.id)
    lost(scaling, run.id)
    open_scaling()
    ended = scaling.store.run(run.id)
    assert (ended.status, ended.error_code, taken.attempt) == (RunStatus.CANCELLED, "run-cancelled", 1)


@in_both_modes
def test_progress_stays_when_a_run_is_handed_over(scaling, jobs):
    run = scaling.request(Operation.SCALE_UP, LAB, "n[1-3]")
    taken = scaling.store.take(run, processes.owner(), "other/1")
    ids = {task.node: task.id for task in scaling.tasks(run.id)}
    failure = Failure("task-failed", "It failed.")
    states = {
        "n1": TaskChange("n1", TaskStatus.RUNNING, 40, "packages", "install", failure, 5.0, 4.0),
        "n2": TaskChange("n2", TaskStatus.COMPLETED, 100, "", "done", None, 5.0, 4.0, 5.0),
        "n3": TaskChange("n3", TaskStatus.FAILED, 30, "packages", "install", failure, 5.0, 4.0, 5.0),
    }
    rows = [{"b_id": ids[node], **row_of_change(change)} for node, change in states.items()]
    scaling.store.record(taken, rows, active=1, success=1, failed=1, active_progress=40)
    finished = scaling.tasks(run.id)[1:]
    assert scaling.store.hand_over(taken, "other/1 is gone")
    waiting = scaling.tasks(run.id)[0]
    assert (waiting.status, waiting.progress, waiting.error, waiting.started_at) == ("pending", 40, None, 4.0)
    assert scaling.store.run(run.id).counts == Counts(3, 1, 1, 1, 40)
    handle = scaling.execute(run.id)
    wait_for(lambda: scaling.tasks(run.id)[0].status is TaskStatus.RUNNING)
    assert jobs[0].nodes == ["n1"]
    assert scaling.tasks(run.id)[0].progress >= 40
    jobs[0].go_on.set()
    ended = handle.wait(LIMIT)
    assert ended.counts == Counts(3, 0, 2, 1, 0)
    assert ended.error_message == "1 of 3 nodes failed: n3"
    assert scaling.tasks(run.id)[1:] == finished
    assert scaling.tasks(run.id)[0].started_at == 4.0


def test_a_process_that_may_be_taken_for_gone_stops_by_itself(open_scaling, url, jobs, monkeypatch):
    scaling = open_scaling(lease_seconds=2)
    handle = scaling.execute(scaling.request(Operation.SCALE_UP, LAB, "n1").id)
    wait_for(lambda: scaling.tasks(handle.id)[0].status is TaskStatus.RUNNING)
    asked = []

    def away(*_, **__):
        asked.append(time.monotonic())
        raise StoreUnavailableError("It does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(scaling.store, "record", away)
        patch.setattr(scaling.store, "cancel_requested", away)
        wait_for(lambda: jobs[0].stopped or (asked and asked[-1] - asked[0] > 3))
    # SQLite is on this machine only, where a living process is seen
    assert bool(jobs[0].stopped) == url.startswith("postgresql")
    jobs[0].go_on.set()
    handle.wait(LIMIT)


# -- the executor


class InQueue(QueueWorker):
    """A worker, and the process that was asked: there, a run is in the queue with its record."""

    def __init__(self, scaling, max_runs=4):
        super().__init__(scaling, scaling.queue, max_runs)

    def submit(self, run_id):
        if threading.current_thread().name.startswith("entry"):
            super().submit(run_id)


@pytest.fixture
def execute(monkeypatch):
    """Makes executors that look often."""
    monkeypatch.setattr(executors, "_LOOK_SECONDS", 0.1)
    made = []

    def new(scaling, *limits):
        made.append(InQueue(scaling, *limits) if scaling.queue else LocalExecutor(scaling, *limits))
        return made[-1]

    yield new
    for one in made:
        one.close()


def status(scaling, run):
    return scaling.store.run(run.id).status


@in_both_modes
def test_runs_wait_for_room_in_their_order(scaling, jobs, execute):
    executor = execute(scaling, 2)
    runs = [scaling.request(Operation.SCALE_UP, LAB, f"n{number}") for number in (1, 2, 3, 4)]
    for run in runs:
        executor.submit(run.id)
    wait_for(lambda: len(jobs) == 2)
    assert [status(scaling, run) for run in runs] == ["running", "running", "pending", "pending"]
    scaling.cancel(runs[2].id)
    jobs[0].go_on.set()
    wait_for(lambda: len(jobs) == 3)
    jobs[1].go_on.set()
    jobs[2].go_on.set()
    wait_for(lambda: status(scaling, runs[3]) is RunStatus.COMPLETED)
    assert sorted(node for job in jobs for node in job.nodes) == ["n1", "n2", "n4"]


@in_both_modes
def test_one_cluster_does_not_keep_all_the_room(open_scaling, jobs, execute):
    scaling = open_scaling(max_runs_per_cluster=1)
    executor = execute(scaling, 2)
    runs = [scaling.request(Operation.SCALE_UP, LAB, f"n{number}") for number in (1, 2)]
    runs.append(scaling.request(Operation.SCALE_UP, OTHER, "m1"))
    for run in runs:
        executor.submit(run.id)
    wait_for(lambda: len(jobs) == 2)
    # of two that wait, two workers may find the second one first
    assert sorted(status(scaling, run) for run in runs[:2]) == ["pending", "running"]
    assert status(scaling, runs[2]) == "running"


@in_both_modes
def test_runs_of_a_service_that_is_gone_are_taken_up_by_the_next(scaling, open_scaling, jobs, execute):
    runs = [scaling.request(Operation.SCALE_UP, LAB, f"n{number}") for number in (1, 2)]
    for run in runs:
        lost(scaling, run.id)
    execute(open_scaling())
    wait_for(lambda: len(jobs) == 2)
    for job in jobs:
        job.go_on.set()
    for run in runs:
        wait_for(lambda run=run: status(scaling, run) is RunStatus.COMPLETED)


def test_a_run_that_waits_for_long_is_not_taken_from_its_process(open_scaling, execute):
    scaling = open_scaling(lease_seconds=3)
    executor = execute(scaling, 1)
    first, second = (scaling.request(Operation.SCALE_UP, LAB, f"n{number}") for number in (1, 2))
    executor.submit(first.id)
    executor.submit(second.id)
    for _ in range(3):
        with scaling.store.begin() as connection:
            connection.exec_driver_sql("UPDATE runs SET lease_until = 1")
        wait_for(lambda: not any(expired for _, expired in scaling.store.active_runs()))


@in_both_modes
def test_close_waits_for_the_runs_at_work_and_hands_over_the_others(scaling, open_scaling, jobs, execute):
    executor = execute(scaling, 1)
    first, second = (scaling.request(Operation.SCALE_UP, LAB, f"n{number}") for number in (1, 2))
    executor.submit(first.id)
    executor.submit(second.id)
    wait_for(lambda: jobs)
    threading.Timer(0.3, jobs[0].go_on.set).start()
    executor.close(LIMIT)
    assert status(scaling, first) is RunStatus.COMPLETED
    assert [run.id for run in scaling.store.waiting_runs()] == [second.id]
    execute(open_scaling())
    wait_for(lambda: len(jobs) == 2)


@in_both_modes
def test_close_stops_what_takes_too_long_and_another_one_goes_on(scaling, open_scaling, jobs, execute):
    executor = execute(scaling)
    run = scaling.request(Operation.SCALE_UP, LAB, "n[1-2]")
    executor.submit(run.id)
    wait_for(lambda: scaling.tasks(run.id)[0].status is TaskStatus.RUNNING)
    executor.close(0.1)
    assert jobs[0].stopped
    left = scaling.store.run(run.id)
    assert (left.status, left.attempt, left.error) == (RunStatus.PENDING, 1, None)
    assert "was stopped" in left.explanation
    execute(open_scaling())
    wait_for(lambda: len(jobs) == 2)
    jobs[1].go_on.set()
    wait_for(lambda: status(scaling, run) is RunStatus.COMPLETED)
    ended = scaling.store.run(run.id)
    assert (ended.attempt, ended.counts) == (2, Counts(2, 0, 2, 0, 0))
    assert ended.explanation.endswith("continues, attempt 2.")


@in_both_modes
def test_close_ends_what_takes_too_long_and_must_not_be_repeated(scaling, open_scaling, jobs, execute):
    executor, run = execute(scaling), ask(scaling, Operation.REPAIR_FIX)
    executor.submit(run.id)
    wait_for(lambda: scaling.tasks(run.id)[0].status is TaskStatus.RUNNING)
    executor.close(0.1)
    ended = scaling.store.run(run.id)
    assert (ended.status, ended.error_code, ended.attempt) == (RunStatus.INTERRUPTED, "run-interrupted", 1)
    with pytest.raises(RefusedError, match="does not wait"):
        open_scaling().execute(run.id)
    assert len(jobs) == 1


@in_both_modes
def test_a_run_that_can_not_be_begun_fails_and_the_next_one_begins(scaling, jobs, execute, monkeypatch):
    executor = execute(scaling, 1)
    make_job = scaling._make_job

    def refuse(launch):
        if launch.extra_vars["nodes"] == "n1":
            raise RefusedError("There is no room.", code="ansible-not-started")
        return make_job(launch)

    monkeypatch.setattr(scaling, "_make_job", refuse)
    first, second = (scaling.request(Operation.SCALE_UP, LAB, f"n{number}") for number in (1, 2))
    executor.submit(first.id)
    executor.submit(second.id)
    wait_for(lambda: jobs)
    assert status(scaling, first) is RunStatus.FAILED
    assert scaling.store.run(first.id).error_code == "ansible-not-started"


def test_a_run_that_could_be_neither_begun_nor_ended_is_ended_when_the_database_is_back(scaling, jobs, monkeypatch):
    run = scaling.request(Operation.SCALE_UP, LAB, "n1")

    def away(*_, **__):
        raise StoreUnavailableError("It does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(scaling.store, "tasks", away)
        patch.setattr(scaling.store, "end_run", away)
        with pytest.raises(StoreUnavailableError):
            scaling.execute(run.id)
    assert status(scaling, run) is RunStatus.RUNNING
    scaling.recover()
    assert (status(scaling, run), jobs) == (RunStatus.FAILED, [])
    assert scaling.store.run(run.id).error_code == "database-unavailable"


def test_the_settings_of_the_executor_have_limits():
    assert (Settings().max_runs, Settings().max_runs_per_cluster, Settings().lease_seconds) == (4, 4, 60)
