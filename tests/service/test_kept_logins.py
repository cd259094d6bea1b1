"""Logins of clusters that are kept: sealed, used by all that is asked of the cluster, shown nowhere."""

from __future__ import annotations

import base64
import functools
import io
import json
import secrets
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from slurmscale.cli import commands_from_operations, completion
from slurmscale.cli.app import _run
from slurmscale.errors import RefusedError
from slurmscale.models import Cluster, Credentials, RunOptions
from slurmscale.operations import Operation
from slurmscale.runs.logins import ClusterLogins
from slurmscale.scaling import Scaling
from slurmscale.service.access.sealing import RunSealer
from slurmscale.settings import Settings

SECRET = "hunter22-planted"
PRIVATE = Ed25519PrivateKey.generate()
KEY = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
KEYS = (secrets.token_bytes(32),)
LOGIN = "/api/slurm/clusters/lab/login"
CREDENTIALS = "/api/slurm/credentials"
FOUND = {
    "success": True, "stage": "slurm", "stages": [], "fingerprint": "SHA256:x", "host_keys": ["c ssh-ed25519 AAAA"],
    "info": {"cluster_name": "old", "nodes": ["n1"], "version": "24.11.5"}, "error": None,
}  # fmt: skip


@pytest.fixture
def scaling(each_database, tmp_path, launches):  # noqa: ARG001 - it is what the library finds
    with Scaling(Settings(data_dir=tmp_path / "data"), make_job=launches.job, sealer=RunSealer(KEYS)) as scaling:
        yield scaling


def logged_in(launch, host="controller"):
    hosts = launch.added["_meta"]["hostvars"]
    return {name: value["__ansible_unsafe"] for name, value in hosts[host].items() if isinstance(value, dict)}


@pytest.mark.usefixtures("lab")
def test_a_login_that_is_kept_is_used_by_all_runs_and_shown_nowhere(as_role, scaling, launches, app):
    admin = as_role("admin")
    assert admin.get(LOGIN).status_code == 404
    kept = admin.put(LOGIN, json={"username": "ops", "password": SECRET, "become_password": SECRET + "2"})
    assert (kept.status_code, kept.json()["password_set"], kept.json()["key_set"]) == (200, True, False)
    assert admin.get(LOGIN).json() == kept.json()
    nodes = {"nodes": [{"name": "n10", "host": "192.0.2.10"}]}
    done = as_role("operator").post("/api/slurm/scale-up", json=nodes, headers={"Prefer": "wait=30"})
    assert (done.status_code, done.json()["success"]) == (200, True)
    for host in ("controller", "n10"):
        login = logged_in(launches[-1], host)
        assert (login["ansible_user"], login["ansible_password"]) == ("ops", SECRET)
        assert login["ansible_become_password"] == SECRET + "2"
    files = [path.read_bytes() for path in scaling.settings.data_dir.rglob("*") if path.is_file()]
    assert not [one for one in files if SECRET.encode() in one]
    assert SECRET not in kept.text + done.text + admin.get("/api/audit").text
    assert [entry.details["kind"] for entry in app.state.audit.entries(limit=9, action="keep-login")] == [
        "password,become_password"
    ]
    assert admin.delete(LOGIN).status_code == 204
    assert admin.delete(LOGIN).status_code == 404
    as_role("operator").post("/api/slurm/scale-up", json=nodes, headers={"Prefer": "wait=30"})
    assert "ansible_password" not in logged_in(launches[-1])


def test_the_login_of_a_connected_cluster_is_kept_where_that_is_wanted(as_role, launches, scaling):
    launches.result = FOUND
    admin = as_role("admin")
    body = {
        "name": "old", "keep_login": True,
        "master_ssh": {"host": "192.0.2.50", "username": "root", "auth_type": "key", "key": KEY},
    }  # fmt: skip
    weak = as_role("admin", permissions=["slurm:clusters:write"])
    assert weak.post("/api/slurm/clusters/connect", json=body).json()["code"] == "permission-missing"
    made = admin.post("/api/slurm/clusters/connect", json=body)
    assert made.status_code == 201
    shown = admin.get("/api/slurm/clusters/old/login").json()
    known = subprocess.run(["ssh-keygen", "-lf", "-"], input=PUBLIC, capture_output=True, text=True, check=True).stdout
    assert shown["fingerprint"] in known
    with scaling.store.begin() as connection:
        connection.exec_driver_sql("UPDATE clusters SET updated_at = updated_at - 61")
    scaling.clusters.look_again()
    assert logged_in(launches[-1])["ansible_private_key"] == KEY
    assert scaling.store.cluster("old").health == "healthy"
    assert admin.delete("/api/slurm/clusters/old").status_code == 204
    assert scaling.logins.all() == []


