"""A service over a library whose runs are replays, and somebody of each role who is signed in."""

from __future__ import annotations

import shutil
import threading

import pytest
from argon2 import PasswordHasher
from fakes.connections import one_connection_for_each_thread
from fakes.log_stream import log_as_before
from fakes.postgresql import Postgresql
from fastapi.testclient import TestClient
from slurmscale.models import Cluster, Counts, Run
from slurmscale.operations import Operation
from slurmscale.progress.outcome import NODE_RESULT
from slurmscale.runner.fake import FakeJob
from slurmscale.runner.processes import owner
from slurmscale.scaling import Scaling
from slurmscale.service.access.accounts import Accounts
from slurmscale.service.access.permissions import Role
from slurmscale.service.app import create_app
from slurmscale.service.settings import ServiceSettings
from slurmscale.settings import Settings
from slurmscale.states import RunStatus
from slurmscale.store.repository import Store
from sqlalchemy import create_engine, text

__all__ = ["log_as_before", "one_connection_for_each_thread"]

PASSWORD = "correct horse battery"
ON_BOTH = {"test_accounts", "test_commands", "test_metrics", "test_refusals", "test_runs", "test_webhooks"}
"""What most depends on the database; the other tests use PostgreSQL only where there is time."""


def pytest_generate_tests(metafunc):
    """Let each test that uses the library do so on each database."""
    if "each_database" in metafunc.fixturenames:
        always = metafunc.module.__name__.rpartition(".")[2] in ON_BOTH
        marks = () if always else pytest.mark.long
        metafunc.parametrize("each_database", ["sqlite", pytest.param("postgresql", marks=marks)], indirect=True)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database without records; making the tables takes longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "slurmscale.db"
    Store(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL with a database without records, likewise; a connection that may make others of it, and the URL."""
    with Postgresql() as server:
        admin = create_engine(server.url.format("postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE empty"))
            Store(server.url.format("empty")).close()
            yield connection, server.url
        admin.dispose()


@pytest.fixture
def each_database(request, tmp_path, empty_database, monkeypatch):
    """Let the library and the command find a database of each kind, without records."""
    (tmp_path / "data").mkdir(mode=0o700)
    if request.param == "sqlite":
        shutil.copy(empty_database, tmp_path / "data" / "slurmscale.db")
        yield
        return
    connection, url = request.getfixturevalue("postgresql")
    name = f"t{abs(hash(str(tmp_path))) % 10**12}"
    connection.execute(text(f"CREATE DATABASE {name} TEMPLATE empty"))
    monkeypatch.setenv("SLURMSCALE_DATABASE_URL", url.format(name))
    yield
    connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


class GatedJob(FakeJob):
    """A replay that waits for a gate, which a stop opens."""

    def __init__(self, events, launches):
        super().__init__(events)
        self._launches = launches

    def report(self):
        return self._launches.result

    def stop(self, reason, *, force=False):
        super().stop(reason, force=force)
        self._launches.gate.set()


class Launches(list):
    """What playbooks would have been started with; each is replayed as a play that ends well, but for `bad` nodes."""

    def __init__(self):
        super().__init__()
        self.bad = set()
        self.result = {}
        """The report of the playbook."""
        self.gate = threading.Event()
        self.gate.set()

    def job(self, launch):
        self.append(launch)
        return GatedJob(self._events(launch.extra_vars.get("nodes", "").split(",")), self)

    def _events(self, nodes):
        task = {
            "play": "Make", "play_uuid": "p", "task": "work", "task_uuid": "t", "task_action": NODE_RESULT,
            "resolved_action": NODE_RESULT,
        }  # fmt: skip
        results = [
            ("runner_on_failed" if node in self.bad else "runner_on_ok", {"host": node, "res": {"msg": "It is bad."}})
            for node in nodes
        ]
        raw = [
            ("playbook_on_start", {}),
            ("playbook_on_play_start", {"play": "Make", "name": "Make", "play_uuid": "p"}),
            ("playbook_on_task_start", {**task, "name": "work"}),
            *((kind, task | data) for kind, data in results),
            ("playbook_on_stats", {"ok": dict.fromkeys(nodes, 1), "failures": dict.fromkeys(self.bad & set(nodes), 1)}),
        ]
        for counter, (kind, data) in enumerate(raw, 1):
            assert self.gate.wait(60)
            yield {
                "event": kind, "event_data": data, "counter": counter, "uuid": str(counter),
                "created": "2026-01-01T00:00:00+00:00", "stdout": f"{kind} {data.get('host', '')}",
            }  # fmt: skip


@pytest.fixture
def launches():
    launches = Launches()
    yield launches
    launches.gate.set()


@pytest.fixture
def scaling(each_database, tmp_path, launches):  # noqa: ARG001 - it is what the library finds
    with Scaling(Settings(data_dir=tmp_path / "data"), make_job=launches.job) as scaling:
        yield scaling


@pytest.fixture
def accounts(scaling):
    """Users whose passwords are hashed quickly."""
    return Accounts(scaling.store, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def config():
    return ServiceSettings(allowed_networks=("192.0.2.0/24",), stop_seconds=30, requests_per_second=0)


@pytest.fixture
def lab(scaling):
    """A cluster without an inventory."""
    scaling.add_cluster(Cluster("lab", controller="192.0.2.1", apphub_urls=("https://apphub.example",)))


@pytest.fixture
def app(scaling, config, accounts):
    return create_app(scaling, config, accounts)


@pytest.fixture
def client(app):
    """Somebody who is not signed in."""
    with TestClient(app, base_url="https://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def token(accounts):
    """Return a function that makes a user of a role and returns a token of his."""

    def make(role="viewer", *, clusters=None, permissions=None, name=None):
        user = accounts.users.named(name or role) or accounts.add_user(
            name or role, Role(role), password=PASSWORD, clusters=clusters
        )
        return accounts.new_token(user, "test", 1, permissions=permissions)[0]

    return make


@pytest.fixture
def as_role(app, client, token):
    """Return a function that gives a client of a user of a role."""

    def make(role="viewer", **limits):
        assert client  # with it, the application is up
        headers = {"Authorization": f"Bearer {token(role, **limits)}"}
        return TestClient(app, base_url="https://localhost", headers=headers, raise_server_exceptions=False)

    return make


@pytest.fixture
def record_run(scaling):
    """Return a function that records a run, which nobody works on."""
    made = []

    def make(run_id=None, *, cluster="lab", nodes=("n1", "n2"), operation=Operation.SCALE_UP, **values):
        number = len(made)
        run = Run(
            id=run_id or f"20260101-0000{number:02}-abc{number:03}",
            cluster=cluster,
            operation=operation,
            status=RunStatus.PENDING,
            nodes=tuple(nodes),
            counts=Counts(total=len(nodes), active=len(nodes)),
            claims=tuple(f"{number}/{node}" for node in nodes),
            **{"created_at": 1_767_225_600.0 + number, **owner(), **values},
        )
        scaling.store.create_run(run)
        made.append(run)
        return run

    return make
