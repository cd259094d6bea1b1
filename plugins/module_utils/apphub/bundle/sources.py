# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Where client bundles come from: releases of Slurm among DEBs, and install trees."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
import tarfile
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Iterator, List

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle.contents import Entry, Files
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.packages import (
    MAX_FILES,
    SourceFile,
    is_left_out,
    scan,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

#: Bytes of all files of one package or install tree; they are held in memory.
MAX_CONTENT = 2 << 30
# Packages that have the commands: Debian's and Ubuntu's, and SchedMD's own.
CLIENTS = ("slurm-client", "slurm-smd-client")
_FIELDS = ("Package", "Version", "Architecture", "Pre-Depends", "Depends", "Provides")
_FORMAT = "--showformat=" + "\\t".join("${%s}" % name for name in _FIELDS)
_NEED = re.compile(r"^\s*([a-z0-9][a-z0-9+.-]+)(?::[a-z0-9]+)?\s*(?:\(\s*([<>=]+)\s*([^\s)]+)\s*\))?")


@dataclass(frozen=True)
class Deb:
    """A DEB and its own description."""

    path: str
    name: str
    version: str
    arch: str
    needs: str
    provides: str


@dataclass(frozen=True)
class Source:
    """What one bundle is made from.

    Attributes:
        version: Slurm's version, without the distribution's addition.
        kind: C library of the machines it is for: glibc or musl.
        where: Its name in messages.
        files: Its files.
    """

    version: str
    kind: str
    where: str
    files: Files


@dataclass(frozen=True)
class Origin:
    """A repository or an install tree.

    Attributes:
        name: Its name.
        stamp: Changes whenever its bundles might.
        read: Returns the bundles' sources, one for each release of Slurm and architecture in it.
    """

    name: str
    stamp: str
    read: Callable[[], List[Source]]


def upstream(version: str) -> str:
    """Return Slurm's own version of a package's version: 24.11.5 of 24.11.5-4+deb13u1."""
    return re.split(r"[-+~]", version.split(":", 1)[-1])[0]


def _stamp(parts: Iterable[Any]) -> str:
    return hashlib.sha256(repr(sorted(parts, key=repr)).encode("utf-8")).hexdigest()


def from_packages(sources: Iterable[str], absent: Iterable[str] = ()) -> List[Origin]:
    """Find the apt repositories among source folders.

    Args:
        sources: The folders, as apphub_publish takes them.
        absent: Versions of Slurm to leave out.

    Returns:
        One origin for each repository; no package has been opened yet.

    Raises:
        FailureError: A folder is missing or a package lies astray.
    """
    repositories: Dict[str, List[SourceFile]] = {}
    for file in scan(sources):
        if file.repository.startswith("deb/"):
            repositories.setdefault(file.repository, []).append(file)
    absent = sorted(absent)
    return [
        Origin(
            name,
            _stamp([*((file.name, file.size, file.mtime_ns) for file in files), *absent]),
            functools.partial(_debs, name, files, absent),
        )
        for name, files in sorted(repositories.items())
    ]


def _debs(repository: str, found: List[SourceFile], absent: List[str]) -> List[Source]:
    debs = [_read(file.path) for file in found]
    result = []
    for client in debs:
        if client.name in CLIENTS and not is_left_out(client.name, client.version, absent):
            files = Files(map(_deb_entries, _closure(client, debs)))
            where = f"{client.name} {client.version} {client.arch} of {repository}"
            result.append(Source(upstream(client.version), "glibc", where, files))
    return result


def from_trees(trees: Iterable[Dict[str, str]]) -> List[Origin]:
    """Take install trees of a Slurm that was built on Alpine.

    Args:
        trees: Path and version of each.

    Returns:
        One origin for each.

    Raises:
        FailureError: A tree is missing.
    """
    return [_tree(tree["path"], tree["version"]) for tree in trees]


def _tree(path: str, version: str) -> Origin:
    if not os.path.isdir(path):
        raise FailureError(
            Code.APPHUB_SOURCE_MISSING, f"The install tree {path} does not exist.", "Correct apphub_bundle_trees."
        )
    found: List[Any] = [version]
    for folder, _folders, names in os.walk(path):
        _refuse_too_much(path, len(found) + len(names), 0)
        for full in (os.path.join(folder, name) for name in names):
            stat = os.lstat(full)
            found.append((os.path.relpath(full, path), stat.st_size, stat.st_mtime_ns))

    def read() -> List[Source]:
        return [Source(version, "musl", path, Files([_tree_entries(path)]))]

    return Origin(path, _stamp(found), read)


def _read(path: str) -> Deb:
    output = commands.run(["dpkg-deb", "--show", _FORMAT, path]).decode("utf-8", "replace")
    name, version, arch, early, late, provides = output.split("\t")
    return Deb(path, name, version, arch, f"{early}, {late}", provides)


def _newer(one: str, two: str) -> int:
    """Compare two versions by the rules of dpkg, as a sort key function does."""
    if one == two:
        return 0
    answer = subprocess.run(["dpkg", "--compare-versions", one, "lt", two], check=False).returncode
    return 1 if answer else -1


def _closure(client: Deb, debs: List[Deb]) -> List[Deb]:
    """Return a package and, level by level, all that it depends on as far as it is there.

    Of several versions, the one asked for is taken, else the newest.
    """
    fitting = [deb for deb in debs if deb.arch in (client.arch, "all")]
    result, names = [client], {client.name}
    for deb in result:
        for need in re.split(r"[,|]", deb.needs):
            match = _NEED.match(need)
            if not match or match.group(1) in names:
                continue
            name, relation, version = match.groups()
            candidates = [other for other in fitting if name == other.name or name in _provided(other)]
            if relation == "=":
                candidates = [other for other in candidates if other.version == version]
            if candidates:
                by_version = functools.cmp_to_key(_newer)
                result.append(max(candidates, key=lambda other: by_version(other.version)))
                names.update((name, result[-1].name))
    return result


def _provided(deb: Deb) -> List[str]:
    return [match.group(1) for match in map(_NEED.match, deb.provides.split(",")) if match]


def _refuse_too_much(where: str, count: int, size: int) -> None:
    if count > MAX_FILES or size > MAX_CONTENT:
        raise FailureError(
            Code.APPHUB_LIMIT_EXCEEDED,
            f"{where} holds more than {MAX_FILES} files or {MAX_CONTENT >> 20} MB, which no package of Slurm does.",
            "Remove it.",
        )


def _deb_entries(deb: Deb) -> Iterator[Entry]:
    count = size = 0
    command = ["dpkg-deb", "--fsys-tarfile", deb.path]
    # As a stream, so that a few bytes that unpack to many are noticed before they fill the memory.
    with commands.output_of(command) as output, tarfile.open(fileobj=output, mode="r|") as tar:
        for member in tar:
            count, size = count + 1, size + member.size
            _refuse_too_much(deb.path, count, size)
            path = os.path.normpath("/" + member.name.lstrip("./"))
            if member.issym():
                yield Entry(path, link=member.linkname)
            elif member.islnk():
                yield Entry(path, link="/" + member.linkname.lstrip("./"))
            elif member.isfile():
                stream = tar.extractfile(member)
                yield Entry(path, data=stream.read() if stream else b"")


def _tree_entries(tree: str) -> Iterator[Entry]:
    count = size = 0
    for folder, folders, names in os.walk(tree):
        # A link to a folder is among the folders, and a library may be reached through it.
        for name in names + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            full = os.path.join(folder, name)
            path = "/" + os.path.relpath(full, tree)
            count += 1
            _refuse_too_much(tree, count, size)
            if os.path.islink(full):
                yield Entry(path, link=os.readlink(full))
            elif os.path.isfile(full):
                size += os.path.getsize(full)
                _refuse_too_much(tree, count, size)
                with open(full, "rb") as stream:
                    yield Entry(path, data=stream.read())
