"""slurm_client_bundle with real bundles and their real scripts; the bundles hold stand-ins for Slurm's commands."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import archive
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle.client import Machine
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle.contents import COMMANDS, Contents
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_client_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

    Runner = Callable[..., dict[str, Any]]

SCRIPTS_FOLDER = Path(__file__).parents[3] / "roles/apphub/files/client-bundle"
SCRIPTS = {name: (SCRIPTS_FOLDER / name).read_text() for name in archive.SCRIPTS}


class Client:
    """An image to install into, and an AppHub that has bundles for it."""

    def __init__(self, base: Path, run_module: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = base / "root"
        self.root.mkdir()
        self.prefix = self.root / "usr/local/slurm"
        self.archives: dict[str, bytes] = {}
        self.indexes: dict[str, Any] = {"slurm-client": {"bundles": {}}, "slurm-apk": {"bundles": {}}}
        self.fetched: list[str] = []
        self.broken = ""
        self._run = run_module
        self._machine = Machine.this()
        monkeypatch.setattr(http_client.Server, "get", self._fetch)

    def publish(self, version: str, says: str = "") -> None:
        command = f"#!/bin/sh\necho slurm {says or version}\n".encode()
        contents = Contents(
            commands=dict.fromkeys(COMMANDS, command),
            plugins={"auth_munge.so": version.encode()},
            plugin_folder="/usr/lib/slurm",
            arch=self._machine.arch,
        )
        files = archive.layout(contents, version, self._machine.libc, SCRIPTS)
        data = archive.pack(files)
        name = f"slurm-client-{version}.tar.gz"
        self.archives[f"http://hub/pkgs/slurm-client/{name}"] = data
        self.indexes["slurm-client"]["bundles"][name] = {
            "version": version,
            "arch": self._machine.arch,
            "libc": self._machine.libc,
            "glibc": "0.0",
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "sums": hashlib.sha256(files["SHA256SUMS"][0]).hexdigest(),
        }

    def _fetch(self, path: str, limit: int) -> bytes:
        self.fetched.append(f"http://hub/{path}")
        if self.broken == "server":
            raise FailureError(Code.APPHUB_UNREACHABLE, "Connection refused.", "Start it.")
        data = self.archives[self.fetched[-1]]
        assert limit == len(data)
        return data[:-1] if self.broken == "line" else data

    def run(self, **options: Any) -> dict[str, Any]:
        if options.get("state") != "absent":
            options = {"url": "http://hub/", "indexes": self.indexes, **options}
        return self._run(slurm_client_bundle, root=str(self.root), **options)

    def files(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}


@pytest.fixture
def client(tmp_path: Path, run_module: Runner, monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client(tmp_path, run_module, monkeypatch)
    made.publish("22.05.8")
    return made


def test_the_bundle_is_installed_upgraded_and_removed_without_a_trace(client: Client) -> None:
    before = client.files()
    result = client.run()
    assert result["changed"]
    assert (result["version"], result["bundle"]) == ("22.05.8", "slurm-client/slurm-client-22.05.8.tar.gz")
    assert result["message"].startswith("Installed slurm-client 22.05.8")
    assert (client.root / "usr/bin/sinfo").is_symlink()
    client.publish("24.11.5")
    result = client.run(version="24.11")
    assert (result["diff"]["before"], result["diff"]["after"]) == ("slurm-client 22.05.8\n", "slurm-client 24.11.5\n")
    assert (client.prefix / "VERSION").read_text() == "24.11.5\n"
    result = client.run(state="absent")
    assert result["changed"]
    assert result["version"] == ""
    assert client.files() == before
    assert not client.run(state="absent")["changed"]


def test_a_second_run_fetches_nothing(client: Client) -> None:
    client.run()
    client.fetched.clear()
    assert not client.run()["changed"]
    assert client.fetched == []


@pytest.mark.parametrize("broken", ["usr/local/slurm/lib/slurm/auth_munge.so", "usr/bin/squeue"])
def test_what_is_damaged_is_repaired(client: Client, broken: str) -> None:
    client.run()
    (client.root / broken).unlink()
    assert client.run()["changed"]
    assert (client.root / broken).is_symlink() or (client.root / broken).read_text() == "22.05.8"
    assert not client.run()["changed"]


def test_a_bundle_that_was_published_anew_is_installed_anew(client: Client) -> None:
    client.run()
    client.publish("22.05.8", says="22.05.8 changed")
    assert client.run()["changed"]
    assert b"changed" in (client.prefix / "lib/commands/sinfo").read_bytes()


def test_check_mode_tells_and_changes_nothing(client: Client) -> None:
    before = client.files()
    assert client.run(check=True)["changed"]
    assert client.files() == before
    client.run()
    assert not client.run(check=True)["changed"]
    assert client.run(state="absent", check=True)["changed"]
    assert (client.prefix / "MANIFEST").exists()


def test_a_controller_is_written_down_when_there_is_no_configuration(client: Client) -> None:
    client.run()
    assert client.run(controller="ctl1")["changed"]
    assert "SlurmctldHost=ctl1" in (client.root / "etc/slurm/slurm.conf").read_text()
    assert not client.run(controller="ctl1")["changed"]


def test_a_damaged_download_and_a_silent_server_change_nothing(client: Client) -> None:
    before = client.files()
    client.broken = "line"
    assert client.run()["failure"]["code"] == "client-bundle-damaged"
    client.broken = "server"
    assert client.run()["failure"] == {
        "code": "apphub-unreachable",
        "reason": ("http://hub/pkgs/slurm-client/slurm-client-22.05.8.tar.gz cannot be fetched: Connection refused."),
        "remedy": "Start it.",
    }
    assert client.files() == before


def test_what_the_script_refuses_is_told_in_its_words(client: Client) -> None:
    (client.root / "usr/bin").mkdir(parents=True)
    (client.root / "usr/bin/sinfo").write_text("theirs")
    assert "these are there already, and not from this bundle" in client.run()["failure"]["reason"]


def test_a_bundle_without_its_uninstaller_is_not_torn_apart(client: Client) -> None:
    client.run()
    (client.prefix / "uninstall.sh").unlink()
    assert "uninstall.sh is missing" in client.run(state="absent")["failure"]["reason"]
    assert (client.root / "usr/bin/sinfo").is_symlink()
