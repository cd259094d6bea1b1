"""Who is limited to some clusters sees, changes, makes and gives nothing of the others; from the table of routes."""

from __future__ import annotations

import pytest
from slurmscale.models import Cluster, SlurmJob
from slurmscale.store.audit import AuditEntry
from slurmscale.store.jobs import JobRecords
from slurmscale.store.logins import KeptLogin, Logins

from .conftest import PASSWORD
from .test_permissions import ANSWERED, OPEN, body_of, routes

ENDLESS = "/api/slurm/events"
TEXTS = {"/problems/{code}"}
"""What is of no cluster."""
WITHOUT = {("GET", "/api/slurm/runs/{run_id}/plan")}
"""What there is not, for the run has not begun."""
JOB = "20260101-000000-abc123"


@pytest.fixture
def lab(scaling, app, accounts, record_run, launches):
    """What there is of cluster lab, as the values of paths and of queries."""
    launches.result = ANSWERED
    scaling.add_cluster(Cluster("lab", controller="192.0.2.1", apphub_urls=("https://apphub.example",)))
    run = record_run("20260101-000000-1ab1ab", nodes=("lab-n1",), request={"secret": False})
    JobRecords(scaling.store).add(
        SlurmJob(JOB, "lab", "17", state="PENDING", name="lab-job", submitted_at=1.0, seen_at=2.0)
    )
    logins = Logins(scaling.store)
    logins.save(KeptLogin("1" * 16, "lab", "lab-user", "password", "x", "", for_cluster=True))
    kept = logins.save(KeptLogin("0" * 16, "lab", "lab-other", "password", "x", "", for_cluster=False))
    user = accounts.users.named("lab-boss") or accounts.add_user("lab-boss", "admin", password=PASSWORD)
    token = accounts.new_token(user, "lab-script", 1)[1]
    hook = app.state.hooks.add("https://lab-hooks.example/", ["run.failed"])[0]
    app.state.audit.add(AuditEntry("scale-up", "success", "lab-row", "test", cluster="lab", nodes="lab-n1"))
    scaling.add_cluster(Cluster("other", controller="192.0.2.2"))
    return {
        "run_id": run.id, "task_id": f"{run.id}:lab-n1", "cluster_id": "lab", "job_id": "lab:17", "user_id": user.id,
        "credential_id": kept.id, "token_id": token.id, "webhook_id": hook.id, "code": "nodes-in-use",
    }  # fmt: skip


def calls(app, client, lab):
    """Yield how each route is asked for something of cluster lab: method, path, and what else the request has."""
    document = client.get("/openapi.json").json()
    for route in routes(app):
        if route.path in OPEN or route.path == "/api/auth/logout":
            continue
        for method in sorted(route.methods):
            told = document["paths"][route.path_format][method.lower()]
            known = {"run": lab["run_id"], "cluster": "lab", "log": lab["run_id"]}
            wanted = [one["name"] for one in told.get("parameters", ()) if one["in"] == "query"]
            query = {name: known[name] for name in wanted if name in known}
            if route.path == ENDLESS:
                query.pop("log")
            yield method, route, {"params": query, "json": body_of(told, document, cluster="lab")}


@pytest.mark.parametrize("limit", ["user", "token"])
def test_nothing_of_another_cluster_is_seen_or_changed(app, as_role, accounts, lab, limit):
    bound = as_role("admin", clusters=["other"] if limit == "user" else None, name="bound")
    if limit == "token":
        token, _ = accounts.new_token(accounts.users.named("bound"), "few", 1, clusters=["other"])
        bound.headers["Authorization"] = f"Bearer {token}"
    table = list(calls(app, bound, lab))
    assert len(table) > 50
    for method, route, more in table:
        answer = bound.request(method, route.path.format(**lab), **more)
        if answer.status_code == 403:
            continue
        about_lab = "{" in route.path or (more["json"] or {}).keys() & {"cluster", "cluster_id"}
        if (about_lab and route.path not in TEXTS) or route.path in (ENDLESS, "/api/slurm/tasks"):
            assert answer.status_code == 404, (method, route.path, answer.text)
        else:
            assert answer.status_code in (200, 201), (method, route.path, answer.text)
            assert "lab" not in answer.text, (method, route.path, answer.text)
    # all of that is there for who is not limited
    admin = as_role("admin")
    refused = {
        (method, route.path)
        for method, route, more in sorted(table, key=_takes_away)
        if route.path != ENDLESS
        and admin.request(method, route.path.format(**lab), **more).status_code in (401, 403, 404)
    }
    assert refused == WITHOUT


