from __future__ import annotations

import csv
import io

import pytest
from slurmscale.errors import StoreError
from slurmscale.store.audit import AuditEntry
from sqlalchemy import text

from .conftest import PASSWORD


def test_an_administrator_makes_changes_and_removes_users(as_role, client, app):
    admin = as_role("admin")
    made = admin.post(
        "/api/users", json={"name": "anna", "role": "operator", "password": PASSWORD, "clusters": ["lab"]}
    )
    assert made.status_code == 201
    assert (made.json()["password_set"], made.json()["clusters"]) == (True, ["lab"])
    where = f"/api/users/{made.json()['id']}"
    signed = client.post("/api/auth/login", json={"username": "anna", "password": PASSWORD}).json()["data"]
    headers = {"Authorization": f"Bearer {signed['token']}"}
    assert admin.patch(where, json={"role": "viewer", "clusters": None}).json()["role"] == "viewer"
    assert client.get("/api/auth/me", headers=headers).json()["clusters"] is None
    assert admin.patch(where, json={"password": "another password"}).status_code == 200
    # who signed in with the old one has to do it again
    assert client.get("/api/auth/me", headers=headers).status_code == 401
    assert admin.patch(where, json={}).status_code == 422
    assert admin.delete(where).status_code == 204
    assert admin.delete(where).status_code == 404
    rows = app.state.audit.entries(limit=100, user="admin")
    assert [row.action for row in rows] == ["remove-user", "change-user", "change-user", "create-user"]
    assert PASSWORD not in str(rows)


def test_the_last_administrator_stays(as_role):
    admin = as_role("admin")
    me = admin.get("/api/auth/me").json()["id"]
    assert admin.delete(f"/api/users/{me}").status_code == 409
    assert admin.patch(f"/api/users/{me}", json={"role": "viewer"}).status_code == 409
    assert admin.patch(f"/api/users/{me}", json={"disabled": True}).status_code == 409
    assert admin.get("/api/users").status_code == 200


def test_a_token_is_shown_once_and_may_do_no_more_than_its_maker(as_role, client):
    maker = as_role("operator", permissions=["slurm:read", "slurm:check:nodes"], clusters=["lab"])
    made = maker.post("/api/tokens", json={"name": "script"})
    assert made.status_code == 201
    assert made.json()["permissions"] == ["slurm:check:nodes", "slurm:read"]
    assert made.json()["clusters"] == ["lab"]
    more = maker.post("/api/tokens", json={"name": "more", "permissions": ["slurm:scale:nodes"]})
    assert more.status_code == 409
    assert maker.post("/api/tokens", json={"name": "more", "clusters": ["other"]}).status_code == 409
    listed = maker.get("/api/tokens").json()["items"]
    assert made.json()["token"] not in str(listed)
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    assert client.get("/api/auth/me", headers=headers).status_code == 200
    assert maker.delete(f"/api/tokens/{made.json()['id']}").status_code == 204
    assert client.get("/api/auth/me", headers=headers).status_code == 401


def test_tokens_of_others_are_the_administrators(as_role):
    admin, viewer = as_role("admin"), as_role("viewer")
    other = admin.post("/api/tokens", json={"name": "for viewer", "user": "viewer"}).json()
    own = admin.post("/api/tokens", json={"name": "own"}).json()
    assert viewer.post("/api/tokens", json={"name": "x", "user": "admin"}).status_code == 403
    assert viewer.delete(f"/api/tokens/{own['id']}").status_code == 404
    assert {token["user"] for token in viewer.get("/api/tokens").json()["items"]} == {"viewer"}
    assert {token["user"] for token in admin.get("/api/tokens").json()["items"]} == {"viewer", "admin"}
    assert viewer.delete(f"/api/tokens/{other['id']}").status_code == 204


def test_a_repeated_request_for_a_token_gives_the_same_token_and_it_is_stored_sealed(as_role, scaling):
    client, key = as_role("viewer"), {"Idempotency-Key": "t"}
    first = client.post("/api/tokens", json={"name": "script"}, headers=key).json()
    assert client.post("/api/tokens", json={"name": "script"}, headers=key).json() == first
    files = [path.read_bytes() for path in scaling.settings.data_dir.rglob("*") if path.is_file()]
    assert not [one for one in files if first["token"].encode() in one]


