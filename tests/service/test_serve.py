"""The command's own way to the service: users, tokens, and a real server in a process of its own."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from slurmscale.cli.app import _run
from slurmscale.service.processes.serve import Server

from .conftest import PASSWORD

LIMIT = 60
PYTHON_LIB = Path(__file__).resolve().parents[2] / "python_lib"


@pytest.fixture
def slurmscale(tmp_path, empty_database, monkeypatch, capsys):
    """Return a function that runs the command in this process, with a data directory of this test."""
    for name in [name for name in os.environ if name.startswith("SLURMSCALE_")]:
        monkeypatch.delenv(name)
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(empty_database, tmp_path / "data" / "slurmscale.db")
    monkeypatch.setenv("SLURMSCALE_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments, given=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        capsys.readouterr()
        code = _run(list(arguments))
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


@contextmanager
def served(*arguments):
    """Run the service and yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from slurmscale.cli import main; main()", "serve", "--port", "0", *arguments],
        env=os.environ | {"PYTHONPATH": str(PYTHON_LIB)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        first = json.loads(process.stderr.readline())
        assert first["event"] == "serving"
        yield first["url"], process
    finally:
        process.kill()
        process.wait(LIMIT)
        process.stderr.close()


def get(url, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            answer = httpx2.get(url, headers=headers, timeout=LIMIT)
        except httpx2.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return answer.status_code, answer.json()


def test_the_first_administrator_and_his_token_are_made_by_a_command_and_a_real_server_takes_them(slurmscale):
    made = slurmscale("user", "add", "anna", "--role", "admin", "--password-stdin", given=f"{PASSWORD}\n")
    assert (made.code, made.out) == (0, "anna: added as admin\n"), made.err
    token = slurmscale("token", "create", "anna").out.strip()
    with served() as (url, process):
        assert get(f"{url}readyz") == (200, {"ready": True, "database": True, "worker": True})
        status, me = get(f"{url}api/auth/me", token)
        assert (status, me["name"], me["role"]) == (200, "anna", "admin")
        assert get(f"{url}api/auth/me")[0] == 401
        second = slurmscale("serve", "--port", "0")
        assert (second.code, "Another process serves" in second.err) == (2, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
        assert "stopped" in process.stderr.read()


def test_users_and_tokens_are_listed_changed_and_removed(slurmscale):
    assert slurmscale("user", "add", "anna", "--role", "admin", "--no-password").code == 0
    assert "already" in slurmscale("user", "add", "anna", "--no-password").err
    token = slurmscale("token", "create", "anna", "--name", "laptop", "--permission", "slurm:read")
    (listed,) = json.loads(slurmscale("token", "list", "anna", "--json").out)
    assert (listed["name"], listed["permissions"]) == ("laptop", ["slurm:read"])
    assert listed["id"] in token.err
    assert token.out.strip() not in json.dumps(listed)
    last = slurmscale("user", "change", "anna", "--role", "viewer")
    assert (last.code, "Nobody would be left" in last.err) == (2, True)
    assert "Nobody would be left" in slurmscale("user", "remove", "anna").err
    assert slurmscale("token", "revoke", listed["id"]).code == 0
    rows = json.loads(slurmscale("audit", "--json").out)
    assert [row["action"] for row in rows] == ["token-revoke", "token-create", "user-add"]
    assert "token-revoke" in slurmscale("audit", "--action", "token-revoke").out
    assert slurmscale("audit", "verify").out == "Nothing was changed.\n"
    assert json.loads(slurmscale("token", "list", "--json").out) == []
    assert [user["role"] for user in json.loads(slurmscale("user", "list", "--json").out)] == ["admin"]


def test_programs_read_what_became_of_users_and_tokens_as_json(slurmscale):
    def answer(document, *arguments):
        done = slurmscale(*arguments, "--json")
        assert (done.code, done.err) == (0, "")
        shown = json.loads(done.out)
        assert set(shown) == set(json.loads(slurmscale("schema", document).out)["properties"])
        return shown

    anna = answer("user", "user", "add", "anna", "--role", "admin", "--no-password")
    assert (anna["name"], anna["role"], anna["password_set"]) == ("anna", "admin", False)
    assert answer("user", "user", "add", "otto", "--no-password")["role"] == "viewer"
    assert answer("user", "user", "change", "otto", "--role", "operator", "--off")["disabled"] is True
    token = answer("token-created", "token", "create", "anna", "--name", "laptop")
    assert token["token"].startswith("slsc_")
    (listed,) = json.loads(slurmscale("token", "list", "--json").out)
    assert listed == {name: value for name, value in token.items() if name != "token"}
    revoked = slurmscale("token", "revoke", token["id"], "--json")
    assert json.loads(revoked.out) == {"id": token["id"], "revoked": True}
    assert answer("user", "user", "remove", "otto")["name"] == "otto"
    assert json.loads(slurmscale("audit", "verify", "--json").out) == {"changed": False}


@pytest.mark.parametrize(("arguments", "reason"), [
    (("user", "add", "x y", "--no-password"), "not allowed as the name of a user"),
    (("user", "add", "x", "--password-stdin"), "A password has 12 to"),
    (("user", "add", "x"), "no terminal"),
    (("user", "password", "x", "--password-stdin"), "no user"),
    (("token", "create", "x"), "no user"),
    (("token", "revoke", "x"), "no such token"),
    (("serve", "--host", "::"), "--insecure"),
    (("serve", "--host", "192.0.2.1", "--insecure"), "cannot be listened on"),
    (("serve", "--root-path", "x y"), "pattern"),
])  # fmt: skip
def test_what_can_not_be_done_is_refused_with_what_to_do(slurmscale, arguments, reason):
    answer = slurmscale(*arguments)
    assert answer.code == 2
    assert reason in answer.err
    assert "Traceback" not in answer.err


def test_what_is_sent_does_not_wait_until_the_caller_has_acknowledged_what_came_before(app, config):
    """A caller acknowledges as late as 40 ms after, which each short answer and message would take."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(app, config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                assert client.get("/healthz").status_code == 200
                (connection,) = server.server_state.connections
                accepted = connection.transport.get_extra_info("socket")
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            server.should_exit = True
            thread.join(LIMIT)


def test_a_port_in_use_is_told(slurmscale):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = slurmscale("serve", "--port", str(taken.getsockname()[1]))
    assert (answer.code, "in use" in answer.err) == (2, True)


def test_a_key_file_that_others_can_read_is_refused(slurmscale, tmp_path, monkeypatch):
    path = tmp_path / "keys"
    monkeypatch.setenv("SLURMSCALE_SECRET_KEY_FILE", str(path))
    path.write_text("x")
    path.chmod(0o644)
    answer = slurmscale("user", "list")
    assert (answer.code, "open to others" in answer.err) == (2, True)
    path.chmod(0o600)
    assert "holds no key" in slurmscale("user", "list").err
