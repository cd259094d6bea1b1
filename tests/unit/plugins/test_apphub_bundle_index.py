"""apphub_bundle_index with a real gpg; the web server is stood in for."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_bundle_index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Runner = Callable[..., dict[str, Any]]

INDEX = {"format": 1, "bundles": {}, "latest": {}}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    files = {
        f"http://hub/pkgs/{folder}/index.json": json.dumps(INDEX).encode() for folder in ("slurm-client", "slurm-apk")
    }

    def get(server: http_client.Server, path: str) -> bytes:
        if f"{server.url}/{path}" not in files:
            raise FailureError(Code.APPHUB_FILE_MISSING, "HTTP 404 Not Found.", "Publish.")
        return files[f"{server.url}/{path}"]

    monkeypatch.setattr(http_client.Server, "get", get)
    return files


class Key:
    """A signing key of its own home."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700)
        self._home = str(home)
        self._gpg("--passphrase", "", "--quick-generate-key", home.name, "ed25519", "sign", "never")
        self.public = self._gpg("--armor", "--export").decode()

    def _gpg(self, *arguments: str, data: bytes | None = None) -> bytes:
        command = ["gpg", "--homedir", self._home, "--batch", "--quiet", "--pinentry-mode", "loopback", *arguments]
        return subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout

    def sign(self, served: dict[str, bytes]) -> None:
        for url in [url for url in served if url.endswith(".json")]:
            served[url + ".asc"] = self._gpg("--armor", "--detach-sign", data=served[url])

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self._home, "--kill", "all"], check=False, timeout=60)


@pytest.fixture
def keys(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if shutil.which("gpg") is None:
        pytest.skip("needs gpg (Debian's package gpg)")
    # gpg's agent needs a short path for its socket.
    base = tmp_path_factory.mktemp("k")
    made = [Key(base / "a"), Key(base / "b")]
    yield made
    for key in made:
        key.close()


def test_both_indexes_are_read(served: dict[str, bytes], run_module: Runner) -> None:
    result = run_module(apphub_bundle_index, url="http://hub/")
    assert result["indexes"] == {"slurm-client": INDEX, "slurm-apk": INDEX}
    assert not result["changed"]
    assert served


def test_an_apphub_without_bundles_says_how_to_publish_them(served: dict[str, bytes], run_module: Runner) -> None:
    served.clear()
    assert run_module(apphub_bundle_index, url="http://hub")["failure"] == {
        "code": "client-bundle-missing",
        "reason": "http://hub/pkgs/slurm-client/index.json: HTTP 404 Not Found.",
        "remedy": "Publish client bundles with playbooks/publish_apphub.yml and apphub_bundles.",
    }


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[" * 100000,
        b'{"format": 2, "bundles": {}, "latest": {}}',
        b'{"format": 1, "bundles": [], "latest": {}}',
        b'{"format": 1, "bundles": {"../a.tar.gz": {}}, "latest": {}}',
        b'{"format": 1, "bundles": {}, "latest": {"a": "none"}}',
    ],
    ids=["cut off", "nested", "other format", "a list", "outside", "latest of none"],
)
def test_a_damaged_index_is_refused(served: dict[str, bytes], run_module: Runner, content: bytes) -> None:
    served["http://hub/pkgs/slurm-apk/index.json"] = content
    failure = run_module(apphub_bundle_index, url="http://hub")["failure"]
    assert failure["code"] == "client-bundle-damaged"
    assert failure["reason"].startswith("http://hub/pkgs/slurm-apk/index.json: ")


def test_only_what_the_key_signed_is_used(served: dict[str, bytes], run_module: Runner, keys: list[Key]) -> None:
    right, wrong = keys
    right.sign(served)
    assert run_module(apphub_bundle_index, url="http://hub", key=right.public)["indexes"]["slurm-apk"] == INDEX
    refused = run_module(apphub_bundle_index, url="http://hub", key=wrong.public)
    assert refused["failure"]["code"] == "apphub-signature-invalid"
    served["http://hub/pkgs/slurm-apk/index.json"] += b" "
    changed = run_module(apphub_bundle_index, url="http://hub", key=right.public)["failure"]
    assert changed["code"] == "apphub-signature-invalid"
    assert "It was changed after it was signed." in changed["reason"]
    del served["http://hub/pkgs/slurm-client/index.json.asc"]
    assert "failure" in run_module(apphub_bundle_index, url="http://hub", key=right.public)


def test_without_gpg_a_signature_is_not_taken_for_good(
    served: dict[str, bytes], run_module: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served
    monkeypatch.setattr(shutil, "which", lambda _: None)
    failure = run_module(apphub_bundle_index, url="http://hub", key="a key")["failure"]
    assert failure["code"] == "apphub-tool-missing"
    assert "gpg is needed" in failure["reason"]
