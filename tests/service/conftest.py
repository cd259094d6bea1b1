"""A service over a library whose runs are replays, and somebody of each role who is signed in."""

from __future__ import annotations

import shutil

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from slurmscale.models import Counts, Run
from slurmscale.operations import Operation
from slurmscale.runner.fake import FakeJob
from slurmscale.runner.processes import owner
from slurmscale.scaling import Scaling
from slurmscale.service.accounts import Accounts
from slurmscale.service.app import create_app
from slurmscale.service.permissions import Role
from slurmscale.service.settings import ServiceSettings
from slurmscale.settings import Settings
from slurmscale.states import RunStatus
from slurmscale.store.repository import Store

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database without records; making the tables takes longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "slurmscale.db"
    Store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def scaling(tmp_path, empty_database):
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(empty_database, tmp_path / "data" / "slurmscale.db")
    with Scaling(Settings(data_dir=tmp_path / "data"), make_job=lambda _launch: FakeJob([])) as scaling:
        yield scaling


@pytest.fixture
def accounts(scaling):
    """Users whose passwords are hashed quickly."""
    return Accounts(scaling.store, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def config():
    return ServiceSettings()


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
def as_role(app, token):
    """Return a function that gives a client of a user of a role."""

    def make(role="viewer", **limits):
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
