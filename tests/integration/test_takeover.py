"""A run whose process is lost is continued by another one, with real processes on local hosts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
from fakes.waiting import wait_for
from slurmscale.runs import executor as executors
from slurmscale.runs.executor import LocalExecutor
from slurmscale.runs.queue_executor import QueueWorker
from slurmscale.scaling import Scaling
from slurmscale.states import RUN_ACTIVE, RunStatus, TaskStatus
from slurmscale.store.run_queue import RunQueue

PYTHON_LIB = Path(__file__).resolve().parents[2] / "python_lib"
LIMIT = 120
PLAYBOOK = """
- name: Prepare
  hosts: "{{{{ nodes }}}}"
  gather_facts: false
  environment: &own {{TMPDIR: "{{{{ playbook_dir }}}}"}}
  tasks:
    - name: look
      ansible.builtin.command: "{{{{ 'false' if inventory_hostname == 'n3' else 'true' }}}}"
- name: Work
  hosts: "{{{{ nodes }}}}"
  gather_facts: false
  environment: *own
  tasks:
    - name: wait
      ansible.builtin.shell: test -e {go} || sleep {forever}
    - name: leave a mark
      ansible.builtin.shell: echo {{{{ inventory_hostname }}}} >> {marks}
- name: Report the result of each node
  hosts: "{{{{ nodes }}}}"
  gather_facts: false
  tasks:
    - name: finished
      ai_infra.slurm.node_result:
"""
BEATING = "until test -e {go}; do echo $PPID $(date +%s.%N) >> {beats}; sleep 0.1{forever}; done"
"""Shows when it was at work, and prints nothing: no pipe that nobody reads stops it."""
VICTIM = """
import sys, time
sys.path.insert(0, {library!r})
from pathlib import Path
from slurmscale.operations import Operation
from slurmscale.runner import processes
from slurmscale.runs.executor import LocalExecutor
from slurmscale.runs.queue_executor import QueueWorker
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from slurmscale.store.run_queue import RunQueue
if {machine!r}:
    processes.this_machine = lambda: {machine!r}
config = Settings(data_dir=Path({data_dir!r}), project_dir=Path({project_dir!r}), database_url={url!r})
config = config.model_copy(update={{"lease_seconds": {lease}}})
scaling = Scaling(config, make_queue=RunQueue if {queue} else None)
run = scaling.request(Operation.SCALE_UP, {inventory!r}, "n[1-3]", requested_by="ann")
executor = QueueWorker(scaling, scaling.queue, 4) if {queue} else LocalExecutor(scaling)
if not {queue}:
    executor.submit(run.id)
print(run.id, flush=True)
time.sleep(600)
"""


def lives(process):
    """Say whether a process is there and more than a line that its parent has not read yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_with(mark):
    return [
        process for process in psutil.process_iter(["cmdline"])
        if any(mark in part for part in process.info["cmdline"] or ())
    ]  # fmt: skip


class Takeover:
    """A process that works on a run, and another one that may go on with it."""

    def __init__(self, config, url, mode, inventory, tmp_path):
        self.config = config.model_copy(update={"database_url": url})
        self._make_queue = RunQueue if mode == "queue" else None
        self._inventory = inventory
        self._tmp_path = tmp_path
        self.forever = str(os.getpid() * 10_000 + 4400)
        self.go, self.marks, self._beats = tmp_path / "go", tmp_path / "marks", tmp_path / "beats"
        playbook = PLAYBOOK.format(go=self.go, marks=self.marks, forever=self.forever)
        self._playbook = config.project_dir / "playbooks" / "scale_up.yml"
        self._playbook.write_text(playbook)
        self.victim = None
        self.seen = {}

    def show_when_at_work(self):
        """Let the playbook's work write down that it goes on, until `go` is there."""
        beating = BEATING.format(go=self.go, beats=self._beats, forever=self.forever)
        plain = f"test -e {self.go} || sleep {self.forever}"
        self._playbook.write_text(self._playbook.read_text().replace(plain, beating))

    def beats(self):
        """Return the moments at which each process was at work."""
        found = {}
        for line in self._beats.read_text().splitlines():
            process, moment = line.split()
            found.setdefault(int(process), []).append(float(moment))
        return found

    def begin(self, lease, machine=""):
        """Let the first process begin, until its nodes are in progress; returns the run's id."""
        script = self._tmp_path / "victim.py"
        script.write_text(
            textwrap.dedent(VICTIM).format(
                library=str(PYTHON_LIB), machine=machine, lease=lease, url=self.config.database_url,
                data_dir=str(self.config.data_dir), project_dir=str(self.config.project_dir), inventory=self._inventory,
                queue=bool(self._make_queue),
            )
        )  # fmt: skip
        self.victim = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
        run_id = self.victim.stdout.readline().strip()
        wait_for(lambda: len(processes_with(self.forever)) >= 2)
        return run_id

    def tree(self):
        """Return the first process and all that it started."""
        main = psutil.Process(self.victim.pid)
        return [main, *main.children(recursive=True)]

    def end(self):
        """End what is left of the first process."""
        for process in [*self.tree(), *processes_with(self.forever)] if self.victim.poll() is None else []:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.victim.wait()
        self.victim.stdout.close()

    def go_on(self, run_id, lease):
        """Let another process take the run over; returns it at its end, with what was seen of its progress."""
        config = self.config.model_copy(update={"lease_seconds": lease})
        with Scaling(config, make_queue=self._make_queue) as scaling:
            executor = QueueWorker(scaling, scaling.queue, 4) if scaling.queue else LocalExecutor(scaling)
            try:
                wait_for(lambda: self._look(scaling, run_id).status not in RUN_ACTIVE)
            finally:
                executor.close()
            return scaling.store.run(run_id), {task.node: task for task in scaling.tasks(run_id)}

    def _look(self, scaling, run_id):
        for task in scaling.tasks(run_id):
            self.seen.setdefault(task.node, []).append(task.progress)
        return scaling.store.run(run_id)


