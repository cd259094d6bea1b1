"""What is refused leaves at most a row of the audit trail: no run, no claim, no secret, no entry of a queue."""

from __future__ import annotations

import os
import secrets

import pytest
from fakes.waiting import wait_for
from slurmscale.errors import StoreUnavailableError
from slurmscale.models import Cluster
from slurmscale.scaling import Scaling
from slurmscale.service.access.sealing import RunSealer
from slurmscale.service.routes import commands
from slurmscale.settings import Settings
from slurmscale.states import RunStatus
from slurmscale.store import repository
from slurmscale.store.run_queue import RunQueue
from sqlalchemy import func, inspect, select, table


@pytest.fixture
def scaling(each_database, tmp_path, launches):  # noqa: ARG001 - it is what the library finds
    """Open the library as a service does: with PostgreSQL runs go to workers, and there is none."""
    queue = RunQueue if "SLURMSCALE_DATABASE_URL" in os.environ else None
    config, sealer = Settings(data_dir=tmp_path / "data"), RunSealer((secrets.token_bytes(32),))
    with Scaling(config, make_job=launches.job, sealer=sealer, make_queue=queue) as scaling:
        scaling.add_cluster(Cluster("lab", controller="192.0.2.1"))
        scaling.add_cluster(Cluster("small", controller="192.0.2.2", config={"max_nodes": 1}))
        yield scaling


@pytest.fixture
def rows(scaling):
    """Return a function that counts the rows of each table, those of the queue too."""

    def count():
        with scaling.store.engine.connect() as connection:
            names = set(inspect(connection).get_table_names()) - {"audit"}
            assert ("procrastinate_jobs" in names) == (scaling.queue is not None)
            return {
                name: connection.execute(select(func.count()).select_from(table(name))).scalar_one() for name in names
            }

    return count


@pytest.fixture
def refused(rows):
    """Return a function that asks for what is refused, with a key, and sees to it that it left nothing."""

    def ask(client, path, body, *expected, **headers):
        before = rows()
        answer = client.post(f"/api/{path}", json=body, headers={"Idempotency-Key": "refused", **headers})
        found = (answer.status_code, answer.json().get("code"))
        assert found[: len(expected)] == expected, (path, body, answer.text)
        after = rows()
        changed = {name: (before[name], after[name]) for name in after if before[name] != after[name]}
        assert not changed, (path, body)

    return ask


def of(*numbers, cluster="lab", **more):
    """Return a body with machines, each with a password that would be sealed."""
    nodes = [
        {"name": f"n{number}", "host": f"192.0.2.{number}", "user": "root", "password": "pass w0rd"}
        for number in numbers
    ]
    return {"cluster": cluster, "nodes": nodes, **more}


def test_a_request_that_is_wrong_leaves_nothing(as_role, refused):
    operator = as_role("operator")
    wrong = [
        ("slurm/scale-up", of(10, free="x")),
        ("slurm/scale-up", of(10, 10)),
        ("slurm/scale-up", of(10) | {"nodes": "n[1-"}),
        ("slurm/scale-up", of(10) | {"nodes": "n[1-2000]"}),
        ("slurm/scale-up", of(10) | {"nodes": [{"name": "n1", "host": "198.51.100.1", "password": "pass w0rd"}]}),
        ("slurm/scale-up", of(10, cluster="nothing")),
        ("slurm/scale-up", of(10) | {"cluster": None}),
        ("slurm/scale-up", of(10, options={"forks": 1000})),
        ("slurm/scale-down", of(10, options={"jobs": "all"})),
        ("slurm/nodes/check", of(10, cluster="x y")),
        ("slurm/plan", of(10, operation="upgrade")),
        ("slurm/nodes/batch-install", {"cluster": "lab", "nodes": []}),
        ("slurm/init-nodes", {"cluster": "lab", "nodes": [{"ssh": {"host": "192.0.2.9", "password": "x\ny"}}]}),
        ("slurm/scale-up", of(10, 11, cluster="small")),
    ]
    for path, body in wrong:
        refused(operator, path, body, 422)
    refused(operator, "slurm/scale-up", of(10, plan_id="20260101-000000-abcdef"), 404, "not-found")
    refused(operator, "slurm/scale-up", of(10, credential="0a1b2c3d4e5f6789"), 409, "credentials-needed")
    refused(operator, "slurm/runs/20260101-000000-abcdef/retry", {}, 404, "not-found")
    refused(operator, "slurm/scale-up", of(10) | {"more": "x" * 1024 * 1024}, 413, "request-too-large")


def test_who_may_not_leaves_nothing(as_role, client, refused):
    bound = as_role("operator", name="bound", clusters=["small"])
    for path in ("slurm/scale-up", "slurm/scale-down", "slurm/nodes/check", "slurm/plan"):
        refused(client, path, of(10), 401, "not-signed-in")
        refused(as_role("viewer"), path, of(10), 403, "permission-missing")
        refused(bound, path, of(10), 403, "permission-missing")
    refused(as_role("viewer"), "jobs/submit", {"cluster_id": "lab", "command": "true"}, 403, "permission-missing")
    refused(as_role("operator"), "slurm/credentials", {"cluster": "lab", "password": "x"}, 403, "permission-missing")
    refused(as_role("operator"), "users", {"name": "eve", "role": "admin"}, 403, "permission-missing")


def test_what_finds_nodes_in_use_or_too_many_runs_leaves_nothing(as_role, refused, launches, scaling, monkeypatch):
    operator = as_role("operator")
    launches.gate.clear()
    made = operator.post("/api/slurm/scale-up", json=of(10, 11)).json()["run"]["id"]
    if scaling.queue is None:
        wait_for(lambda: scaling.store.run(made).status is RunStatus.RUNNING and launches)
    refused(operator, "slurm/scale-up", of(11, 12), 409, "nodes-in-use")
    refused(operator, "slurm/nodes/check", of(10), 409, "nodes-in-use")
    refused(operator, f"slurm/runs/{made}/retry", {}, 409, "request-invalid")
    monkeypatch.setattr(commands, "_MOST_RUNS", 1)
    refused(operator, "slurm/scale-up", of(12), 429, "too-many-requests")
    launches.gate.set()


def test_what_fails_while_it_is_recorded_leaves_nothing(as_role, refused, rows, launches, monkeypatch):
    operator = as_role("operator")
    # a run that ends gives its claims and secrets up
    launches.gate.clear()

    def away(*_):
        raise StoreUnavailableError("It is away.")

    before = rows()
    with monkeypatch.context() as broken:
        # by then the run, its nodes and its secrets are written
        broken.setattr(repository, "note_run", away)
        refused(operator, "slurm/scale-up", of(10), 503, "database-unavailable")
    assert operator.post("/api/slurm/scale-up", json=of(10)).status_code == 202
    grown = {name for name, count in rows().items() if count > before[name]}
    assert grown >= {"runs", "tasks", "claims", "run_secrets"}
    launches.gate.set()
