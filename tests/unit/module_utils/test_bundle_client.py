"""Which client bundle fits a machine, and how it is unpacked."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import client
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

if TYPE_CHECKING:
    from pathlib import Path


def info(version: str, arch: str = "amd64", libc: str = "glibc", glibc: str = "2.36") -> dict[str, Any]:
    return {"version": version, "arch": arch, "libc": libc, "glibc": glibc, "sha256": "0", "sums": "0", "size": 1}


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
        (client.Machine("amd64", "glibc", "2.41"), "", "slurm-client/24-10.tar.gz"),
        (client.Machine("amd64", "glibc", "2.41"), "24.11.5", "slurm-client/24.tar.gz"),
        (client.Machine("amd64", "glibc", "2.41"), "22.05", "slurm-client/22.tar.gz"),
        # The newest that this machine can run.
        (client.Machine("amd64", "glibc", "2.36"), "", "slurm-client/22.tar.gz"),
        (client.Machine("arm64", "glibc", "2.36"), "24.11", "slurm-client/arm.tar.gz"),
        (client.Machine("amd64", "musl", ""), "", "slurm-apk/alpine.tar.gz"),
    ],
)
def test_the_newest_bundle_that_runs_here_is_chosen(machine: client.Machine, version: str, path: str) -> None:
    assert client.choose(INDEXES, machine, version)["path"] == path


@pytest.mark.parametrize(
    ("machine", "version", "message"),
    [
        (client.Machine("amd64", "glibc", "2.36"), "24.11", "which has glibc 2.36: 24.11.10 (needs glibc 2.38)"),
        (
            client.Machine("amd64", "glibc", "2.41"),
            "24.1",
            "no client bundle of Slurm 24.1 for amd64 with glibc",
        ),
        (client.Machine("riscv64", "glibc", "2.41"), "", "24.11.5 (for arm64 with glibc)"),
    ],
)
def test_when_none_fits_those_that_are_there_are_told(machine: client.Machine, version: str, message: str) -> None:
    with pytest.raises(FailureError) as raised:
        client.choose(INDEXES, machine, version)
    assert message in str(raised.value)


def test_this_machine_is_known() -> None:
    machine = client.Machine.this()
    assert machine.arch in {*client.ARCHITECTURES.values(), os.uname().machine}
    assert machine.libc in {"glibc", "musl"}


def unpack(target: Path, *members: tuple[tarfile.TarInfo, bytes]) -> FailureError:
    """Unpack an archive of these members, which is refused."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    data = buffer.getvalue()
    with pytest.raises(FailureError) as raised:
        client.unpack(data, hashlib.sha256(data).hexdigest(), str(target))
    return raised.value


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    "member", [tarfile.TarInfo("../outside"), tarfile.TarInfo("/outside"), link("around", "."), link("out", "/etc")]
)
def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    failure = unpack(tmp_path / "target", (member, b"")).failure
    assert failure.code is Code.CLIENT_BUNDLE_DAMAGED
    assert "does not belong in a bundle" in failure.reason
    assert list(tmp_path.iterdir()) == []


def test_an_archive_of_too_many_files_or_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_FILES", 2)
    monkeypatch.setattr(client, "MAX_CONTENT", 1 << 20)
    many = unpack(tmp_path / "many", *((tarfile.TarInfo(name), b"") for name in "abc"))
    large = unpack(tmp_path / "large", (tarfile.TarInfo("a"), bytes(2 << 20)))
    assert many.failure.code is large.failure.code is Code.APPHUB_LIMIT_EXCEEDED
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a", "b"]
