"""A new secret key: what the old one sealed and vouched for is not lost."""

from __future__ import annotations

import base64
import secrets

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from slurmscale.cli.app import _run
from slurmscale.models import Cluster, Credentials, NodeSpec
from slurmscale.operations import Operation
from slurmscale.scaling import Scaling
from slurmscale.service.access.accounts import Accounts
from slurmscale.service.access.permissions import Role
from slurmscale.service.app import create_app
from slurmscale.service.processes.open_library import opened
from slurmscale.service.settings import ServiceSettings
from slurmscale.service.webhooks import Hooks
from slurmscale.settings import Settings

SECRET = "hunter22-planted"
KEY = {"Idempotency-Key": "a"}


@pytest.fixture
def site(each_database, tmp_path, monkeypatch):  # noqa: ARG001 - it is what the library finds
    """Return a function that writes the key file and opens a service with it."""
    config = ServiceSettings(secret_key_file=tmp_path / "keys")
    library = Settings(data_dir=tmp_path / "data")
    monkeypatch.setenv("SLURMSCALE_DATA_DIR", str(library.data_dir))
    monkeypatch.setenv("SLURMSCALE_SECRET_KEY_FILE", str(config.secret_key_file))

    def write(*keys):
        config.secret_key_file.write_text("".join(base64.urlsafe_b64encode(key).decode() + "\n" for key in keys))
        config.secret_key_file.chmod(0o600)

    def service(*keys):
        write(*keys)
        return opened(library, config), config

    service.write = write
    return service


def client_of(scaling, config, token=None):
    accounts = Accounts(scaling.store, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    token = token or accounts.new_token(accounts.add_user("ada", Role.ADMIN), "test", 1)[0]
    app = create_app(scaling, config, accounts)
    # it is not started: the run shall go on waiting
    app.state.executor = None
    headers = {"Authorization": f"Bearer {token}"}
    return TestClient(app, base_url="https://localhost", headers=headers), token


def fill(scaling, client):
    """Have a secret of each kind sealed; returns the webhook and the run."""
    scaling.add_cluster(Cluster("lab", controller="192.0.2.1"))
    assert client.put("/api/slurm/clusters/lab/login", json={"password": SECRET + "2"}).status_code == 200
    kept = client.post("/api/slurm/credentials", json={"password": SECRET + "3"})
    assert kept.status_code == 201, kept.text
    node = NodeSpec("n1", "192.0.2.7", Credentials(password=SECRET))
    run = scaling.request(Operation.SCALE_UP, Cluster("lab", controller="192.0.2.1"), [node])
    return client.post("/api/webhooks", json={"url": "http://192.0.2.1/hook", "events": ["run.failed"]}).json(), run


def test_after_a_rotation_the_old_key_is_needed_for_old_rows_of_the_audit_trail_only(site, capsys):
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    scaling, config = site(old)
    with scaling:
        client, token = client_of(scaling, config)
        made = client.post("/api/tokens", json={"name": "script"}, headers=KEY).json()
        hook, run = fill(scaling, client)
    site.write(new)
    assert _run(["secrets", "rotate"]) == 2
    assert "another key" in capsys.readouterr().err
    scaling, config = site(new, old)
    with scaling:
        client, _ = client_of(scaling, config, token)
        # a request that was made before is still known
        again = client.post("/api/tokens", json={"name": "script"}, headers=KEY)
        assert again.json() == made
        assert client.post("/api/tokens", json={"name": "other"}, headers=KEY).status_code == 422
    assert _run(["secrets", "rotate"]) == 0
    assert "4 sealed anew" in capsys.readouterr().out
    assert _run(["audit", "verify"]) == 0
    scaling, config = site(new)
    with scaling:
        assert SECRET in scaling._sealer.open(run.id, scaling.store.run_secret(run.id))
        opened = [scaling.logins.opened("lab", one.id).password for one in scaling.logins.all()]
        assert opened == [SECRET + "2", SECRET + "3"]
        hooks = Hooks(scaling, (new,))
        (known,) = hooks.records.all()
        assert hooks._fernet.decrypt(known.secret).decode() == hook["secret"]
    assert _run(["audit", "verify"]) == 2
    assert "with the key that it was written with" in capsys.readouterr().err
    site.write(new, old)
    assert _run(["audit", "verify"]) == 0


def test_a_library_without_a_service_needs_no_keys(tmp_path):
    with Scaling(Settings(data_dir=tmp_path / "data")) as scaling:
        assert scaling.runs() == []
    assert not list((tmp_path / "data").glob("*key*"))
