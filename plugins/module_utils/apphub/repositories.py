# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The apt and yum repositories of an AppHub: where their packages go, their signed indexes, and the checksums."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Set

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import catalog, commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.packages import Package, Repositories, sha256

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.gpg import Signer

# Where clients begin: files that have new content under an old name. All others are named by what is in them.
_APT_ENTRIES = ("InRelease", "Release", "Release.gpg", "Packages", "Packages.gz")
_ENTRIES = (*_APT_ENTRIES, "repomd.xml", "repomd.xml.asc", "SHA256SUMS", "apphub.asc", "catalog.json")


def architectures(repository: str, packages: List[Package]) -> List[str]:
    """Return the architectures that a repository is served for."""
    kind = repository[:3]
    own = {package.arch for package in packages} - {catalog.EVERY_ARCHITECTURE[kind]}
    return sorted(own) or [catalog.DEFAULT_ARCHITECTURE[kind]]


def folders(repository: str) -> List[str]:
    """Return the folders of a repository, relative to the tree that is served."""
    kind, rest = repository.split("/", 1)
    if kind == "rpm":
        return [repository]
    distribution, codename = rest.split("/")
    return [f"deb/{distribution}/{folder}/{codename}" for folder in ("dists", "pool")]


def paths(repository: str, package: Package, archs: List[str]) -> List[str]:
    """Return where a package of a repository goes, relative to the tree that is served.

    A package that is rebuilt has another path, so that what an older index names stays what it was.
    """
    place = f"{package.sha256[:8]}/{package.name}"
    if repository.startswith("deb/"):
        return [f"{folders(repository)[1]}/{place}"]
    wanted = archs if package.arch == catalog.EVERY_ARCHITECTURE["rpm"] else [package.arch]
    return [f"{repository}/{arch}/packages/{place}" for arch in wanted]


def index_deb(root: str, repository: str, archs: List[str], signer: Signer, origin: str) -> None:
    """Write the signed indexes of an apt repository over its pool.

    Args:
        root: The tree that is served.
        repository: The repository, its packages in place.
        archs: The architectures it is served for.
        signer: Signs it.
        origin: What clients see as its origin, by which they pin it.
    """
    dists, pool = folders(repository)
    codename = os.path.basename(dists)
    base = os.path.join(root, os.path.dirname(os.path.dirname(dists)))
    for arch in archs:
        folder = os.path.join(root, dists, "main", "binary-" + arch)
        os.makedirs(folder)
        listed = commands.run(
            ["apt-ftparchive", "--arch", arch, "packages", os.path.join("pool", os.path.basename(pool))], cwd=base
        )
        Path(folder, "Packages").write_bytes(listed)
        Path(folder, "Packages.gz").write_bytes(gzip.compress(listed, mtime=0))
    fields = {
        "Acquire-By-Hash": "yes",
        "Origin": origin,
        "Label": origin,
        "Suite": codename,
        "Codename": codename,
        "Components": "main",
        "Architectures": " ".join(archs),
    }
    options = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in fields.items()]
    # apt asks for the indexes by the strongest checksum there is.
    options += [f"-oAPT::FTPArchive::{name}=false" for name in ("MD5", "SHA1", "SHA512")]
    top = os.path.join(root, dists)
    release = commands.run(["apt-ftparchive", *options, "release", top])
    Path(top, "Release").write_bytes(release)
    for path in sorted(tree(os.path.join(top, "main"))):
        _link_by_hash(os.path.join(top, "main", path))
    signer.sign(os.path.join(top, "Release"), os.path.join(top, "Release.gpg"))
    signer.sign(os.path.join(top, "Release"), os.path.join(top, "InRelease"), inline=True)


def index_rpm(root: str, repository: str, archs: List[str], signer: Signer, old: str) -> None:
    """Write the signed indexes of a yum repository, one for each architecture.

    Args:
        root: The tree that is served.
        repository: The repository, its packages in place.
        archs: The architectures it is served for.
        signer: Signs it.
        old: The tree served until now, whose indexes spare reading its packages again.
    """
    for arch in archs:
        folder = os.path.join(root, repository, arch)
        before = os.path.join(old, repository, arch)
        reuse = ["--update", "--update-md-path", before] if os.path.isdir(before) else []
        # gzip is what the oldest clients read.
        command = ["createrepo_c", "--quiet", "--no-database", "--general-compress-type", "gz", *reuse, folder]
        commands.run(command)
        repomd = os.path.join(folder, "repodata", "repomd.xml")
        signer.sign(repomd, repomd + ".asc")


def write_lists(root: str, repositories: Repositories, known: Dict[str, Any]) -> Dict[str, Any]:
    """Write the catalog and the checksums.

    Args:
        root: The tree that is served.
        repositories: What it holds.
        known: Checksum and size of files that were linked from the old tree, by path.

    Returns:
        Checksum and size of every file.
    """
    text = json.dumps(catalog.build(repositories), indent=1, sort_keys=True) + "\n"
    Path(root, "catalog.json").write_text(text, encoding="utf-8")
    files: Dict[str, Any] = {}
    for path in sorted(tree(root)):
        full = os.path.join(root, path)
        files[path] = known.get(path) or {"sha256": sha256(full), "size": os.path.getsize(full)}
    sums = "".join(f"{entry['sha256']}  {path}\n" for path, entry in files.items())
    Path(root, "SHA256SUMS").write_text(sums, encoding="utf-8")
    files["SHA256SUMS"] = {"sha256": "", "size": len(sums)}
    return files


def is_entry(path: str) -> bool:
    """Whether a published file may have other content in the next tree."""
    return os.path.basename(path) in _ENTRIES


def _link_by_hash(path: str) -> None:
    """Let a client that has read the Release of this index still find it after the next one took its place."""
    folder = os.path.join(os.path.dirname(path), "by-hash", "SHA256")
    os.makedirs(folder, exist_ok=True)
    os.link(path, os.path.join(folder, sha256(path)))


def tree(root: str) -> Set[str]:
    """Return all files below a folder, relative to it."""
    return {
        os.path.relpath(os.path.join(folder, name), root) for folder, _folders, names in os.walk(root) for name in names
    }
