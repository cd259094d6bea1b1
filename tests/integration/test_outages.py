"""What a service and its workers do when parts of the site fail: the processes, the database, a clock."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
import time

import httpx2
import psutil
import pytest
from fakes.postgresql import Postgresql
from fakes.waiting import wait_for
from integration.test_worker import LIMIT, PLAIN, Site
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from slurmscale.states import RunStatus
from slurmscale.store.repository import Store

ACTIVE = ("pending", "running")


class Watcher(threading.Thread):
    """Looks at the progress of a run's nodes as a viewer does, and keeps what it saw."""

    def __init__(self, site, run_id):
        super().__init__(daemon=True)
        self._site = site
        self._run_id = run_id
        self.seen = {}
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.2):
            try:
                answer = self._site.client.get(f"/api/slurm/runs/{self._run_id}/tasks")
            except httpx2.HTTPError:
                continue
            for task in answer.json()["items"] if answer.status_code == 200 else ():
                self.seen.setdefault(task["node"], []).append(task["progress"])

    def check(self):
        """See to it that no progress went backwards."""
        self.over.set()
        self.join(LIMIT)
        assert self.seen
        for node, values in self.seen.items():
            assert values == sorted(values), node


@pytest.fixture
def site(config, url, inventory, tmp_path):
    site = Site(config, url, inventory, tmp_path)
    yield site
    site.close()


@pytest.fixture
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return request.getfixturevalue("own_postgresql").url.format("postgres")


LONG = pytest.mark.long
POSTGRESQL = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


def slowly(project_dir, seconds):
    """Let the nodes of a run take some time, in a command that is no other test's; returns its argument."""
    argument = f"{seconds}.00{os.getpid()}"
    playbook = project_dir / "playbooks" / "scale_up.yml"
    playbook.write_text(playbook.read_text().replace(PLAIN, f"sleep {argument}"))
    return argument


def finally_ended(site, run_id, seconds=LIMIT):
    """Return a run once it has ended; the service may be away for a while."""

    def look():
        try:
            answer = site.client.get(f"/api/slurm/runs/{run_id}")
        except httpx2.HTTPError:
            return None
        return answer.status_code == 200 and answer.json()["status"] not in ACTIVE and answer.json()

    return wait_for(look, seconds)


def watch_until_cut_off(site, run_id):
    """Hold a stream of a run open until the service ends it."""
    with contextlib.suppress(httpx2.HTTPError), site.client.stream("GET", f"/api/slurm/events?run={run_id}") as stream:
        for _ in stream.iter_lines():
            pass


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait(LIMIT)


def at_work(argument):
    """Return the processes that work on nodes."""
    return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", argument]]


@pytest.mark.parametrize(
    ("url", "moment"),
    [
        ("sqlite", 1.5),
        pytest.param("postgresql", 0.0, marks=LONG),
        *(pytest.param(url, None, marks=LONG) for url in ("sqlite", "postgresql") for _ in range(3)),
    ],
    indirect=["url"],
)
def test_a_service_that_is_killed_at_any_moment_goes_on_with_the_run_when_it_is_back(site, url, project_dir, moment):
    work = slowly(project_dir, 2)
    moment = random.uniform(0, 8) if moment is None else moment  # noqa: S311 - no secret
    if url.startswith("postgresql"):
        site.start("worker")
    run_id = site.ask(["n1", "n2"])
    time.sleep(moment)
    kill(site.service)
    site.serve()
    ended = finally_ended(site, run_id)
    assert (ended["status"], ended["counts"]["success"]) == ("completed", 2), moment
    assert ended["attempt"] <= 2
    assert wait_for(lambda: not at_work(work), 10)
    site.check_audited(run_id)