def test_clusters_are_added_shown_and_forgotten(as_role, record_run):
    admin, viewer = as_role("admin"), as_role("viewer", clusters=["lab"])
    body = {"name": "lab", "controller": "ctl1.example", "apphub_urls": ["https://apphub.example/pkgs"]}
    assert as_role("operator").post("/api/slurm/clusters", json=body).status_code == 403
    assert admin.post("/api/slurm/clusters", json=body).status_code == 201
    assert admin.post("/api/slurm/clusters", json=body).status_code == 409
    assert admin.post("/api/slurm/clusters", json={**body, "name": "other"}).status_code == 201
    listed = viewer.get("/api/slurm/clusters")
    assert [cluster["id"] for cluster in listed.json()["items"]] == ["lab"]
    tag = {"If-None-Match": listed.headers["etag"]}
    assert viewer.get("/api/slurm/clusters", headers=tag).status_code == 304
    assert viewer.get("/api/slurm/clusters/other/info").status_code == 404
    run = record_run(cluster="lab")
    info = viewer.get("/api/slurm/clusters/lab/info").json()
    assert [one["id"] for one in info["recent_runs"]] == [run.id]
    busy = admin.delete("/api/slurm/clusters/lab")
    assert (busy.status_code, busy.json()["run_id"]) == (409, run.id)
    assert admin.delete("/api/slurm/clusters/other").status_code == 204


@pytest.mark.parametrize("change", [
    {"name": "A b"}, {"name": "../x"}, {"controller": "-oProxyCommand=x"}, {"apphub_urls": ["file:///etc/passwd"]},
    {"apphub_urls": ["https://user:password@apphub.example"]}, {"inventory": "/etc/hosts"}, {"variables": {"a": 1}},
])  # fmt: skip
def test_a_cluster_that_says_more_than_addresses_is_refused(as_role, change):
    body = {"name": "lab", "controller": "ctl1.example", "apphub_urls": []}
    assert as_role("admin").post("/api/slurm/clusters", json=body | change).status_code == 422


def test_the_audit_trail_is_read_page_by_page_and_filtered(as_role, app):
    for number in range(5):
        app.state.audit.add(AuditEntry(f"a{number % 2}", "success", "x", "test", user_name="anna"))
    admin, seen, cursor = as_role("admin"), [], None
    while True:
        page = admin.get("/api/audit", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [row["id"] for row in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(seen, key=int, reverse=True)
    assert len(set(seen)) == 5
    assert len(admin.get("/api/audit?action=a1").json()["items"]) == 2


@pytest.mark.parametrize("change", ["UPDATE audit SET status = 'success'", "DELETE FROM audit"])
def test_no_row_of_the_audit_trail_can_be_changed_or_deleted(app, scaling, change):
    app.state.audit.add(AuditEntry("a", "denied", "x", "test"))
    store = scaling.store
    with pytest.raises(StoreError, match="append only"), store.explained("write"), store.begin() as connection:
        connection.execute(text(change))
    assert app.state.audit.broken() is None


def test_whoever_goes_around_the_trigger_is_found_out(app, scaling):
    for number in range(3):
        app.state.audit.add(AuditEntry(f"a{number}", "denied", "x", "test"))
    with scaling.store.begin() as connection:
        postgresql = connection.dialect.name == "postgresql"
        connection.execute(text(f"DROP TRIGGER {'audit_append_only ON audit' if postgresql else 'audit_no_update'}"))
        connection.execute(text("UPDATE audit SET status = 'success' WHERE id = 2"))
    assert app.state.audit.broken() == 2


def test_the_audit_trail_is_a_table_that_no_spreadsheet_calculates_with(as_role, app):
    app.state.audit.add(AuditEntry("scale-up", "failed", "=1+1", "test", user_name="anna", nodes="n1,n2"))
    answer = as_role("admin").get("/api/audit.csv", params={"user": "anna"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["action"], row["resource"], row["nodes"]) == ("scale-up", "'=1+1", "n1 n2")
    assert as_role("operator").get("/api/audit.csv").status_code == 403


def test_a_token_that_is_not_valid_is_audited_and_none_at_all_is_not(client, app):
    assert client.get("/api/auth/me").status_code == 401
    assert app.state.audit.entries(limit=5) == []
    wrong = "slsc_" + "0" * 40
    assert client.get("/api/auth/me", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
    (entry,) = app.state.audit.entries(limit=5)
    assert (entry.status, entry.resource, entry.details) == ("denied", "GET /api/auth/me", {"code": "not-signed-in"})
    assert wrong not in str(entry)