def _takes_away(call):
    """Return what calls are sorted by, so that those come last after which something is not there any more."""
    method, route, _ = call
    return method == "DELETE", "/clusters/" in route.path, -route.path.count("/")


def test_the_same_with_slurms_own_id_of_a_job(as_role, lab, scaling):
    JobRecords(scaling.store).add(
        SlurmJob("20260102-000000-abc124", "other", "17", state="COMPLETED", submitted_at=2.0)
    )
    bound = as_role("admin", clusters=["other"], name="bound")
    for job in (JOB, "lab:17", "nothing:17"):
        assert bound.get(f"/api/jobs/{job}").status_code == 404
        assert bound.post(f"/api/jobs/{job}/cancel").status_code == 404
    # his own is found, as if there were no other
    for path in ("/api/jobs/17", "/api/jobs/17/status", "/api/jobs/other:17"):
        assert bound.get(path).json()["cluster"] == "other"
    assert bound.post("/api/jobs/17/cancel").status_code == 409
    assert lab


def make_user(client, name="made", role="operator", **more):
    return client.post("/api/users", json={"name": name, "role": role, "password": PASSWORD, **more})


def test_who_is_limited_to_clusters_gives_no_others(as_role, accounts, app):
    bound = as_role("admin", clusters=["mine", "ours"], name="bound")
    for more in ({}, {"clusters": None}, {"clusters": ["lab"]}, {"clusters": ["mine", "lab"]}):
        assert make_user(bound, **more).status_code == 403
    assert accounts.users.named("made") is None
    made = make_user(bound, role="admin", clusters=["mine"])
    assert (made.status_code, made.json()["clusters"]) == (201, ["mine"])
    where = f"/api/users/{made.json()['id']}"
    assert bound.patch(where, json={"clusters": ["ours"], "password": "another password"}).status_code == 200
    for more in ({"clusters": None}, {"clusters": ["lab"]}):
        assert bound.patch(where, json=more).status_code == 403
    me = f"/api/users/{accounts.users.named('bound').id}"
    assert bound.patch(me, json={"clusters": None}).status_code == 403
    assert bound.patch(me, json={"clusters": ["mine", "ours", "lab"]}).status_code == 403
    assert {user.clusters for user in accounts.users.all()} == {("mine", "ours"), ("ours",)}
    assert bound.delete(where).status_code == 204
    denied = app.state.audit.entries(limit=100, status="denied")
    assert {entry.action for entry in denied} == {"create-user", "change-user"}


def test_who_is_limited_to_clusters_has_no_say_over_who_is_not(as_role, accounts):
    chief = as_role("admin", name="chief")
    bound = as_role("admin", clusters=["mine"], name="bound")
    make_user(chief, "wide", clusters=["mine", "lab"])
    token = chief.post("/api/tokens", json={"name": "chiefs"}).json()
    for name in ("chief", "wide"):
        where = f"/api/users/{accounts.users.named(name).id}"
        assert bound.patch(where, json={"password": "another password"}).status_code == 404
        assert bound.patch(where, json={"clusters": ["mine"]}).status_code == 404
        assert bound.delete(where).status_code == 404
        assert bound.post("/api/tokens", json={"name": "x", "user": name}).status_code == 404
    assert bound.delete(f"/api/tokens/{token['id']}").status_code == 404
    assert [user["name"] for user in bound.get("/api/users").json()["items"]] == ["bound"]
    assert {one["user"] for one in bound.get("/api/tokens").json()["items"]} == {"bound"}
    assert accounts.sign_in("wide", PASSWORD)


def test_who_is_limited_to_clusters_makes_none_and_logs_in_nowhere_else(as_role, scaling, launches):
    bound = as_role("admin", clusters=["mine"], name="bound")
    ssh = {"host": "192.0.2.1"}
    for path, body in (
        ("", {"name": "mine", "controller": "192.0.2.1"}),
        ("", {"name": "new", "controller": "192.0.2.1"}),
        ("/connect", {"name": "mine", "master_ssh": ssh}),
        ("/connect", {"name": "new", "master_ssh": ssh}),
        ("/test-connection", {"master_ssh": ssh}),
        ("/test-connection", {"name": "mine", "master_ssh": ssh}),
    ):
        assert bound.post(f"/api/slurm/clusters{path}", json=body).status_code == 403, path
    assert (launches, scaling.store.clusters()) == ([], [])


