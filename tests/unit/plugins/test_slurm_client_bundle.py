"""slurm_client_bundle with real bundles and their real scripts; the bundles hold stand-ins for Slurm's commands."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client as apphub_web
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import archive as apphub_bundle_archive
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import client as client_bundle
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import contents as apphub_bundle_contents
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_client_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

    Runner = Callable[..., dict[str, Any]]

SCRIPTS_FOLDER = Path(__file__).parents[3] / "roles/apphub/files/client-bundle"
SCRIPTS = {name: (SCRIPTS_FOLDER / name).read_text() for name in apphub_bundle_archive.SCRIPTS}


def info(version: str, arch: str = "amd64", libc: str = "glibc", glibc: str = "2.36") -> dict[str, Any]:
    return {"version": version, "arch": arch, "libc": libc, "glibc": glibc, "sha256": "0", "sums": "0"}


INDEXES = {
    "slurm-client": {
        "bundles": {
            "22.tar.gz": info("22.05.8", glibc="2.34"),
            "24.tar.gz": info("24.11.5", glibc="2.38"),
            "24-10.tar.gz": info("24.11.10", glibc="2.38"),
            "arm.tar.gz": info("24.11.5", "arm64"),
        }
    },
    "slurm-apk": {"bundles": {"alpine.tar.gz": info("24.5.1", libc="musl", glibc="0.0")}},
}


@pytest.mark.parametrize(
    ("machine", "version", "path"),
    [
        (client_bundle.Machine("amd64", "glibc", "2.41"), "", "slurm-client/24-10.tar.gz"),
        (client_bundle.Machine("amd64", "glibc", "2.41"), "24.11.5", "slurm-client/24.tar.gz"),
        (client_bundle.Machine("amd64", "glibc", "2.41"), "22.05", "slurm-client/22.tar.gz"),
        # The newest that this machine can run.
        (client_bundle.Machine("amd64", "glibc", "2.36"), "", "slurm-client/22.tar.gz"),
        (client_bundle.Machine("arm64", "glibc", "2.36"), "24.11", "slurm-client/arm.tar.gz"),
        (client_bundle.Machine("amd64", "musl", ""), "", "slurm-apk/alpine.tar.gz"),
    ],
)
def test_the_newest_bundle_that_runs_here_is_chosen(machine: client_bundle.Machine, version: str, path: str) -> None:
    assert client_bundle.choose(INDEXES, machine, version)["path"] == path


@pytest.mark.parametrize(
    ("machine", "version", "message"),
    [
        (client_bundle.Machine("amd64", "glibc", "2.36"), "24.11", "which has glibc 2.36: 24.11.10 (needs glibc 2.38)"),
        (
            client_bundle.Machine("amd64", "glibc", "2.41"),
            "24.1",
            "no client bundle of Slurm 24.1 for amd64 with glibc",
        ),
        (client_bundle.Machine("riscv64", "glibc", "2.41"), "", "24.11.5 (for arm64 with glibc)"),
    ],
)
def test_when_none_fits_those_that_are_there_are_told(
    machine: client_bundle.Machine, version: str, message: str
) -> None:
    with pytest.raises(client_bundle.BundleError) as raised:
        client_bundle.choose(INDEXES, machine, version)
    assert message in str(raised.value)


def test_this_machine_is_known() -> None:
    machine = client_bundle.Machine.this()
    assert machine.arch in {*client_bundle.ARCHITECTURES.values(), os.uname().machine}
    assert machine.libc in {"glibc", "musl"}


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
        self._machine = client_bundle.Machine.this()
        monkeypatch.setattr(apphub_web.Server, "get", self._fetch)

    def publish(self, version: str, says: str = "") -> None:
        command = f"#!/bin/sh\necho slurm {says or version}\n".encode()
        contents = apphub_bundle_contents.Contents(
            commands=dict.fromkeys(apphub_bundle_contents.COMMANDS, command),
            plugins={"auth_munge.so": version.encode()},
            plugin_folder="/usr/lib/slurm",
            arch=self._machine.arch,
        )
        files = apphub_bundle_archive.layout(contents, version, self._machine.libc, SCRIPTS)
        data = apphub_bundle_archive.pack(files)
        name = f"slurm-client-{version}.tar.gz"
        self.archives[f"http://hub/pkgs/slurm-client/{name}"] = data
        self.indexes["slurm-client"]["bundles"][name] = {
            **info(version, self._machine.arch, self._machine.libc, "0.0"),
            "sha256": hashlib.sha256(data).hexdigest(),
            "sums": hashlib.sha256(files["SHA256SUMS"][0]).hexdigest(),
        }

    def _fetch(self, path: str) -> bytes:
        self.fetched.append(f"http://hub/{path}")
        if self.broken == "server":
            raise apphub_web.WebError("refused", "Connection refused")
        data = self.archives[self.fetched[-1]]
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
def test_what_is_damaged_is_mended(client: Client, broken: str) -> None:
    client.run()
    (client.root / broken).unlink()
    assert client.run()["changed"]
    assert (client.root / broken).is_symlink() or (client.root / broken).read_text() == "22.05.8"
    assert not client.run()["changed"]


def test_a_bundle_that_was_published_anew_is_installed_anew(client: Client) -> None:
    client.run()
    client.publish("22.05.8", says="22.05.8 mended")
    assert client.run()["changed"]
    assert b"mended" in (client.prefix / "lib/commands/sinfo").read_bytes()


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
    assert "the client bundle was damaged on its way" in client.run()["msg"]
    client.broken = "server"
    assert client.run()["msg"] == (
        "http://hub/pkgs/slurm-client/slurm-client-22.05.8.tar.gz can't be fetched: Connection refused"
    )
    assert client.files() == before


def test_what_the_script_refuses_is_told_in_its_words(client: Client) -> None:
    (client.root / "usr/bin").mkdir(parents=True)
    (client.root / "usr/bin/sinfo").write_text("theirs")
    assert "these are there already, and not from this bundle" in client.run()["msg"]


def test_a_bundle_without_its_uninstaller_is_not_torn_apart(client: Client) -> None:
    client.run()
    (client.prefix / "uninstall.sh").unlink()
    assert "install it again first" in client.run(state="absent")["msg"]
    assert (client.root / "usr/bin/sinfo").is_symlink()


@pytest.mark.parametrize("name", ["../outside", "/outside"])
def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    data = buffer.getvalue()
    with pytest.raises(client_bundle.BundleError, match="nothing that a bundle has"):
        client_bundle.unpack(data, hashlib.sha256(data).hexdigest(), str(tmp_path / "target"))
    assert list(tmp_path.iterdir()) == []