@pytest.fixture
def takeover(config, url, mode, inventory, tmp_path, monkeypatch):  # noqa: PLR0913, PLR0917 - fixtures
    monkeypatch.setattr(executors, "_LOOK_SECONDS", 0.2)
    takeover = Takeover(config, url, mode, inventory, tmp_path)
    yield takeover
    takeover.end()


def before(takeover, run_id):
    """Return the run and its tasks as the first process left them."""
    with Scaling(takeover.config) as scaling:
        wait_for(lambda: {task.node: task.status for task in scaling.tasks(run_id)}["n3"] is TaskStatus.FAILED)
        return scaling.store.run(run_id), {task.node: task for task in scaling.tasks(run_id)}


def check_the_end(takeover, run, tasks, first, old):
    assert (run.id, run.status, run.attempt, run.requested_by) == (first.id, RunStatus.FAILED, 2, "ann")
    assert (run.counts.success, run.counts.failed, run.counts.active) == (2, 1, 0)
    assert run.error_message == "1 of 3 nodes failed: n3"
    assert run.started_at == first.started_at
    assert tasks["n3"] == old["n3"]
    assert [tasks[node].started_at for node in ("n1", "n2")] == [old[node].started_at for node in ("n1", "n2")]
    assert sorted(takeover.marks.read_text().split()) == ["n1", "n2"]
    for node, values in takeover.seen.items():
        assert [old[node].progress, *values] == sorted([old[node].progress, *values])
    assert processes_with(takeover.forever) == []
    assert processes_with(first.run_dir) == []


@pytest.mark.parametrize(
    ("url", "mode"), [("sqlite", "local"), ("postgresql", "local"), ("postgresql", "queue")], indirect=True
)
def test_after_kill_9_of_a_process_another_one_goes_on_with_what_is_not_finished(takeover):
    run_id = takeover.begin(lease=60)
    first, old = before(takeover, run_id)
    takeover.victim.send_signal(signal.SIGKILL)
    takeover.victim.wait()
    takeover.go.touch()
    run, tasks = takeover.go_on(run_id, lease=60)
    check_the_end(takeover, run, tasks, first, old)
    assert run.explanation == f"{first.worker} is gone; {run.worker} continues, attempt 2."
    assert not Path(first.run_dir).exists()


@pytest.mark.long
@pytest.mark.parametrize(("url", "mode"), [("postgresql", "local"), ("postgresql", "queue")], indirect=True)
def test_a_machine_that_slept_for_too_long_stops_its_ansible_when_it_wakes(takeover):
    run_id = takeover.begin(lease=6, machine="elsewhere")
    first, old = before(takeover, run_id)
    frozen = takeover.tree()
    for process in frozen:
        process.suspend()
    asleep = {process.pid for process in frozen}

    def others():
        return [process for process in processes_with(takeover.forever) if process.pid not in asleep]

    def wake():
        wait_for(others)
        for process in frozen:
            process.resume()
        # the one that slept stops, the other one works on
        wait_for(lambda: not any(lives(process) for process in frozen[1:]))
        assert others()
        takeover.go.touch()
        for process in others():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()

    waker = threading.Thread(target=wake)
    waker.start()
    run, tasks = takeover.go_on(run_id, lease=6)
    waker.join()
    assert run.explanation.startswith(f"{first.worker} was not heard of for 6 s; ")
    assert (run.attempt, run.counts.active) == (2, 0)
    assert tasks["n3"] == old["n3"]
    assert not takeover.marks.exists()


STOPPED_AND_WOKEN = [
    ("postgresql", "queue", "elsewhere"),
    pytest.param("postgresql", "local", "elsewhere", marks=pytest.mark.long),
    pytest.param("postgresql", "queue", "", marks=pytest.mark.long),
    pytest.param("postgresql", "local", "", marks=pytest.mark.long),
    pytest.param("sqlite", "local", "", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("url", "mode", "machine"), STOPPED_AND_WOKEN, indirect=["url", "mode"])
def test_a_process_that_is_stopped_and_woken_never_works_beside_the_one_that_goes_on(takeover, machine):
    takeover.show_when_at_work()
    run_id = takeover.begin(lease=6, machine=machine)
    first, old = before(takeover, run_id)
    wait_for(lambda: len(takeover.beats()) == 2)
    of_first = set(takeover.beats())
    takeover.victim.send_signal(signal.SIGSTOP)

    def wake():
        wait_for(lambda: len(takeover.beats()) == 4)
        takeover.victim.send_signal(signal.SIGCONT)
        # more than it needs to see that the run is another's
        time.sleep(2)
        takeover.go.touch()

    waker = threading.Thread(target=wake)
    waker.start()
    run, tasks = takeover.go_on(run_id, lease=6)
    waker.join()
    check_the_end(takeover, run, tasks, first, old)
    assert run.explanation == f"{first.worker} was not heard of for 6 s; {run.worker} continues, attempt 2."
    beats = takeover.beats()
    last = max(max(beats[process]) for process in of_first)
    assert last < min(min(moments) for process, moments in beats.items() if process not in of_first)
    assert takeover.victim.poll() is None