@pytest.mark.usefixtures("lab")
def test_who_may_not_and_what_is_nothing_is_refused(as_role):
    for role in ("viewer", "operator"):
        assert as_role(role).get(LOGIN).status_code == 403
        assert as_role(role).put(LOGIN, json={"password": SECRET}).status_code == 403
    admin = as_role("admin")
    for body in ({}, {"username": "ops"}, {"key": "/root/.ssh/id_rsa"}, {"private_key_file": "/etc/shadow"}):
        answer = admin.put(LOGIN, json=body)
        assert answer.status_code in (409, 422), body
        assert "/root" not in answer.text
    assert admin.put("/api/slurm/clusters/none/login", json={"password": SECRET}).status_code == 404


def test_without_a_key_file_nothing_is_kept(scaling):
    scaling.add_cluster(Cluster("lab", controller="192.0.2.1"))
    with pytest.raises(RefusedError, match="no file of secret keys") as refused:
        ClusterLogins(scaling.store, None).keep("lab", Credentials(password=SECRET))
    assert "SLURMSCALE_SECRET_KEY_FILE" in refused.value.remedy


def test_what_was_sealed_for_a_cluster_is_opened_for_no_other_and_for_no_run(scaling):
    for name in ("lab", "other"):
        scaling.add_cluster(Cluster(name, controller="192.0.2.1"))
    sealed = scaling.logins.keep("lab", Credentials(password=SECRET)).sealed
    for owner in ("other", "lab", "cluster other"):
        with pytest.raises(RefusedError, match="another key"):
            RunSealer(KEYS).open(owner, sealed)


NEW_NODE = [{"name": "n10", "host": "192.0.2.10"}]
WAIT = {"Prefer": "wait=30"}


def credential(client, **body):
    """Keep a credential of the cluster lab; returns its id."""
    made = client.post(CREDENTIALS, json={"cluster": "lab", **body})
    assert made.status_code == 201, made.text
    return made.json()["id"]


@pytest.mark.usefixtures("lab")
def test_a_credential_is_listed_without_its_secret_and_deleted(as_role, app, scaling):
    admin = as_role("admin")
    made = admin.post(CREDENTIALS, json={"cluster": "lab", "username": "ops", "key": KEY, "become_password": SECRET})
    assert made.status_code == 201, made.text
    known = subprocess.run(["ssh-keygen", "-lf", "-"], input=PUBLIC, capture_output=True, text=True, check=True).stdout
    assert made.json()["fingerprint"] in known
    shown = {name: made.json()[name] for name in ("cluster", "username", "password_set", "key_set", "for_cluster")}
    assert shown == {
        "cluster": "lab", "username": "ops", "password_set": False, "key_set": True, "for_cluster": False,
    }  # fmt: skip
    admin.put(LOGIN, json={"password": SECRET + "2"})
    listed = admin.get(CREDENTIALS)
    assert [one["for_cluster"] for one in listed.json()["items"]] == [False, True]
    assert listed.json()["items"][0] == made.json()
    # the login of the cluster is another one, and stays the same one when it is given anew
    login = listed.json()["items"][1]["id"]
    admin.put(LOGIN, json={"password": SECRET + "3"})
    assert [one["id"] for one in admin.get(CREDENTIALS).json()["items"]] == [made.json()["id"], login]
    assert admin.delete(f"{CREDENTIALS}/{made.json()['id']}").status_code == 204
    assert admin.delete(f"{CREDENTIALS}/{made.json()['id']}").status_code == 404
    assert [one["id"] for one in admin.get(CREDENTIALS).json()["items"]] == [login]
    told = made.text + listed.text + admin.get("/api/audit").text
    assert SECRET not in told
    assert "PRIVATE" not in told
    audited = [(one.action, one.cluster) for one in app.state.audit.entries(limit=9) if "credential" in one.action]
    assert audited == [("delete-credential", "lab"), ("keep-credential", "lab")]
    files = [path.read_bytes() for path in scaling.settings.data_dir.rglob("*") if path.is_file()]
    assert not [one for one in files if SECRET.encode() in one]


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/api/slurm/scale-up", {}),
        ("/api/slurm/nodes/scale", {}),
        ("/api/slurm/nodes/check", {}),
        ("/api/slurm/plan", {}),
        ("/api/slurm/plan", {"operation": "scale-down"}),
        ("/api/slurm/scale-down", {}),
    ],
)
def test_a_credential_that_a_request_names_is_that_of_its_nodes_only(as_role, launches, scaling, path, more):
    admin = as_role("admin")
    admin.put(LOGIN, json={"username": "ops", "password": SECRET})
    kept = credential(admin, username="root", password=SECRET + "4")
    body = {"cluster": "lab", "nodes": NEW_NODE, "credential": kept, **more}
    answer = as_role("operator").post(path, json=body, headers=WAIT)
    assert answer.status_code == 200, answer.text
    login = logged_in(launches[-1], "n10")
    assert (login["ansible_user"], login["ansible_password"]) == ("root", SECRET + "4")
    assert logged_in(launches[-1], "controller")["ansible_password"] == SECRET
    newest = scaling.runs()[0]
    assert newest.request["options"]["credential"] == kept
    assert SECRET not in answer.text


