# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Lays out a client bundle and packs it, so that the same content always gives the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from typing import TYPE_CHECKING, Any, Dict, Set, Tuple

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle.contents import Contents

# What comes from outside of the packages, by name.
SCRIPTS = ("install.sh", "uninstall.sh", "README.md", "command.sh", "slurm.conf.example", "version.conf")
PREFIX = "usr/local/slurm"
# Any fixed time makes archives comparable; that of the zip format's beginning is one no tool complains about.
_TIME = 315532800

Files = Dict[str, Tuple[bytes, int]]


def file_name(version: str, arch: str, kind: str) -> str:
    """Return the name of a bundle's file; `latest` as the version gives the link's."""
    if kind == "glibc":
        return f"slurm-client-{version}-linux-{arch}.tar.gz"
    suffix = "" if arch == "amd64" else "-" + arch
    return f"slurm-client-{version}-alpine{suffix}.tar.gz"


def facts(contents: Contents, version: str, kind: str) -> Dict[str, Any]:
    """Return what the installation has to know of a bundle."""
    return {
        "version": version,
        "arch": contents.arch,
        "libc": kind,
        "loader": contents.loader,
        "glibc": ".".join(map(str, contents.glibc)),
        "plugins": contents.plugin_folder,
        "from_host": " ".join(contents.from_host),
    }


def layout(contents: Contents, version: str, kind: str, scripts: Dict[str, str]) -> Files:
    """Lay out a bundle.

    Args:
        contents: What it holds.
        version: Slurm's version.
        kind: The C library of the machines it is for: glibc or musl.
        scripts: Content of the files named in SCRIPTS.

    Returns:
        Content and mode of each file, by its path in the bundle.
    """
    told = facts(contents, version, kind)
    words = {
        "VERSION": version,
        "ARCH": contents.arch,
        "LIBC": f"glibc {told['glibc']} or newer" if kind == "glibc" else "musl",
        "ARCHIVE": file_name(version, contents.arch, kind),
        "PLUGINS": f"`{contents.plugin_folder}`" if contents.plugin_folder else "here: none",
        "HOST_LIBRARIES": ", ".join(contents.from_host) or "none",
        "LOADER": contents.loader,
    }
    files: Files = {
        "install.sh": (scripts["install.sh"].encode(), 0o755),
        "uninstall.sh": (scripts["uninstall.sh"].encode(), 0o755),
        "README.md": (_fill(scripts["README.md"], words), 0o644),
        "BUNDLE": ("".join(f"{name}={value}\n" for name, value in told.items()).encode(), 0o644),
        "etc/slurm/slurm.conf.example": (scripts["slurm.conf.example"].encode(), 0o644),
        PREFIX + "/VERSION": (version.encode() + b"\n", 0o644),
        PREFIX + "/lib/version.conf": (scripts["version.conf"].encode(), 0o644),
    }
    for name, data in contents.commands.items():
        files[f"{PREFIX}/bin/{name}"] = (_fill(scripts["command.sh"], dict(words, COMMAND=name)), 0o755)
        files[f"{PREFIX}/lib/commands/{name}"] = (data, 0o755)
    for name, data in contents.plugins.items():
        files[f"{PREFIX}/lib/slurm/{name}"] = (data, 0o644)
    for name, data in contents.libraries.items():
        files[f"{PREFIX}/lib/{name}"] = (data, 0o644)
    sums = [f"{hashlib.sha256(files[path][0]).hexdigest()}  {path}\n" for path in sorted(files)]
    files["SHA256SUMS"] = ("".join(sums).encode(), 0o644)
    return files


def _fill(template: str, words: Dict[str, str]) -> bytes:
    for word, value in words.items():
        template = template.replace(f"@{word}@", value)
    return template.encode()


def pack(files: Files) -> bytes:
    """Pack the files into a tar.gz, the same bytes for the same files."""
    folders: Set[str] = set()
    for path in files:
        parts = path.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    buffer = io.BytesIO()
    # ustar is what every tar reads, that of busybox included.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folders | set(files)):
            member = tarfile.TarInfo(path)
            member.mtime, member.uname, member.gname = _TIME, "root", "root"
            if path in folders:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
            else:
                data, member.mode = files[path]
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), compresslevel=6, mtime=0)
