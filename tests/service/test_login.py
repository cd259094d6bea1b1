from __future__ import annotations

import re

import pytest
from slurmscale.service.access.authentication import COOKIE

from .conftest import PASSWORD

pytestmark = pytest.mark.usefixtures("anna")


@pytest.fixture
def anna(accounts):
    return accounts.add_user("anna", "operator", password=PASSWORD)


def login(client, password=PASSWORD, name="anna", **more):
    return client.post("/api/auth/login", json={"username": name, "password": password, **more})


def test_a_login_gives_a_token_that_says_who_one_is(client):
    answer = login(client)
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert re.fullmatch(r"slsc_[0-9a-f]{84}", data["token"])
    assert data["user"]["role"] == "operator"
    me = client.get("/api/auth/me", headers={"Authorization": f"Bearer {data['token']}"})
    assert (me.status_code, me.json()["name"], me.json()["clusters"]) == (200, "anna", None)
    assert "slurm:scale:nodes" in me.json()["permissions"]
    assert "users:admin" not in me.json()["permissions"]


def test_the_token_is_kept_nowhere(client, scaling):
    token = login(client).json()["data"]["token"]
    files = [path.read_bytes() for path in scaling.settings.data_dir.rglob("*") if path.is_file()]
    assert files
    assert not [one for one in files if token.encode() in one or PASSWORD.encode() in one]


def test_after_the_logout_the_token_is_not_valid(client):
    headers = {"Authorization": f"Bearer {login(client).json()['data']['token']}"}
    assert client.post("/api/auth/logout", headers=headers).status_code == 204
    answer = client.get("/api/auth/me", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["code"] == "not-signed-in"


def test_a_page_gets_a_cookie_that_no_script_can_read_and_no_token(client):
    answer = login(client, cookie=True)
    assert answer.json()["data"]["token"] is None
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=slsc_")
    for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert word in cookie
    assert client.get("/api/auth/me").json()["name"] == "anna"
    same = {"Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/auth/logout", headers=same).status_code == 204
    assert client.get("/api/auth/me").status_code == 401


@pytest.mark.parametrize("headers", [
    {}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
])  # fmt: skip
def test_a_page_of_another_origin_can_not_use_the_cookie_to_change_something(client, headers):
    login(client, cookie=True)
    answer = client.post("/api/auth/logout", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin-not-allowed")
    assert client.get("/api/auth/me").status_code == 200


def test_the_origin_of_the_service_itself_may(client):
    login(client, cookie=True)
    assert client.post("/api/auth/logout", headers={"Origin": "https://localhost"}).status_code == 204


def test_a_token_can_be_turned_into_a_session_that_may_not_do_more(client, anna, accounts):
    token, _ = accounts.new_token(anna, "script", 1, permissions=["slurm:read"], clusters=["lab"])
    answer = client.post("/api/auth/login", json={"token": token})
    assert answer.status_code == 200
    user = answer.json()["data"]["user"]
    assert (user["permissions"], user["clusters"]) == (["slurm:read"], ["lab"])
    headers = {"Authorization": f"Bearer {answer.json()['data']['token']}"}
    assert client.get("/api/auth/me", headers=headers).json() == user


def test_wrong_passwords_and_unknown_users_get_the_same_answer(client):
    answers = [login(client, "wrong password"), login(client, name="nobody")]
    assert {answer.status_code for answer in answers} == {401}
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    assert bodies[0] == bodies[1]


def test_after_five_failures_even_the_right_password_has_to_wait(client, accounts):
    for _ in range(5):
        assert login(client, "wrong password").status_code == 401
    answer = login(client)
    assert (answer.status_code, answer.json()["code"]) == (429, "too-many-requests")
    assert 0 < int(answer.headers["retry-after"]) <= 30
    # somebody else is not harmed
    accounts.add_user("bert", "viewer", password=PASSWORD)
    assert login(client, name="bert").status_code == 200


def test_a_success_ends_the_counting(client):
    for _ in range(4):
        login(client, "wrong password")
    assert login(client).status_code == 200
    for _ in range(4):
        assert login(client, "wrong password").status_code == 401
    assert login(client).status_code == 200


@pytest.mark.parametrize("text", [
    "", "slsc_", "x" * 84, "slsc_" + "0" * 84, "Basic x", "slsc_" + "0" * 12 + "é" * 64,
])  # fmt: skip
def test_what_is_no_token_is_refused(client, text):
    answer = client.get("/api/auth/me", headers={"Authorization": f"Bearer {text}".encode()})
    assert (answer.status_code, answer.json()["code"]) == (401, "not-signed-in")


def test_a_disabled_user_is_out_at_once(client, anna, accounts):
    token, _ = accounts.new_token(anna, "script", 1)
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/auth/me", headers=headers).status_code == 200
    accounts.change_user(anna, disabled=True)
    assert client.get("/api/auth/me", headers=headers).status_code == 401
    assert login(client).status_code == 401


@pytest.mark.parametrize("body", [
    {}, {"username": "anna"}, {"token": "x", "username": "anna", "password": PASSWORD}, {"cookie": True},
    {"username": "anna", "password": PASSWORD, "admin": True}, {"username": ["anna"], "password": PASSWORD}, [], 1,
])  # fmt: skip
def test_a_login_that_is_none_is_refused_and_nothing_of_it_repeated(client, body):
    answer = client.post("/api/auth/login", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert PASSWORD not in answer.text
