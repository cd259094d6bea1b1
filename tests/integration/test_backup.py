"""Backup and restore as docs/how-to/service.md says: the commands of the page, and everything is there afterwards."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from pathlib import Path

import pytest
from slurmscale.models import Cluster, Credentials, NodeSpec
from slurmscale.operations import Operation
from slurmscale.scaling import Scaling
from slurmscale.service.access.accounts import Accounts
from slurmscale.service.access.keys import derive
from slurmscale.service.access.permissions import Role
from slurmscale.service.access.sealing import RunSealer
from slurmscale.states import RunStatus
from slurmscale.store.audit import AuditEntry, AuditTrail
from slurmscale.store.run_queue import RunQueue
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/service.md"
KEYS = (secrets.token_bytes(32),)
SECRET = "hunter22-planted"  # noqa: S105 - made up, to be looked for


def commands(program):
    """Return the commands that back up and those that restore, of the block of the page that has a program."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = (one for one in blocks if f"\n{program} " in one)
    return re.fullmatch(r"# back up\n(.*)# restore[^\n]*\n(.*)", block, re.DOTALL).groups()


def shell(script, environment):
    subprocess.run(["sh", "-eu", "-c", script], env=os.environ | environment, check=True, timeout=120)


def everything(store):
    """Return what a restore brings back as it was; a start goes on with what was active."""
    names = ("claims", "clusters", "run_secrets", "users", "tokens", "audit", "alembic_version")
    with store.engine.connect() as connection:
        return {name: connection.execute(text(f"SELECT * FROM {name} ORDER BY 1")).all() for name in names}  # noqa: S608 - ours


def lose(url):
    """Lose a database of PostgreSQL, and make an empty one in its place."""
    admin = create_engine(make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for command in ("DROP DATABASE {} WITH (FORCE)", "CREATE DATABASE {}"):
            connection.execute(text(command.format(make_url(url).database)))
    admin.dispose()


@pytest.fixture
def site(config, request, tmp_path):
    """Return a function that opens the library of a service, and the environment of the commands."""
    shared = request.param == "pg_dump"
    url = request.getfixturevalue("empty_postgresql") if shared else None
    for name in ("backup", "data"):
        (tmp_path / name).mkdir(mode=0o700)
    own = config.model_copy(update={"database_url": url, "data_dir": tmp_path / "data"})
    environment = {"BACKUP": str(tmp_path / "backup"), "SLURMSCALE_DATA_DIR": str(tmp_path / "data")}
    if shared:
        environment["DATABASE"] = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return (
        lambda: Scaling(own, sealer=RunSealer(KEYS), make_queue=RunQueue if shared else None),
        *commands(request.param),
        environment,
        (lambda: lose(url)) if shared else (lambda: None),
    )


@pytest.mark.parametrize("site", ["sqlite3", "pg_dump"], indirect=True)
def test_what_was_backed_up_is_there_after_a_restore(site):
    opened, save, restore, environment, lost = site
    node = NodeSpec("n1", "10.0.0.7", Credentials(password=SECRET))
    with opened() as scaling:
        scaling.add_cluster(Cluster("lab", controller="10.0.0.1"))
        accounts = Accounts(scaling.store)
        token, _ = accounts.new_token(accounts.add_user("ada", Role.ADMIN), "test", 1)
        AuditTrail(scaling.store, derive(KEYS, "audit")).add(AuditEntry("login", "success", "ada", "here"))
        run = scaling.request(Operation.SCALE_UP, "lab", [node])
        before = everything(scaling.store)
        # it works on meanwhile
        shell(save, environment)
        scaling.add_cluster(Cluster("later", controller="10.0.0.2"))
    lost()
    shell(restore, environment)
    with opened() as scaling:
        assert everything(scaling.store) == before
        found = scaling.store.run(run.id)
        assert (found.nodes, found.status) == (("n1",), RunStatus.PENDING)
        assert SECRET in RunSealer(KEYS).open(run.id, scaling.store.run_secret(run.id))
        assert Accounts(scaling.store).holder(token)[1].name == "ada"
        trail = AuditTrail(scaling.store, derive(KEYS, "audit"))
        trail.add(AuditEntry("login", "success", "ada", "here"))
        assert trail.broken() is None
        with pytest.raises(DatabaseError, match="append only"), scaling.store.begin() as connection:
            connection.execute(text("UPDATE audit SET action = 'x'"))
        if scaling.queue:
            entries = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'"
            with scaling.store.engine.connect() as connection:
                assert connection.execute(text(entries)).scalar() == 1
