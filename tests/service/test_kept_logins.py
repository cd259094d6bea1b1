"""Logins of clusters that are kept: sealed, used by all that is asked of the cluster, shown nowhere."""

from __future__ import annotations

import secrets
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from slurmscale.errors import RefusedError
from slurmscale.models import Cluster, Credentials
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
FOUND = {
    "success": True, "stage": "slurm", "stages": [], "fingerprint": "SHA256:x", "host_keys": ["c ssh-ed25519 AAAA"],
    "info": {"cluster_name": "old", "nodes": ["n1"], "version": "24.11.5"}, "error": None,
}  # fmt: skip


@pytest.fixture
def scaling(tmp_path, empty_database, launches):
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(empty_database, tmp_path / "data" / "slurmscale.db")
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
    assert scaling.logins.clusters() == frozenset()


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