@pytest.mark.usefixtures("lab")
def test_what_a_node_has_itself_wins_over_a_credential(as_role, launches):
    admin = as_role("admin")
    kept = credential(admin, username="root", password=SECRET, become_password=SECRET + "2")
    nodes = [{"name": "n10", "host": "192.0.2.10", "password": SECRET + "3"}]
    admin.post("/api/slurm/scale-up", json={"nodes": nodes, "credential": kept}, headers=WAIT)
    login = logged_in(launches[-1], "n10")
    found = [login[f"ansible_{name}"] for name in ("user", "password", "become_password")]
    assert found == ["root", SECRET + "3", SECRET + "2"]


@pytest.mark.usefixtures("lab")
def test_a_run_is_repeated_with_its_credential_until_that_is_deleted(as_role, launches):
    admin = as_role("admin")
    kept = credential(admin, password=SECRET)
    launches.bad = {"n10"}
    failed = admin.post("/api/slurm/scale-up", json={"nodes": NEW_NODE, "credential": kept}, headers=WAIT).json()
    retry = f"/api/slurm/runs/{failed['run']['id']}/retry"
    again = admin.post(retry, json={}, headers=WAIT)
    assert again.status_code == 200, again.text
    assert logged_in(launches[-1], "n10")["ansible_password"] == SECRET
    admin.delete(f"{CREDENTIALS}/{kept}")
    refused = admin.post(retry, json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "credentials-needed")
    other = credential(admin, password=SECRET + "5")
    for body in ({"credential": other}, {"credentials": {"password": SECRET + "5"}}):
        again = admin.post(retry, json=body, headers=WAIT)
        assert again.status_code == 200, again.text
        assert logged_in(launches[-1], "n10")["ansible_password"] == SECRET + "5"


def test_a_credential_is_used_for_no_other_cluster_and_seen_by_nobody_who_is_not_for_its_cluster(as_role, scaling):
    for name in ("lab", "other"):
        scaling.add_cluster(Cluster(name, controller="192.0.2.1"))
    admin = as_role("admin")
    kept = credential(admin, password=SECRET)
    body = {"cluster": "other", "nodes": NEW_NODE, "credential": kept}
    refused = admin.post("/api/slurm/scale-up", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "credentials-needed")
    limited = as_role("admin", clusters=["other"], name="limited")
    assert limited.get(CREDENTIALS).json()["items"] == []
    assert limited.delete(f"{CREDENTIALS}/{kept}").status_code == 404
    assert limited.post(CREDENTIALS, json={"cluster": "lab", "password": SECRET}).status_code == 403
    # likewise one that was moved to another cluster in the database
    with scaling.store.begin() as connection:
        connection.exec_driver_sql("UPDATE credentials SET cluster = 'other'")
    moved = admin.post("/api/slurm/scale-up", json=body)
    assert (moved.status_code, "another key" in moved.json()["detail"]) == (409, True)
    # forgetting a cluster forgets its credentials
    assert admin.delete("/api/slurm/clusters/other").status_code == 204
    assert admin.get(CREDENTIALS).json()["items"] == []


