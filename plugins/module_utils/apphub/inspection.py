# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Looks at an AppHub as its clients do: server, key, catalog, repositories, packages and client bundles."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import evidence as apphub_evidence
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import gpg as apphub_signature
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client as apphub_web
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import metadata as apphub_contents
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.evidence import PUBLISH, REACH, SIGNATURE, VERIFY

FORMAT = 1
BUNDLES = ("slurm-client", "slurm-apk")
# Architectures of packages for every machine, and what is served when there are only such.
_ANY = {"deb": ("all", "amd64"), "rpm": ("noarch", "x86_64")}

Packages = List[Tuple[str, apphub_contents.Entry]]


def inspect(server: apphub_web.Server, params: Dict[str, Any], home: str) -> List[apphub_evidence.Finding]:
    """Look at everything, as far as it can be seen.

    Args:
        server: The AppHub.
        params: key_sha256, repositories, needed, version and bundles, as in the module apphub_check.
        home: A folder for gpg that need not exist.

    Returns:
        What was found, good and bad.
    """
    evidence = apphub_evidence.Evidence(server)
    try:
        server.get("healthz")
    except apphub_web.WebError as error:
        evidence.note("server", "/healthz", str(error), REACH.get(error.kind, REACH["other"]))
        return evidence.findings
    evidence.note("server", "/healthz", "it answers")
    _key(evidence, params["key_sha256"].lower(), home)
    repositories = _catalog(evidence)
    if repositories is not None:
        _repositories(evidence, repositories, params)
    for folder in BUNDLES:
        _bundles(evidence, folder, wanted=params["bundles"] and folder == BUNDLES[0])
    _rest(evidence)
    return evidence.findings


def _key(evidence: apphub_evidence.Evidence, wanted: str, home: str) -> None:
    name = "apphub.asc"
    key = evidence.fetch("key", name)
    if key is None:
        return
    try:
        evidence.keyring = keyring = apphub_signature.Keyring(home, key)
    except apphub_signature.NoGpgError as error:
        evidence.note("key", name, str(error), "Install gnupg here, and check again.")
        return
    except apphub_signature.NoKeyError as error:
        evidence.note("key", name, str(error), VERIFY)
        return
    found = hashlib.sha256(key).hexdigest()
    if wanted not in ("", found):
        evidence.note(
            "key",
            name,
            "its checksum is {0}, but apphub_client_key_sha256 is {1}".format(found, wanted),
            "If a new key is meant, set apphub_client_key_sha256 to its checksum. Else don't use this server: bring the"
            " right key back into apphub_gnupg_home on the AppHub, and publish again.",
        )
    elif keyring.revoked:
        evidence.note("key", name, "it was revoked", SIGNATURE["revoked"])
    elif keyring.expired:
        evidence.note(
            "key",
            name,
            "it expired on {0}".format(keyring.expired),
            "On the AppHub: gpg --homedir APPHUB_GNUPG_HOME --quick-set-expire {0} 0; then publish again, and correct"
            " apphub_client_key_sha256 where it is set.".format(keyring.fingerprint),
        )
    else:
        evidence.note("key", name, keyring.fingerprint)


def _catalog(evidence: apphub_evidence.Evidence) -> Optional[Dict[str, Any]]:
    data = evidence.fetch("catalog", "catalog.json")
    if data is None:
        return None
    try:
        catalog = json.loads(data.decode("utf-8"))
        if catalog["format"] == FORMAT:
            repositories: Dict[str, Any] = catalog["repositories"]
            return repositories
        found = "it has format {0}, but this version reads format {1}".format(catalog["format"], FORMAT)
    except (ValueError, KeyError, TypeError):
        found = "it is damaged"
    evidence.note("catalog", "catalog.json", found, VERIFY)
    return None


def _repositories(evidence: apphub_evidence.Evidence, published: Dict[str, Any], params: Dict[str, Any]) -> None:
    for name in sorted(set(params["repositories"]) - set(published)):
        found = "it is not published; there are {0}".format(", ".join(sorted(published)) or "none")
        evidence.note("repository", name, found, _bring("its packages", name))
    for name in sorted(published):
        anyone, default = _ANY[name[:3]]
        entries = [entry for versions in published[name]["packages"].values() for entry in versions.values()]
        entries += [other for entry in entries for other in entry.get("others", [])]
        archs = sorted({entry["arch"] for entry in entries} - {anyone}) or [default]
        indexes = (_apt if name.startswith("deb/") else _yum)(evidence, name, archs)
        indexed = {(path, entry.sha256) for packages in indexes.values() for path, entry in packages}
        listed = {(entry["file"], entry["sha256"]) for entry in entries}
        # Of an index that can't be read there is a finding already.
        for path, _sha256 in sorted(listed - indexed) if len(indexes) == len(archs) else []:
            evidence.note("catalog", path, "the catalog has it, but its index has not", VERIFY)
        for arch, packages in indexes.items():
            _packages(evidence, name, arch, packages, params)