def test_who_is_limited_to_clusters_makes_what_is_of_them(as_role, scaling, launches):
    scaling.add_cluster(Cluster("mine", controller="192.0.2.1"))
    scaling.add_cluster(Cluster("lab", controller="192.0.2.2"))
    bound = as_role("admin", clusters=["mine"], name="bound")
    nodes = {"nodes": [{"name": "n1", "host": "192.0.2.9"}]}
    run = bound.post("/api/slurm/scale-up", json=nodes, headers={"Prefer": "wait=30"})
    assert (run.status_code, run.json()["run"]["cluster"]) == (200, "mine")
    token = bound.post("/api/tokens", json={"name": "script"}).json()
    assert (token["clusters"], token["permissions"]) == (["mine"], None)
    assert len(launches) == 1
    rows = bound.get("/api/audit").json()["items"]
    assert {row["action"] for row in rows} >= {"scale-up", "create-token"}
    assert "create-token" in bound.get("/api/audit.csv").text
    assert bound.delete("/api/slurm/clusters/mine").status_code == 204


@pytest.mark.parametrize(
    ("path", "where"), [("scale-up", "options"), ("nodes/scale", "options"), ("plan", "options"), ("nodes/check", None)]
)
def test_who_is_limited_to_clusters_takes_no_machine_of_another_one(as_role, app, launches, path, where):
    app.state.scaling.add_cluster(Cluster("mine", controller="192.0.2.1"))
    machines = {"cluster": "mine", "nodes": [{"name": "n1", "host": "192.0.2.9"}]}
    taking = machines | ({where: {"take_over": True}} if where else {"take_over": True})
    bound, chief = as_role("operator", clusters=["mine"], name="bound"), as_role("operator", name="chief")
    denied = bound.post(f"/api/slurm/{path}", json=taking)
    assert (denied.status_code, "access to all clusters" in denied.json()["detail"], launches) == (403, True, [])
    (row,) = app.state.audit.entries(limit=9, status="denied")
    assert (row.user_name, row.details) == ("bound", {"cluster": "mine"})
    launches.bad.add("n1")
    wait = {"Prefer": "wait=30"}
    run = chief.post(f"/api/slurm/{path}", json=taking, headers=wait).json()["run"]["id"]
    assert launches[-1].extra_vars["take_over"] is True
    # nor does he repeat what somebody else was allowed to do
    again = f"/api/slurm/runs/{run}/retry"
    assert bound.post(again, json={}).status_code == 403
    assert bound.post(f"/api/slurm/tasks/{run}:n1/retry", json={}).status_code == 403
    assert chief.post(again, json={}, headers=wait).status_code == 200
    assert bound.post(f"/api/slurm/{path}", json=machines, headers=wait).status_code == 200
    assert len(launches) == 3


def test_figures_and_webhooks_of_all_clusters_are_for_who_is_not_limited(as_role):
    bound = as_role("admin", clusters=["mine"], name="bound")
    for path, permission in (("/metrics", "metrics:read"), ("/api/webhooks", "webhooks:admin")):
        answer = bound.get(path)
        assert (answer.status_code, permission in answer.json()["detail"]) == (403, True)
        assert permission not in bound.get("/api/auth/me").json()["permissions"]


def test_a_token_of_users_admin_gives_no_role_that_may_more_than_it(as_role, accounts, app):
    few = as_role("admin", permissions=["users:admin", "slurm:read", "slurm:jobs:read", "metrics:read"])
    assert make_user(few, "looks", "viewer").status_code == 201
    answer = make_user(few, "more", "operator")
    assert (answer.status_code, "apphub:check" in answer.json()["detail"]) == (403, True)
    where = f"/api/users/{accounts.users.named('looks').id}"
    assert few.patch(where, json={"role": "admin"}).status_code == 403
    chief = as_role("admin", name="chief")
    assert chief.patch(where, json={"role": "operator"}).status_code == 200
    assert few.patch(where, json={"password": "another password"}).status_code == 403
    assert few.delete(where).status_code == 403
    assert [entry.action for entry in app.state.audit.entries(limit=9, status="denied")] == [
        "remove-user", "change-user", "change-user", "create-user",
    ]  # fmt: skip


def test_an_answer_is_repeated_for_nobody_who_may_less(as_role, accounts):
    key = {"Idempotency-Key": "one"}
    whole, few = as_role("admin"), as_role("admin", permissions=["slurm:read"])
    bound = as_role("admin")
    token, _ = accounts.new_token(accounts.users.named("admin"), "few", 1, clusters=["lab"])
    bound.headers["Authorization"] = f"Bearer {token}"
    first = whole.post("/api/tokens", json={"name": "script"}, headers=key)
    for other in (few, bound):
        answer = other.post("/api/tokens", json={"name": "script"}, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")
    assert as_role("admin").post("/api/tokens", json={"name": "script"}, headers=key).json() == first.json()
