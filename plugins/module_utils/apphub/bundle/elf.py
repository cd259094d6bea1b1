# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What programs and shared libraries need in order to run, as readelf tells it."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from typing import Dict, List, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

# Architectures as Debian names them, by the names of readelf.
ARCHITECTURES = {
    "Advanced Micro Devices X86-64": "amd64",
    "AArch64": "arm64",
    "PowerPC64": "ppc64el",
    "IBM S/390": "s390x",
    "RISC-V": "riscv64",
}


@dataclass(frozen=True)
class Elf:
    """One program or shared library.

    Attributes:
        arch: Its architecture, as Debian names it.
        interpreter: The dynamic loader it names; empty for a library and for a static program.
        needed: File names of the libraries it is linked with.
        glibc: The newest version of glibc that its symbols ask for, (0, 0) when they ask for none.
    """

    arch: str
    interpreter: str
    needed: Tuple[str, ...]
    glibc: Tuple[int, ...]


def read(files: Dict[str, bytes]) -> Dict[str, Elf]:
    """Read programs and libraries.

    Args:
        files: Their content, by name.

    Returns:
        What each of them needs, by name.

    Raises:
        FailureError: One is no 64-bit ELF file, or a broken one; or readelf is missing.
    """
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        # Each under a number: names may hold anything.
        paths = {name: os.path.join(folder, str(number)) for number, name in enumerate(files)}
        for name, path in paths.items():
            with open(path, "wb") as stream:
                stream.write(files[name])
        output, errors = _readelf(list(paths.values()))
        for name, path in paths.items():
            # Of several files, it does not tell which one an error is about.
            text, error = (output[path], "") if not errors else _read_one(path)
            if error:
                raise _invalid(name, error)
            result[name] = _parse(name, text)
    return result


def _readelf(paths: List[str]) -> Tuple[Dict[str, str], str]:
    """Return what readelf says of each file, by its path, and its first error; it may end with 0 all the same."""
    options = ["--wide", "--file-header", "--program-headers", "--dynamic", "--version-info"]
    done = commands.execute(["readelf", *options, *paths])
    output = done.stdout.decode("utf-8", "replace")
    if len(paths) > 1:
        parts = re.split(r"(?m)^File: (.*)$", output)[1:]
        by_path = {parts[index]: parts[index + 1] for index in range(0, len(parts), 2)}
    else:
        by_path = dict.fromkeys(paths, output)
    errors = re.findall(r"(?m)^readelf: Error: (.*)$", done.stderr.decode("utf-8", "replace"))
    return by_path, errors[0] if errors else ""


def _read_one(path: str) -> Tuple[str, str]:
    output, error = _readelf([path])
    return output[path], error.replace(f"{path}: ", "")


def _invalid(name: str, reason: str) -> FailureError:
    return FailureError(
        Code.CLIENT_BUNDLE_INPUT_INVALID,
        f"{name} is no 64-bit ELF file of a known architecture: {reason}.",
        "Check where it comes from.",
    )


def _parse(name: str, output: str) -> Elf:
    header = dict(re.findall(r"(?m)^  (Class|Machine):\s+(.*?)\s*$", output))
    if header.get("Class") != "ELF64":
        raise _invalid(name, f"readelf calls it {header.get('Class', 'nothing')}")
    if header["Machine"] not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES.values())
        raise _invalid(name, f"it is for {header['Machine']}, and known are {known}")
    loader = re.search(r"\[Requesting program interpreter: ([^\]]+)\]", output)
    needed = re.findall(r"\(NEEDED\)\s+Shared library: \[([^\]]+)\]", output)
    # Only what is needed: a library also defines versions, and libc all of them.
    _, _, requirements = output.partition("Version needs section")
    versions = re.findall(r"Name: GLIBC_([0-9]+(?:\.[0-9]+)*)\s", requirements)
    numbers = [tuple(int(number) for number in version.split(".")) for version in versions]
    return Elf(
        ARCHITECTURES[header["Machine"]], loader.group(1) if loader else "", tuple(needed), max(numbers, default=(0, 0))
    )
