# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Slurm's commands from a client bundle on this machine: which bundle fits, what is installed, how it is unpacked."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from typing import Any, Dict, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle.index import numbers
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

# Architectures in the words of the bundles, by those of the kernel.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el"}


#: Files in a bundle, and their bytes; one of Slurm 24.11 has 200 files with 60 million bytes.
MAX_FILES = 10000
MAX_CONTENT = 2 << 30


@dataclass(frozen=True)
class Machine:
    """What a bundle has to fit.

    Attributes:
        arch: Architecture in the words of the bundles.
        libc: The C library: glibc or musl.
        glibc: Its version; empty with musl.
    """

    arch: str
    libc: str
    glibc: str

    @classmethod
    def this(cls) -> Machine:
        """Return the machine that this runs on."""
        kernel = os.uname().machine
        try:
            libc, version = (os.confstr("CS_GNU_LIBC_VERSION") or "musl ").split(" ")
        except (ValueError, OSError):
            libc, version = "musl", ""
        return cls(ARCHITECTURES.get(kernel, kernel), libc, version)


@dataclass(frozen=True)
class Installed:
    """A bundle that is installed below a prefix.

    Attributes:
        version: Its version of Slurm; empty when there is none.
        sums: By which it is known.
        whole: Whether nothing of it is missing or changed.
    """

    version: str = ""
    sums: str = ""
    whole: bool = False


def choose(indexes: Dict[str, Any], machine: Machine, version: str) -> Dict[str, Any]:
    """Choose the newest bundle that runs on a machine.

    Args:
        indexes: Content of each index.json of an AppHub, by its folder below /pkgs.
        machine: The machine.
        version: Version of Slurm, whole or its beginning; empty for any.

    Returns:
        The bundle as the index describes it, with its `path` below /pkgs.

    Raises:
        FailureError: There is none.
    """
    bundles = [
        dict(info, path=f"{folder}/{name}")
        for folder, index in sorted(indexes.items())
        for name, info in sorted(index["bundles"].items())
    ]
    fitting = [
        info
        for info in bundles
        if (info["arch"], info["libc"]) == (machine.arch, machine.libc)
        and (not version or info["version"] == version or info["version"].startswith(version + "."))
    ]
    running = [info for info in fitting if numbers(info["glibc"]) <= numbers(machine.glibc) or machine.libc == "musl"]
    if running:
        return max(running, key=lambda info: numbers(info["version"]))
    wanted = f"Slurm {version}" if version else "Slurm"
    if fitting:
        raise FailureError(
            Code.CLIENT_BUNDLE_MISSING,
            f"No client bundle of {wanted} runs on this machine, which has glibc {machine.glibc}: "
            f"{_listing(fitting, 'needs glibc {glibc}')}.",
            "Choose an older version, or publish packages of an older release.",
        )
    raise FailureError(
        Code.CLIENT_BUNDLE_MISSING,
        f"AppHub has no client bundle of {wanted} for {machine.arch} with {machine.libc}, but "
        f"{_listing(bundles, 'for {arch} with {libc}') or 'none at all'}.",
        "Choose another version, or publish one with playbooks/publish_apphub.yml and apphub_bundles.",
    )


def _listing(bundles: Any, about: str) -> str:
    return ", ".join(f"{info['version']} ({about.format(**info)})" for info in bundles)


def installed(root: str, prefix: str) -> Installed:
    """Return what is installed below a prefix.

    Args:
        root: The image that it is in; empty for this machine.
        prefix: Where install.sh put the commands.

    Returns:
        What is there.
    """
    prefix = root + prefix
    try:
        with open(os.path.join(prefix, "BUNDLE"), encoding="utf-8") as stream:
            facts = dict(line.rstrip("\n").split("=", 1) for line in stream if "=" in line)
        sums = _sha256(os.path.join(prefix, "BUNDLE.sha256"))
        with open(os.path.join(prefix, "SHA256SUMS"), encoding="utf-8") as stream:
            files = [line.rstrip("\n").split("  ", 1) for line in stream]
        with open(os.path.join(prefix, "MANIFEST"), encoding="utf-8") as stream:
            links = [line.split()[1:] for line in stream if line.startswith("l ")]
    except (OSError, ValueError):
        return Installed(version="", sums="", whole=False)
    whole = all(_sha256(os.path.join(prefix, path)) == sha256 for sha256, path in files)
    linked = all(os.path.islink(root + path) and os.readlink(root + path) == target for path, target in links)
    return Installed(facts.get("version", ""), sums or "", whole and linked)


def _sha256(path: str) -> Optional[str]:
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        return None


def unpack(data: bytes, sha256: str, target: str) -> None:
    """Unpack a bundle.

    Args:
        data: The archive.
        sha256: Checksum that it must have.
        target: A folder to unpack it into.

    Raises:
        FailureError: It is not the one that was asked for.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise FailureError(
            Code.CLIENT_BUNDLE_DAMAGED,
            f"The client bundle was damaged on its way: its SHA-256 checksum should be {sha256}, but is {found}.",
            "Try again; if it stays so, publish again and look for a proxy in between.",
        )
    count = size = 0
    # As a stream, so that the limits hold before more is unpacked.
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|gz") as tar:
        for member in tar:
            count, size = count + 1, size + member.size
            if count > MAX_FILES or size > MAX_CONTENT:
                raise FailureError(
                    Code.APPHUB_LIMIT_EXCEEDED,
                    f"The client bundle holds more than {MAX_FILES} files or {MAX_CONTENT >> 20} MB.",
                    "Publish it again; if it stays so, do not use this server.",
                )
            path = os.path.normpath(os.path.join(target, member.name))
            if not path.startswith(os.path.join(target, "")) or not (member.isfile() or member.isdir()):
                raise FailureError(
                    Code.CLIENT_BUNDLE_DAMAGED,
                    f"{member.name} in the client bundle does not belong in a bundle.",
                    "Publish it again; if it stays so, do not use this server.",
                )
            tar.extract(member, target)