def stop(site):
    """Stop the service as systemd does; returns how long it took."""
    began = time.monotonic()
    site.service.send_signal(signal.SIGTERM)
    assert site.service.wait(LIMIT) == 0
    return time.monotonic() - began


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_service_that_is_stopped_waits_for_its_run_and_begins_no_other(site, project_dir):
    work = slowly(project_dir, 4)
    site.environment["SLURMSCALE_MAX_RUNS"] = "1"
    stop(site)
    site.serve()
    first, second = site.ask(["n1", "n2"]), site.ask(["n3"])
    wait_for(lambda: len(at_work(work)) == 2)
    assert stop(site) > 1
    assert not at_work(work)
    with Scaling(Settings(data_dir=site.data_dir, database_url=site.url)) as left:
        assert (left.store.run(first).status, left.store.run(first).attempt) == (RunStatus.COMPLETED, 1)
        assert (left.store.run(second).status, left.store.run(second).attempt) == (RunStatus.PENDING, 0)
    site.serve()
    assert finally_ended(site, second)["status"] == "completed"
    site.check_audited(first, second)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_service_that_is_stopped_leaves_what_takes_too_long_to_the_next_one(site, project_dir):
    plain = (project_dir / "playbooks" / "scale_up.yml").read_text()
    work = slowly(project_dir, 300)
    site.environment["SLURMSCALE_STOP_SECONDS"] = "1"
    stop(site)
    site.serve()
    run_id = site.ask(["n1", "n2"])
    wait_for(lambda: len(at_work(work)) == 2)
    # whoever watches is not waited for
    waiting = threading.Thread(target=watch_until_cut_off, args=[site, run_id], daemon=True)
    waiting.start()
    assert 1 < stop(site) < 30
    waiting.join(LIMIT)
    assert not at_work(work)
    with Scaling(Settings(data_dir=site.data_dir, database_url=site.url)) as left:
        run = left.store.run(run_id)
    assert (run.status, run.attempt, run.error) == (RunStatus.PENDING, 1, None)
    assert run.explanation.endswith("was stopped")
    (project_dir / "playbooks" / "scale_up.yml").write_text(plain)
    site.serve()
    ended = finally_ended(site, run_id)
    assert (ended["status"], ended["attempt"], ended["counts"]["success"]) == ("completed", 2, 2)
    assert ended["explanation"].endswith("continues, attempt 2.")
    site.check_audited(run_id)


@LONG
@POSTGRESQL
@pytest.mark.parametrize("moment", [0.2, 3.0, *[None] * 3])
def test_a_worker_that_is_killed_at_any_moment_is_replaced(site, project_dir, moment):
    slowly(project_dir, 2)
    moment = random.uniform(0, 8) if moment is None else moment  # noqa: S311 - no secret
    first = site.start("worker")[0]
    run_id = site.ask(["n1", "n2"])
    watcher = Watcher(site, run_id)
    time.sleep(moment)
    kill(first)
    site.start("worker")
    ended = finally_ended(site, run_id)
    assert (ended["status"], ended["counts"]["success"]) == ("completed", 2), moment
    watcher.check()
    site.check_audited(run_id)


@LONG
@POSTGRESQL
@pytest.mark.parametrize("seconds", [2, 60])
def test_a_database_that_is_away_in_the_middle_of_a_run_loses_neither_progress_nor_its_end(
    site, own_postgresql, project_dir, seconds
):
    # longer than a worker goes on that can't renew its lease of 20 s
    work = slowly(project_dir, 25)
    site.start("worker")
    run_id = site.ask(["n1", "n2"])
    watcher = Watcher(site, run_id)
    wait_for(lambda: len(at_work(work)) == 2)
    own_postgresql.stop()
    time.sleep(seconds)
    answer = site.client.get("/api/slurm/runs")
    assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
    assert "retry-after" in answer.headers
    own_postgresql.start()
    ended = finally_ended(site, run_id, 2 * LIMIT)
    assert (ended["status"], ended["counts"]["success"]) == ("completed", 2), ended
    assert ended["attempt"] <= 2
    watcher.check()
    # all of it works as before
    last = site.ask(["n3"])
    assert finally_ended(site, last)["status"] == "completed"
    site.check_audited(run_id, last)


SENTENCES = 400
"""Of a long output: a megabyte of a log of its own for each node."""


@pytest.fixture
def small_postgresql(request):
    """A PostgreSQL with its tables, or its write-ahead log, on a disk that the test may fill."""
    with Postgresql(small=request.param) as server:
        yield server


@pytest.fixture
def site_on_small_disk(small_postgresql, config, inventory, tmp_path):
    site = Site(config, small_postgresql.url.format("postgres"), inventory, tmp_path)
    yield site
    site.close()


