from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from slurmscale.service.access.rate_limit import RateLimit
from slurmscale.service.app import create_app


def test_every_answer_has_an_id_and_headers_that_browsers_keep_to(client):
    for path in ("/healthz", "/nothing", "/api/auth/me"):
        headers = client.get(path).headers
        assert len(headers["x-request-id"]) == 16
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "strict-transport-security" in headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "", "localhost.evil.example", "[::2]"])
def test_a_name_that_is_not_ones_own_is_refused(client, host):
    answer = client.get("/healthz", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (400, "host-not-allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8765", "127.0.0.1:1", "[::1]:8765"])
def test_ones_own_names_are_taken_with_any_port(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_body_that_is_too_large_is_refused_whether_it_tells_its_size_or_not(client):
    large = b"[" + b" " * 1024 * 1024 + b"]"
    headers = {"Content-Type": "application/json"}
    answers = [
        client.post("/api/auth/login", content=large, headers=headers),
        client.post("/api/auth/login", content=iter([large[:1000], large[1000:]]), headers=headers),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(413, "request-too-large")] * 2


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_form_is_no_request(client, kind):
    answer = client.post("/api/auth/login", content=b"{}", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "content-type-unsupported")


@pytest.mark.parametrize("path", ["runs?node=n%00", "runs/%00", "tasks/x%00:n1/logs", "runs?cluster=a&%00=b"])
def test_a_character_that_no_database_takes_is_refused(as_role, path):
    refused = as_role().get(f"/api/slurm/{path}")
    assert (refused.status_code, refused.json()["code"]) == (422, "request-invalid")
    assert "NUL" in refused.json()["detail"]


def test_nor_does_a_body_hold_it(as_role):
    admin = as_role("admin")
    for path, body in (
        ("tokens", {"name": "a\0"}), ("users", {"name": "a\0", "role": "viewer"}),
        ("slurm/scale-up", {"cluster": "lab", "nodes": ["n1\0"]}), ("auth/login", {"username": "a\0", "password": "b"}),
        ("slurm/init-nodes", {"nodes": [{"ssh": {"host": "h"}}], "repoURL": "http://a\0"}),
    ):  # fmt: skip
        assert admin.post(f"/api/{path}", json=body).status_code == 422, path


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/api/auth/login", 405)])
def test_what_is_not_there_is_a_problem_too(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["instance"]) == (status, path)
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_a_mistake_of_ours_tells_where_and_not_what(app, monkeypatch, as_role):
    def fail(*_args, **_more):
        raise ValueError("a secret")

    monkeypatch.setattr(app.state.scaling, "read_status", fail)
    answer = as_role().get("/api/slurm/scaling/status")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "secret" not in answer.text


def test_health_needs_no_login_and_tells_nothing_but_that(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"ready": True, "database": True, "worker": True}


def test_no_page_loads_scripts_from_elsewhere(client):
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404
    assert client.get("/openapi.json").json()["info"]["title"] == "slurmscale"


def test_when_the_database_is_away_it_is_not_ready(client, scaling, monkeypatch):
    from slurmscale.errors import StoreUnavailableError  # noqa: PLC0415 - of this test only

    def fail():
        raise StoreUnavailableError("It is away.")

    monkeypatch.setattr(scaling.store, "check", fail)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)


def test_who_asks_too_often_is_told_when_to_ask_again(scaling, config, accounts):
    app = create_app(scaling, config.model_copy(update={"requests_per_second": 1}), accounts)
    with TestClient(app, base_url="https://localhost") as client:
        answers = [client.get("/api/auth/me") for _ in range(50)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert (refused[0].json()["code"], refused[0].headers["retry-after"]) == ("too-many-requests", "1")
        assert client.get("/healthz").status_code == 200


def test_a_caller_gets_back_what_it_did_not_use_and_no_more():
    now = [0.0]
    limit = RateLimit(10, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(20)] == [0] * 20
    assert limit.take("a") == pytest.approx(0.1)
    assert limit.take("b") == 0
    now[0] = 0.5
    assert [bool(limit.take("a")) for _ in range(6)] == [False] * 5 + [True]
    now[0] = 1000
    assert [bool(limit.take("a")) for _ in range(21)] == [False] * 20 + [True]
    assert RateLimit(0).take("a") == 0


def test_the_type_of_a_problem_leads_to_what_it_means(client):
    problem = client.get("/api/nothing").json()
    page = client.get(problem["type"])
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<h1>not-found</h1>" in page.text
    assert client.get("/problems/nodes-in-use").status_code == 200
    assert client.get("/problems/no-such-code").status_code == 404
    assert client.get("/problems/..%2f..").status_code in (404, 422)
