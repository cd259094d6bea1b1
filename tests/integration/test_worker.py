"""A service that only asks and workers that carry, each in a process of its own, on one PostgreSQL."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest
from fakes.waiting import wait_for
from slurmscale.models import Cluster
from slurmscale.scaling import Scaling
from slurmscale.service.access.accounts import Accounts
from slurmscale.service.access.permissions import Role
from sqlalchemy import create_engine, text
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

PYTHON_LIB = Path(__file__).resolve().parents[2] / "python_lib"
LIMIT = 90
PASSWORD = "hunter22-planted"  # noqa: S105 - made up, to be looked for

pytestmark = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


class Site:
    """The processes, and a client of the service."""

    def __init__(self, config, url, inventory, tmp_path):
        self._log = tmp_path / "log"
        keys = tmp_path / "keys"
        keys.write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)) + b"\n")
        keys.chmod(0o600)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURMSCALE_")}
        self.environment |= {
            "PYTHONPATH": str(PYTHON_LIB), "SLURMSCALE_DATABASE_URL": url, "SLURMSCALE_SECRET_KEY_FILE": str(keys),
            "SLURMSCALE_DATA_DIR": str(config.data_dir), "SLURMSCALE_PROJECT_DIR": str(config.project_dir),
            "SLURMSCALE_LEASE_SECONDS": "20",
        }  # fmt: skip
        with Scaling(config.model_copy(update={"database_url": url})) as scaling:
            scaling.add_cluster(Cluster("lab", inventory=inventory))
            accounts = Accounts(scaling.store)
            token = accounts.new_token(accounts.add_user("ann", Role.ADMIN), "test", 1)[0]
        self.url = url
        self.data_dir = config.data_dir
        self._token = token
        self._processes = []
        self.serve()

    def serve(self):
        """Start a service, and ask that one from now on."""
        self.service, self.client = self.served()

    def served(self):
        """Start a service; returns its process, and a client of it."""
        process, address = self.start("serve", "--port", "0")
        client = httpx2.Client(
            base_url=address["url"], headers={"Authorization": f"Bearer {self._token}"}, timeout=LIMIT
        )
        return process, client

    def start(self, *arguments, **environment):
        """Start the command; returns the process and the first line of its log."""
        with self._log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", "from slurmscale.cli import main; main()", *arguments],
                env=self.environment | environment, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        wanted = {"serve": "serving", "worker": "working"}[arguments[0]]
        return process, wait_for(lambda: self._told(wanted, len(self._of(arguments[0]))))

    def _of(self, command):
        return [process for process in self._processes if command in process.args]

    def _told(self, event, number):
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        found = [line for line in lines if line["event"] == event]
        return found[number - 1] if len(found) >= number else None

    @staticmethod
    def socket(client, token):
        """Open a WebSocket to the service of a client."""
        url = str(client.base_url.copy_with(scheme="ws")).rstrip("/")
        headers = {"Authorization": f"Bearer {token}"}
        return connect(f"{url}/api/slurm/ws", additional_headers=headers, subprotocols=["slurmscale.v1"])

    def ask(self, nodes, **body):
        answer = self.client.post("/api/slurm/scale-up", json={"cluster": "lab", "nodes": nodes, **body})
        assert answer.status_code == 202, answer.text
        return answer.json()["run"]["id"]

    def run(self, run_id):
        return self.client.get(f"/api/slurm/runs/{run_id}").json()

    def ended(self, run_id):
        return wait_for(lambda: (run := self.run(run_id))["status"] not in ("pending", "running") and run)

    def check_audited(self, *run_ids):
        """See to it that the end of each run is in the audit trail, once."""

        def audited():
            rows = self.client.get("/api/audit", params={"action": "scale-up-end"}).json()["items"]
            return sorted(row["run_id"] for row in rows)

        # it is written right after the end
        wait_for(lambda: len(audited()) >= len(run_ids), 10)
        assert audited() == sorted(run_ids)

    def everything(self):
        """Return all that the database holds, the queue too, and what the processes logged."""
        engine = create_engine(self.url)
        with engine.connect() as connection:
            names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
            rows = [connection.execute(text(f"SELECT * FROM {name}")).all() for name in names.all()]  # noqa: S608 - its own tables
        engine.dispose()
        return f"{rows}{self._log.read_text()}"

    def log(self):
        """Return what the processes logged."""
        return self._log.read_text()

    def close(self):
        self.client.close()
        for process in self._processes:
            for one in (
                [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
            ):
                one.kill()
            process.wait(LIMIT)


@pytest.fixture
def site(config, url, inventory, tmp_path):
    site = Site(config, url, inventory, tmp_path)
    yield site
    site.close()


PLAIN, SLOW = "sleep {{ duration | default(0.3) }}", "sleep {}"


def test_workers_carry_what_a_service_asks_for_and_a_cancel_reaches_them(site, project_dir):
    assert site.client.get("/readyz").json() == {"ready": False, "database": True, "worker": False}
    first = site.ask([{"host": "n1", "password": PASSWORD}])
    assert site.run(first)["status"] == "pending"
    assert PASSWORD not in site.everything()
    workers = [site.start("worker", "--concurrency", "1")[0] for _ in range(2)]
    ended = site.ended(first)
    assert (ended["status"], ended["attempt"], ended["counts"]["success"]) == ("completed", 1, 1)
    assert int(ended["worker"].partition("/")[2]) in {worker.pid for worker in workers}
    assert site.client.get("/readyz").json() == {"ready": True, "database": True, "worker": True}
    playbook = project_dir / "playbooks" / "scale_up.yml"
    playbook.write_text(playbook.read_text().replace(PLAIN, SLOW.format(300)))
    held = [site.ask(["n2"]), site.ask(["n3"])]
    wait_for(lambda: all(site.run(run_id)["status"] == "running" for run_id in held))
    assert {site.run(run_id)["worker"].partition("/")[2] for run_id in held} == {str(one.pid) for one in workers}
    for run_id in held:
        assert site.client.post(f"/api/slurm/runs/{run_id}/cancel").status_code in (200, 202)
        assert site.ended(run_id)["status"] == "cancelled"
    assert PASSWORD not in site.everything()
    site.check_audited(first, *held)


def test_a_lost_worker_is_replaced_and_one_that_is_stopped_ends_its_work(site, project_dir):
    workers = [site.start("worker", "--concurrency", "1")[0] for _ in range(2)]
    playbook = project_dir / "playbooks" / "scale_up.yml"
    plain = playbook.read_text()
    playbook.write_text(plain.replace(PLAIN, SLOW.format(300)))
    run_id = site.ask(["n1"])
    wait_for(lambda: site.run(run_id)["status"] == "running")
    playbook.write_text(plain)
    lost = next(worker for worker in workers if site.run(run_id)["worker"].endswith(f"/{worker.pid}"))
    lost.send_signal(signal.SIGKILL)
    lost.wait(LIMIT)
    ended = site.ended(run_id)
    assert (ended["status"], ended["attempt"]) == ("completed", 2)
    # a stop waits for what is at work, and takes nothing more
    left = next(worker for worker in workers if worker is not lost)
    playbook.write_text(plain.replace(PLAIN, SLOW.format(3)))
    last = site.ask(["n4"])
    wait_for(lambda: site.run(last)["status"] == "running")
    left.send_signal(signal.SIGTERM)
    assert left.wait(LIMIT) == 0
    assert site.run(last)["status"] == "completed"
    assert site.run(site.ask(["n1"]))["status"] == "pending"
    site.check_audited(run_id, last)


def told(viewer, condition):
    """Return the first event from now on for which a condition holds, and all up to it."""
    seen = []
    while not (seen and condition(seen[-1])):
        seen.append(json.loads(viewer.recv(timeout=LIMIT)))
    return seen[-1], seen


def ask_both_at_once(*clients):
    """Send one request to each service, and see to it that one run is made; returns its id."""

    def ask(client):
        body, headers = {"cluster": "lab", "nodes": ["n1"]}, {"Idempotency-Key": "once"}
        answer = client.post("/api/slurm/scale-up", json=body, headers=headers)
        # the other one may still be at work
        return answer.status_code != 409 and answer

    with ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(lambda client: wait_for(lambda: ask(client)), clients))
    assert [answer.status_code for answer in answers] == [202, 202], [answer.text for answer in answers]
    assert sorted("Idempotency-Replayed" in answer.headers for answer in answers) == [False, True]
    (run_id,) = {answer.json()["run"]["id"] for answer in answers}
    for client in clients:
        assert [run["id"] for run in client.get("/api/slurm/runs").json()["items"]] == [run_id]
    return run_id


def watch_and_cancel(viewer, client, run_id):
    """Watch a run until it is carried, cancel it, and watch its end, through one service."""
    viewer.send(json.dumps({"watch": {"run": run_id}}))
    told(viewer, lambda event: "running" in (event["data"].get("run") or event["data"]).get("status", ""))
    assert client.post(f"/api/slurm/runs/{run_id}/cancel").status_code in (200, 202)
    end, seen = told(viewer, lambda event: event["event"] == "end")
    assert end["data"]["run"]["status"] == "cancelled"
    # each step tells of a later revision, whoever wrote it
    revisions = [int(event["id"].partition(":")[2]) for event in seen if event["event"] == "scaling-progress"]
    assert revisions == sorted(set(revisions))


def test_two_services_are_one_to_those_who_ask_and_watch(site, project_dir):
    one, (_, other) = site.client, site.served()
    site.start("worker", "--concurrency", "1")
    playbook = project_dir / "playbooks" / "scale_up.yml"
    plain = playbook.read_text()
    playbook.write_text(plain.replace(PLAIN, SLOW.format(300)))
    token = one.post("/api/tokens", json={"name": "watch"}).json()
    run_id = ask_both_at_once(one, other)
    with site.socket(other, token["token"]) as viewer:
        watch_and_cancel(viewer, other, run_id)
        # a token that is revoked at the one ends what is watched with it at the other
        playbook.write_text(plain.replace(PLAIN, SLOW.format(3)))
        run_id = site.ask(["n2"])
        viewer.send(json.dumps({"watch": {"run": run_id}}))
        told(viewer, lambda event: event["event"] == "snapshot" and event["data"]["run"]["id"] == run_id)
        began = time.monotonic()
        assert one.delete(f"/api/tokens/{token['id']}").status_code == 204
        with pytest.raises(ConnectionClosed) as closed:
            told(viewer, lambda _: False)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "Sign in again.")
        # it was told, and not found by the look at all tokens every ten seconds
        assert time.monotonic() - began < 5
    assert site.ended(run_id)["status"] == "completed"
    assert other.get(f"/api/slurm/runs/{run_id}").json() == one.get(f"/api/slurm/runs/{run_id}").json()
    other.close()


def test_processes_of_one_postgresql_need_keys_in_common_and_a_worker_needs_a_postgresql(url, tmp_path):
    own = {"PYTHONPATH": str(PYTHON_LIB), "PATH": os.environ["PATH"], "SLURMSCALE_DATA_DIR": str(tmp_path / "data")}
    for more, command, reason in (
        ({"SLURMSCALE_DATABASE_URL": url}, ("serve", "--port", "0"), "same secret keys"),
        ({"SLURMSCALE_DATABASE_URL": url}, ("worker",), "same secret keys"),
        ({}, ("worker",), "services on other machines reach"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", "from slurmscale.cli import main; main()", *command],
            env=own | more, capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