def _bring(what: str, repository: str) -> str:
    return "Put {0} into {1} below apphub_sources on the AppHub, then publish.".format(what, repository)


def _apt(evidence: apphub_evidence.Evidence, name: str, archs: List[str]) -> Dict[str, Packages]:
    base, codename = os.path.split(name)
    top = "{0}/dists/{1}/".format(base, codename)
    text = evidence.signed(top + "InRelease")
    if text is None:
        return {}
    sums = apphub_contents.release(text)
    result = {}
    for path, sha256 in sorted(sums.items()):
        evidence.compare(top + path, sha256)
    for arch in archs:
        path = "main/binary-{0}/Packages".format(arch)
        if path not in sums:
            evidence.note("repository", "{0} {1}".format(name, arch), "it has no index", VERIFY)
            continue
        entries = evidence.parsed(top + path, sums[path], apphub_contents.debian)
        if entries is not None:
            result[arch] = [("{0}/{1}".format(base, entry.path), entry) for entry in entries]
    return result


def _yum(evidence: apphub_evidence.Evidence, name: str, archs: List[str]) -> Dict[str, Packages]:
    result = {}
    for arch in archs:
        base = "{0}/{1}/".format(name, arch)
        data = evidence.signed(base + "repodata/repomd.xml", base + "repodata/repomd.xml.asc")
        if data is None:
            continue
        indexes = apphub_contents.repomd(data)
        for path, sha256 in sorted(indexes.values()):
            evidence.compare(base + path, sha256)
        entries = evidence.parsed(base + indexes["primary"][0], indexes["primary"][1], apphub_contents.rpm)
        if entries is not None:
            result[arch] = [(base + entry.path, entry) for entry in entries]
    return result


def _packages(
    evidence: apphub_evidence.Evidence, name: str, arch: str, packages: Packages, params: Dict[str, Any]
) -> None:
    """Check the packages of a repository for one architecture."""
    subject = "{0} {1}".format(name, arch)
    # Each of them, also after the first that is not whole.
    if all([evidence.compare(path, entry.sha256) for path, entry in packages]):  # noqa: C419
        size = sum(evidence.sums[path][1] for path, _entry in packages) >> 20
        evidence.note("files", subject, "{0} packages, {1} MB, all as the index says".format(len(packages), size))
    entries = [entry for _path, entry in packages]
    needed = params["needed"].get(name[:3], [])
    gaps = apphub_contents.lacking(entries, needed, params["version"])
    gaps += [gap + ", which is not there" for gap in apphub_contents.unmet(entries, needed)]
    for gap in gaps:
        evidence.note("packages", subject, gap, _bring("what is missing", name))
    if not gaps:
        versions = {entry.version for entry in entries if entry.name.startswith("slurm") and entry.name in needed}
        evidence.note("packages", subject, "Slurm {0} with {1}".format(", ".join(sorted(versions)), ", ".join(needed)))


def _bundles(evidence: apphub_evidence.Evidence, folder: str, *, wanted: bool) -> None:
    path = folder + "/index.json"
    # Where one of its two lists is, bundles were published, and the other one is missing.
    if not evidence.is_there(path) and not evidence.is_there(folder + "/SHA256SUMS"):
        if wanted:
            evidence.note("bundle", folder, "none is published", PUBLISH + " -e apphub_bundles=true.")
        return
    data = evidence.signed(path, path + ".asc")
    if data is None:
        return
    index = json.loads(data.decode("utf-8"))
    sums = {name: info["sha256"] for name, info in index["bundles"].items()}
    sums.update({link: sums[name] for link, name in index["latest"].items()})
    if all([evidence.compare("{0}/{1}".format(folder, name), sums[name]) for name in sorted(sums)]):  # noqa: C419
        evidence.note("bundle", folder, "{0} bundles, all as the index says".format(len(index["bundles"])))


def _rest(evidence: apphub_evidence.Evidence) -> None:
    """Compare what no signed index tells of, such as the catalog, with the list of checksums."""
    data = evidence.fetch("files", "SHA256SUMS") or b""
    for line in data.decode("utf-8", "replace").splitlines():
        sha256, _, path = line.partition("  ")
        evidence.compare(path, sha256)