@pytest.mark.usefixtures("lab")
def test_who_may_not_keep_credentials_neither_lists_nor_deletes_them(as_role):
    kept = credential(as_role("admin"), password=SECRET)
    for role in ("viewer", "operator"):
        client = as_role(role)
        answers = [
            client.get(CREDENTIALS),
            client.post(CREDENTIALS, json={"password": SECRET}),
            client.delete(f"{CREDENTIALS}/{kept}"),
        ]
        assert [one.status_code for one in answers] == [403] * 3


def test_a_credential_is_neither_kept_nor_used_without_a_key_file(scaling):
    scaling.add_cluster(Cluster("lab", controller="192.0.2.1"))
    kept = scaling.logins.add("lab", Credentials(password=SECRET))
    with Scaling(scaling.settings) as without:
        with pytest.raises(RefusedError, match="no file of secret keys"):
            without.logins.add("lab", Credentials(password=SECRET))
        with pytest.raises(RefusedError, match=kept.id) as refused:
            without.request(Operation.CHECK, "lab", ["n1"], RunOptions(credential=kept.id))
        assert "SLURMSCALE_SECRET_KEY_FILE" in refused.value.remedy
        assert without.runs() == []


def test_a_credential_is_for_nodes_that_are_named(scaling):
    scaling.add_cluster(Cluster("lab", controller="192.0.2.1"))
    kept = scaling.logins.add("lab", Credentials(password=SECRET))
    with pytest.raises(RefusedError, match="nodes that are named"):
        scaling.request(Operation.CHECK_APPHUB, "lab", [], RunOptions(credential=kept.id))


def test_a_run_that_waits_is_begun_with_what_is_sealed_anew(scaling, launches):
    """Its request holds the id only, so that a rotation or another process loses nothing."""
    scaling.add_cluster(Cluster("lab", controller="192.0.2.1"))
    kept = scaling.logins.add("lab", Credentials(password=SECRET))
    run = scaling.request(Operation.SCALE_UP, "lab", ["n1"], RunOptions(credential=kept.id))
    assert scaling.store.run_secret(run.id) is None
    new = RunSealer((secrets.token_bytes(32), *KEYS))
    assert ClusterLogins(scaling.store, new).reseal() == 1
    with Scaling(scaling.settings, make_job=launches.job, sealer=new) as other:
        with other.store.begin() as connection:
            connection.exec_driver_sql("UPDATE runs SET owner_ticks = owner_ticks + 1")
        other.recover()
        other.execute(run.id).wait(30)
    assert logged_in(launches[-1], "n1")["ansible_password"] == SECRET


@pytest.fixture
def command(scaling, tmp_path, monkeypatch, capsys):
    """Return a function that runs a command of who has the machine of the service, and returns what it printed."""
    monkeypatch.setenv("SLURMSCALE_DATA_DIR", str(scaling.settings.data_dir))
    keys = tmp_path / "keys"
    keys.write_text(base64.urlsafe_b64encode(KEYS[0]).decode() + "\n")
    keys.chmod(0o600)
    monkeypatch.setenv("SLURMSCALE_SECRET_KEY_FILE", str(keys))
    scaling.add_cluster(Cluster("lab", controller="192.0.2.1"))

    def run(*arguments, stdin="", status=0):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        assert _run(list(arguments)) == status
        return capsys.readouterr()

    return run


