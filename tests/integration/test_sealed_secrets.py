"""Runs with secrets that another process can take up: sealed with a key file, on SQLite and on PostgreSQL."""

from __future__ import annotations

import base64
import secrets
import time

import pytest
from slurmscale.errors import RefusedError
from slurmscale.models import Cluster, Credentials, NodeSpec, RunOptions
from slurmscale.operations import Operation
from slurmscale.runner.fake import FakeJob
from slurmscale.scaling import Scaling
from slurmscale.service.access.sealing import RunSealer, rotate, sealer
from slurmscale.service.settings import ServiceSettings
from slurmscale.states import RunStatus
from sqlalchemy import inspect

LAB = Cluster("lab", controller="10.0.0.1")
SECRET = "hunter22-planted"  # noqa: S105 - made up, to be looked for
KIND = "PRIVATE KEY"
KEY = f"-----BEGIN {KIND}-----\n{SECRET}5\n-----END {KIND}-----\n"
OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)


@pytest.fixture
def launches():
    """What Ansible would have been given, in order."""
    return []


@pytest.fixture
def open_scaling(config, url, launches):
    opened = []

    def make_job(launch):
        launches.append(launch)
        return FakeJob([])

    def new(*keys):
        own = config.model_copy(update={"database_url": url})
        opened.append(Scaling(own, make_job=make_job, sealer=RunSealer(keys) if keys else None))
        return opened[-1]

    yield new
    for scaling in opened:
        scaling.close()


def ask(scaling):
    nodes = [
        NodeSpec("n1", "10.0.0.7", Credentials(user="ann", password=SECRET + "1", private_key=KEY)),
        NodeSpec("n2"),
    ]
    options = RunOptions(
        credentials=Credentials(become_password=SECRET + "2"), extra_vars={"munge_key": SECRET + "3", "duration": 1},
        vault_password=SECRET + "4",
    )  # fmt: skip
    return scaling.request(Operation.SCALE_UP, LAB, nodes, options)


def lose(scaling, run):
    with scaling.store.begin() as connection:
        connection.exec_driver_sql(f"UPDATE runs SET owner_ticks = owner_ticks + 1 WHERE id = '{run.id}'")  # noqa: S608 - our own


def everything(scaling):
    """Return all that the database holds."""
    with scaling.store.engine.connect() as connection:
        return str(
            [
                connection.exec_driver_sql(f"SELECT * FROM {table}").all()  # noqa: S608 - our own
                for table in inspect(connection).get_table_names()
            ]
        )


def test_another_process_with_the_key_goes_on_with_the_same_secrets(open_scaling, launches):
    first = open_scaling(OLD)
    run = ask(first)
    lose(first, run)
    second = open_scaling(OLD)
    assert [waiting.id for waiting in second.store.waiting_runs()] == [run.id]
    assert SECRET not in everything(second)
    second.execute(run.id).wait(60)
    assert all(SECRET + part in str(launches[0]) or SECRET + part in str(launches[0].added) for part in "1235")
    assert launches[0].vault_password == SECRET + "4"
    assert launches[0].extra_vars["duration"] == 1
    assert second.store.run_secrets() == {}
    assert SECRET not in everything(second)


def test_sealed_secrets_are_deleted_with_the_end_of_the_run(open_scaling):
    scaling = open_scaling(OLD)
    run = ask(scaling)
    assert list(scaling.store.run_secrets()) == [run.id]
    scaling.cancel(run.id)
    assert scaling.store.run_secrets() == {}
    run = ask(scaling)
    scaling.execute(run.id).wait(60)
    assert scaling.store.run_secrets() == {}


def test_secrets_that_are_older_than_a_day_are_gone_and_with_them_the_run(open_scaling):
    scaling = open_scaling(OLD)
    run = ask(scaling)
    scaling.store.delete_run_secrets(time.time() + 1)
    lose(scaling, run)
    assert [ended.id for ended in scaling.recover()] == [run.id]


def test_nothing_is_sealed_where_nothing_is_secret_or_nobody_else_may_go_on(open_scaling):
    scaling = open_scaling(OLD)
    scaling.request(Operation.SCALE_UP, LAB, "n1")
    options = RunOptions(credentials=Credentials(password=SECRET))
    scaling.run(Operation.SCALE_UP, LAB, "n2", options).wait(60)
    assert scaling.store.run_secrets() == {}


def test_without_the_key_nobody_takes_it_up(open_scaling):
    run = ask(open_scaling(OLD))
    for other in (open_scaling(), open_scaling(NEW)):
        with pytest.raises(RefusedError, match=r"another key|no key"):
            other.execute(run.id)
        assert other.store.run(run.id).status is RunStatus.PENDING


def test_what_was_sealed_for_one_run_is_opened_for_no_other():
    own = RunSealer((OLD,))
    with pytest.raises(RefusedError):
        own.open("r2", own.seal("r1", SECRET))
    assert own.open("r1", own.seal("r1", SECRET)) == SECRET


def test_keys_are_rotated_while_runs_wait(open_scaling):
    scaling = open_scaling(OLD)
    run = ask(scaling)
    with pytest.raises(RefusedError, match="another key"):
        rotate(scaling.store, RunSealer((NEW,)))
    assert rotate(scaling.store, RunSealer((NEW, OLD))) == 1
    lose(scaling, run)
    open_scaling(NEW).execute(run.id).wait(60)


def test_only_a_key_file_of_its_own_seals(tmp_path, config):
    keys = tmp_path / "keys"
    keys.write_bytes(base64.urlsafe_b64encode(OLD) + b"\n")
    keys.chmod(0o644)
    assert sealer(ServiceSettings(), config) is None
    with pytest.raises(RefusedError, match="open to others"):
        sealer(ServiceSettings(secret_key_file=keys), config)
    keys.chmod(0o600)
    assert sealer(ServiceSettings(secret_key_file=keys), config).open("r1", RunSealer((OLD,)).seal("r1", "x")) == "x"