def talk(project_dir):
    """Let the nodes of a run say a lot at its end; returns what comes last."""
    words = [secrets.token_hex(600) for _ in range(SENTENCES)]
    playbook = project_dir / "playbooks" / "scale_up.yml"
    told = {"name": "talk", "ansible.builtin.debug": {"msg": "{{ item }}"}, "loop": words}
    text = playbook.read_text()
    assert text.count("- name: Register\n") == 1
    playbook.write_text(text.replace("- name: Register\n", f"    - {json.dumps(told)}\n- name: Register\n"))
    return words[-1][:200]


@LONG
@pytest.mark.parametrize("small_postgresql", ["tables", "log"], indirect=True)
@pytest.mark.parametrize("seconds", [10, 100])
def test_a_full_disk_of_the_database_in_the_middle_of_a_run_loses_nothing(
    site_on_small_disk, small_postgresql, project_dir, seconds
):
    """Also when it is full for longer than the run waits at its end: 60 s."""
    site = site_on_small_disk
    work = slowly(project_dir, 5)
    last = talk(project_dir)
    site.start("worker")
    run_id = site.ask(["n1", "n2"])
    watcher = Watcher(site, run_id)
    wait_for(lambda: len(at_work(work)) == 2)
    small_postgresql.fill()
    wait_for(lambda: small_postgresql.complaints)
    time.sleep(seconds)
    small_postgresql.make_room()
    ended = finally_ended(site, run_id, 2 * LIMIT)
    assert (ended["status"], ended["counts"]["success"]) == ("completed", 2), ended
    watcher.check()
    for node in ("n1", "n2"):
        assert last in site.client.get(f"/api/slurm/tasks/{run_id}:{node}/logs", params={"q": last}).text
    assert site.log().count("The database does not take the run's records.") == 1
    # all of it works as before
    again = site.ask(["n3"])
    assert finally_ended(site, again)["status"] == "completed"
    site.check_audited(run_id, again)


@LONG
@POSTGRESQL
def test_a_clock_that_is_an_hour_off_takes_no_run_from_its_worker(site, project_dir, tmp_path):
    slowly(project_dir, 12)
    workers = []
    for name, hours in (("late", -1), ("early", 1)):
        shifted = tmp_path / name
        shifted.mkdir()
        (shifted / "sitecustomize.py").write_text(
            textwrap.dedent(f"""
                import time
                real = time.time
                time.time = lambda: real() + {hours * 3600}
            """)
        )
        path = f"{shifted}:{site.environment['PYTHONPATH']}"
        workers.append(site.start("worker", "--concurrency", "1", PYTHONPATH=path)[0])
    runs = [site.ask([node]) for node in ("n1", "n2")]
    wait_for(lambda: all(site.run(run_id)["status"] == "running" for run_id in runs))
    # each sees the other's runs with a clock two hours apart, and the leases of 20 s
    assert {site.run(run_id)["worker"].partition("/")[2] for run_id in runs} == {str(one.pid) for one in workers}
    for run_id in runs:
        ended = finally_ended(site, run_id)
        assert (ended["status"], ended["attempt"]) == ("completed", 1)
    site.check_audited(*runs)


def test_many_that_start_at_once_make_the_tables_once(own_postgresql):
    url = own_postgresql.url.format("postgres")
    script = textwrap.dedent("""
        import sys
        from slurmscale.store.repository import Store
        from slurmscale.store.run_queue import RunQueue
        store = Store(sys.argv[1])
        RunQueue(store)
        store.check()
    """)
    processes = [
        subprocess.Popen([sys.executable, "-c", script, url], stderr=subprocess.PIPE, text=True) for _ in range(6)
    ]
    failures = [process.communicate(timeout=LIMIT)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, failures
    store = Store(url)
    store.check()
    store.close()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_second_service_on_one_file_is_refused(site):
    done = subprocess.run(
        [sys.executable, "-c", "from slurmscale.cli import main; main()", "serve", "--port", "0"],
        env=site.environment, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (done.returncode, "Another process serves the database" in done.stderr) == (2, True), done.stderr
    assert site.client.get("/readyz").status_code == 200