def test_commands_keep_list_and_remove_credentials(command, scaling, tmp_path):
    path = tmp_path / "id"
    path.write_text(KEY)
    with_key = command("credential", "add", "lab", "--user", "ops", "--private-key", str(path)).out.strip()
    with_password = json.loads(
        command("credential", "add", "lab", "--password-stdin", "--json", stdin=f"{SECRET}\n").out
    )
    assert (with_password["password_set"], with_password["username"]) == (True, None)
    assert scaling.logins.opened("lab", with_key) == Credentials("ops", private_key=KEY)
    assert scaling.logins.opened("lab", with_password["id"]) == Credentials(password=SECRET)
    table, listed = command("credential", "list").out, command("credential", "list", "--json").out
    assert [one["id"] for one in json.loads(listed)] == [with_key, with_password["id"]]
    assert json.loads(listed)[0]["fingerprint"] in table
    assert SECRET not in table + listed
    assert "PRIVATE" not in table + listed
    command("credential", "remove", with_key)
    assert [one.id for one in scaling.logins.all()] == [with_password["id"]]
    assert "no credential" in command("credential", "remove", with_key, status=2).err
    assert with_password["id"] in command("audit").out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("none", "--password-stdin"), "no cluster none"),
        (("lab",), "nothing to be kept"),
        (("lab", "--private-key", "missing"), "No such file"),
        (("lab", "--user", "-oProxyCommand=x", "--password-stdin"), "not allowed"),
    ],
)
def test_a_command_that_can_keep_no_credential_says_why(command, arguments, reason):
    assert reason in command("credential", "add", *arguments, stdin=SECRET, status=2).err


def test_no_command_keeps_a_credential_without_a_key_file(command, monkeypatch):
    monkeypatch.delenv("SLURMSCALE_SECRET_KEY_FILE")
    refused = command("credential", "add", "lab", "--password-stdin", stdin=SECRET, status=2).err
    assert "SLURMSCALE_SECRET_KEY_FILE" in refused


@pytest.fixture
def runs_of_commands(command, launches, monkeypatch):
    """Let the commands' playbooks be replayed; returns the function that runs a command."""
    monkeypatch.setattr(commands_from_operations, "Scaling", functools.partial(Scaling, make_job=launches.job))
    return command


@pytest.mark.parametrize("arguments", [("up", "--yes"), ("down", "--yes"), ("check",), ("plan",)])
def test_a_command_names_a_credential_for_its_nodes(runs_of_commands, scaling, launches, arguments):
    kept = scaling.logins.add("lab", Credentials("root", SECRET)).id
    name, *more = arguments
    runs_of_commands("up", "n10", "--cluster", "lab", "--host", "n10=192.0.2.10", "--yes")
    named = ("n10", "--cluster", "lab", "--host", "n10=192.0.2.10", "--credential", kept)
    shown = runs_of_commands(name, *named, *more)
    login = logged_in(launches[-1], "n10")
    assert (login["ansible_user"], login["ansible_password"]) == ("root", SECRET)
    assert scaling.runs()[0].request["options"]["credential"] == kept
    assert SECRET not in shown.out + shown.err
    assert completion.credential(kept[:3]) == [(kept, "lab root")]


def test_a_command_repeats_a_run_with_its_credential_or_another(runs_of_commands, scaling, launches):
    kept, other = (scaling.logins.add("lab", Credentials("root", SECRET + end)).id for end in ("", "2"))
    launches.bad = {"n10"}
    named = ("up", "n10", "--cluster", "lab", "--host", "n10=192.0.2.10", "--yes", "--credential")
    runs_of_commands(*named, kept, status=1)
    for more, password in (((), SECRET), (("--credential", other), SECRET + "2")):
        runs_of_commands("retry", scaling.runs()[0].id, *more, status=1)
        assert logged_in(launches[-1], "n10")["ansible_password"] == password


def test_a_command_needs_the_key_file_for_a_credential_and_the_right_id(runs_of_commands, scaling, monkeypatch):
    kept = scaling.logins.add("lab", Credentials("root", SECRET)).id
    named = ("check", "n10", "--cluster", "lab", "--host", "n10=192.0.2.10", "--credential")
    assert "No credential '0a1b' of cluster lab is kept." in runs_of_commands(*named, "0a1b", status=2).err
    monkeypatch.delenv("SLURMSCALE_SECRET_KEY_FILE")
    assert "SLURMSCALE_SECRET_KEY_FILE" in runs_of_commands(*named, kept, status=2).err
