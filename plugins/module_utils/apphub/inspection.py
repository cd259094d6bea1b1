# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Checks an AppHub as its clients see it: server, key, catalog, repositories, packages and client bundles."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import catalog, gpg, metadata
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import index as bundle_index
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.file_checks import (
    PUBLISH,
    VERIFY,
    FileChecks,
    Finding,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.key_trust import (
    refuse_other_key,
    refuse_unknown_key,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.http_client import Server

Packages = List[Tuple[str, metadata.Entry]]


def inspect(server: Server, params: Dict[str, Any], home: str) -> List[Finding]:
    """Check everything, as far as it can be seen.

    Args:
        server: The AppHub.
        params: key_sha256, insecure, repositories, needed, version and bundles, as in the module apphub_check.
        home: A folder for gpg that need not exist.

    Returns:
        What was found, good and bad.
    """
    checks = FileChecks(server)
    try:
        server.get("healthz")
    except FailureError as error:
        checks.add_failure("server", "/healthz", *error.failure)
        return checks.findings
    checks.add_passed("server", "/healthz", "It answers.")
    _key(checks, server.url, params, home)
    repositories = checks.parse("catalog.json", checks.fetch("catalog", "catalog.json"), catalog.parse)
    if repositories is not None:
        _repositories(checks, repositories["repositories"], params)
    for libc, folder in bundle_index.FOLDERS.items():
        _bundles(checks, folder, wanted=params["bundles"] and libc == "glibc")
    _other_files(checks)
    return checks.findings


def _key(checks: FileChecks, url: str, params: Dict[str, Any], home: str) -> None:
    name = "apphub.asc"
    key = checks.fetch("key", name)
    if key is None:
        return
    try:
        checks.keyring = keyring = gpg.Keyring(home, key)
        refuse_unknown_key(url, params)
        refuse_other_key(key, params)
    except FailureError as error:
        checks.add_failure("key", name, *error.failure)
        return
    if keyring.revoked:
        checks.add_failure("key", name, Code.APPHUB_KEY_INVALID, "It was revoked.", gpg.REVOKED_KEY)
    elif keyring.expired:
        checks.add_failure(
            "key",
            name,
            Code.APPHUB_KEY_INVALID,
            f"It expired on {keyring.expired}.",
            f"On the AppHub: gpg --homedir APPHUB_GNUPG_HOME --quick-set-expire {keyring.fingerprint} 0; then publish"
            " again, and correct apphub_client_key_sha256 where it is set.",
        )
    else:
        checks.add_passed("key", name, f"{keyring.fingerprint}.")


def _repositories(checks: FileChecks, published: Dict[str, Any], params: Dict[str, Any]) -> None:
    for name in sorted(set(params["repositories"]) - set(published)):
        found = f"It is not published; there are {', '.join(sorted(published)) or 'none'}."
        checks.add_failure(
            "repository", name, Code.APPHUB_REPOSITORY_MISSING, found, _publish_remedy("its packages", name)
        )
    for name in sorted(published):
        kind = name[:3]
        entries = [
            one
            for versions in published[name]["packages"].values()
            for entry in versions.values()
            for one in catalog.entries(entry)
        ]
        own = {entry["arch"] for entry in entries} - {catalog.EVERY_ARCHITECTURE[kind]}
        archs = sorted(own) or [catalog.DEFAULT_ARCHITECTURE[kind]]
        indexes = (_apt if kind == "deb" else _yum)(checks, name, archs)
        indexed = {(path, entry.sha256) for packages in indexes.values() for path, entry in packages}
        listed = {(entry["file"], entry["sha256"]) for entry in entries}
        # Of an index that can't be read there is a finding already.
        for path, _sha256 in sorted(listed - indexed) if len(indexes) == len(archs) else []:
            found = "The catalog has it, but its index has not."
            checks.add_failure("catalog", path, Code.APPHUB_FILE_DAMAGED, found, VERIFY)
        for arch, packages in indexes.items():
            _packages(checks, name, arch, packages, params)


def _publish_remedy(what: str, repository: str) -> str:
    return f"Put {what} into {repository} below apphub_sources on the AppHub, then publish."


def _apt(checks: FileChecks, name: str, archs: List[str]) -> Dict[str, Packages]:
    base, codename = os.path.split(name)
    top = f"{base}/dists/{codename}/"
    text = checks.signed(top + "InRelease")
    if text is None:
        return {}
    sums = metadata.release(text)
    result = {}
    for path, sha256 in sorted(sums.items()):
        checks.compare(top + path, sha256)
    for arch in archs:
        path = f"main/binary-{arch}/Packages"
        if path not in sums:
            checks.add_failure("repository", f"{name} {arch}", Code.APPHUB_FILE_MISSING, "It has no index.", VERIFY)
            continue
        entries = checks.parsed(top + path, sums[path], metadata.debian)
        if entries is not None:
            result[arch] = [(f"{base}/{entry.path}", entry) for entry in entries]
    return result


def _yum(checks: FileChecks, name: str, archs: List[str]) -> Dict[str, Packages]:
    result = {}
    for arch in archs:
        base = f"{name}/{arch}/"
        repomd = base + "repodata/repomd.xml"
        indexes = checks.parse(repomd, checks.signed(repomd, repomd + ".asc"), metadata.repomd)
        if indexes is None:
            continue
        for path, sha256 in sorted(indexes.values()):
            checks.compare(base + path, sha256)
        if "primary" not in indexes:
            checks.add_failure("repository", f"{name} {arch}", Code.APPHUB_FILE_MISSING, "It has no index.", VERIFY)
            continue
        entries = checks.parsed(base + indexes["primary"][0], indexes["primary"][1], metadata.rpm)
        if entries is not None:
            result[arch] = [(base + entry.path, entry) for entry in entries]
    return result


def _packages(checks: FileChecks, name: str, arch: str, packages: Packages, params: Dict[str, Any]) -> None:
    """Check the packages of a repository for one architecture."""
    subject = f"{name} {arch}"
    # Each of them, also after the first that is not whole.
    if all([checks.compare(path, entry.sha256) for path, entry in packages]):  # noqa: C419 - all are compared, also after the first that differs
        size = sum(checks.sums[path][1] for path, _entry in packages) >> 20
        checks.add_passed("files", subject, f"{len(packages)} packages, {size} MB, all as the index says.")
    entries = [entry for _path, entry in packages]
    needed = params["needed"].get(name[:3], [])
    gaps = [*metadata.lacking(entries, needed, params["version"]), *metadata.unmet(entries, needed)]
    for gap in gaps:
        checks.add_failure(
            "packages", subject, Code.APPHUB_PACKAGE_MISSING, gap, _publish_remedy("what is missing", name)
        )
    if not gaps:
        versions = {entry.version for entry in entries if entry.name.startswith("slurm") and entry.name in needed}
        checks.add_passed("packages", subject, f"Slurm {', '.join(sorted(versions))} with {', '.join(needed)}.")


def _bundles(checks: FileChecks, folder: str, *, wanted: bool) -> None:
    path = folder + "/index.json"
    # Where one of its two lists is, bundles were published, and the other one is missing.
    if not checks.is_there(path) and not checks.is_there(folder + "/SHA256SUMS"):
        if wanted:
            remedy = f"{PUBLISH} -e apphub_bundles=true."
            checks.add_failure("bundle", folder, Code.CLIENT_BUNDLE_MISSING, "None is published.", remedy)
        return
    index = checks.parse(path, checks.signed(path, path + ".asc"), bundle_index.parse)
    if index is None:
        return
    sums = {name: info["sha256"] for name, info in index["bundles"].items()}
    sums.update({link: sums[name] for link, name in index["latest"].items()})
    if all([checks.compare(f"{folder}/{name}", sums[name]) for name in sorted(sums)]):  # noqa: C419 - all are compared, also after the first that differs
        checks.add_passed("bundle", folder, f"{len(index['bundles'])} bundles, all as the index says.")


def _other_files(checks: FileChecks) -> None:
    """Compare what no signed index tells of, such as the catalog, with the list of checksums."""
    data: Optional[bytes] = checks.fetch("files", "SHA256SUMS")
    for line in (data or b"").decode("utf-8", "replace").splitlines():
        sha256, _, path = line.partition("  ")
        checks.compare(path, sha256)
