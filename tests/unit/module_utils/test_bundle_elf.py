"""What readelf tells of programs: of this machine's own, and of ELF files made for the test."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import elf as bundle_elf
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from fakes.elf import GLIBC, MACHINES, elf

pytestmark = pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf (Debian's package binutils)")


def test_a_program_of_this_machine_tells_what_it_needs() -> None:
    found = bundle_elf.read({"python": Path(sys.executable).resolve().read_bytes()})["python"]
    assert found.arch in bundle_elf.ARCHITECTURES.values()
    assert Path(found.interpreter).exists()
    assert "libc.so.6" in found.needed
    assert (2, 2) < found.glibc < (3, 0)


def test_several_files_are_told_apart() -> None:
    found = bundle_elf.read(
        {
            "sinfo": elf(("libslurmfull.so", "libc.so.6"), GLIBC, ("2.4", "2.38", "2.17")),
            "libmunge.so.2": elf(("libc.so.6",), machine=MACHINES["arm64"]),
            "static": elf(),
        }
    )
    assert found == {
        "sinfo": bundle_elf.Elf("amd64", GLIBC, ("libslurmfull.so", "libc.so.6"), (2, 38)),
        "libmunge.so.2": bundle_elf.Elf("arm64", "", ("libc.so.6",), (0, 0)),
        "static": bundle_elf.Elf("amd64", "", (), (0, 0)),
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"#!/bin/sh\n", "header|magic"),
        (b"", "header|magic|empty"),
        (elf()[:100], "not that big|past end of file"),
        (elf(("libc.so.6",))[:-20], "past end of file"),
        (elf(machine=MACHINES["i386"]), "Intel 80386"),
    ],
)
def test_what_is_no_program_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(FailureError, match=message) as raised:
        bundle_elf.read({"sound": elf(), "odd": data})
    assert raised.value.failure.code is Code.CLIENT_BUNDLE_INPUT_INVALID
    assert raised.value.failure.reason.startswith("odd is no 64-bit ELF file")


def test_without_readelf_the_failure_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FailureError, match="readelf is needed, but it is not installed") as raised:
        bundle_elf.read({"sinfo": elf()})
    assert raised.value.failure.code is Code.APPHUB_TOOL_MISSING
