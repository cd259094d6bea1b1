# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Indexes of an AppHub: apt and yum repositories, the catalog, the checksums, and the key that signs them."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from typing import Any, Dict, List, Set

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import packages as apphub_packages

# Debian's and RPM's words for packages of every architecture, and what to serve when there are only such.
_ANY = {"deb": ("all", "amd64"), "rpm": ("noarch", "x86_64")}
# Where clients begin: files that have new content under an old name. All others are named by what is in them.
_APT_ENTRIES = ("InRelease", "Release", "Release.gpg", "Packages", "Packages.gz")
_ENTRIES = (*_APT_ENTRIES, "repomd.xml", "repomd.xml.asc", "SHA256SUMS", "apphub.asc", "catalog.json")


class Signer:
    """A GnuPG home with one secret key."""

    def __init__(self, home: str) -> None:
        """Use the home, which need not exist yet."""
        self.home = home

    def _gpg(self, *arguments: str) -> bytes:
        return apphub_packages.run(["gpg", "--homedir", self.home, "--batch", "--quiet", "--no-tty", *arguments])

    def fingerprint(self) -> str:
        """Return the fingerprint of the secret key, empty when there is none.

        Raises:
            apphub_packages.PublishError: There are several.
        """
        if not os.path.isdir(self.home):
            return ""
        listed = self._gpg("--list-secret-keys", "--with-colons").decode("utf-8", "replace")
        keys = re.findall(r"(?m)^sec:.*\nfpr:(?:[^:\n]*:){8}([0-9A-F]+):", listed)
        if len(keys) > 1:
            raise apphub_packages.PublishError(
                "{0} holds {1} secret keys, but clients know one: leave one".format(self.home, len(keys))
            )
        return keys[0] if keys else ""

    def make(self, name: str) -> str:
        """Make the key and return its fingerprint.

        RSA, because rpm of EL 8 knows nothing newer. It never expires: clients would all stop at once.
        """
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        self._gpg(
            "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", name, "rsa3072", "sign", "never"
        )
        return self.fingerprint()

    def public_key(self) -> bytes:
        """Return the public key, armored."""
        return self._gpg("--armor", "--export")

    def sign(self, path: str, signature: str, *, inline: bool = False) -> None:
        """Sign a file, beside it or around it."""
        how = "--clearsign" if inline else "--detach-sign"
        self._gpg("--armor", "--digest-algo", "SHA256", "--output", signature, how, path)

    def sign_rpms(self, paths: List[str]) -> None:
        """Put the key's signature into RPMs, in place."""
        if not paths:
            return
        # rpm of Debian 12 looks for a program that its own gpg package does not have.
        macros = {"_gpg_name": self.fingerprint(), "__gpg": shutil.which("gpg") or "gpg"}
        defines = [word for macro in macros.items() for word in ("--define", "{0} {1}".format(*macro))]
        apphub_packages.run(["rpmsign", *defines, "--addsign", *paths], env={"GNUPGHOME": self.home})

    def check(self) -> None:
        """Make sure that the key signs.

        Raises:
            apphub_packages.PublishError: It has a passphrase, or has expired.
        """
        try:
            # Not --output /dev/null: a gpg that fails removes it, and root may.
            self._gpg("--pinentry-mode", "loopback", "--passphrase", "", "--output", "-", "--detach-sign", os.devnull)
        except apphub_packages.PublishError as error:
            raise apphub_packages.PublishError(
                "the key in {0} can't be used: {1}. It must not have expired, and needs to be without a passphrase, "
                "because nobody is there to enter it".format(self.home, error)
            ) from None

    def close(self) -> None:
        """End the agent that gpg leaves behind."""
        if os.path.isdir(self.home):
            apphub_packages.run(["gpgconf", "--homedir", self.home, "--kill", "all"])


def architectures(repository: str, packages: List[apphub_packages.Package]) -> List[str]:
    """Return the architectures that a repository is served for."""
    anyone, default = _ANY[repository[:3]]
    return sorted({package.arch for package in packages} - {anyone}) or [default]


def folders(repository: str) -> List[str]:
    """Return the folders of a repository, relative to the tree that is served."""
    kind, rest = repository.split("/", 1)
    if kind == "rpm":
        return [repository]
    distribution, codename = rest.split("/")
    return ["deb/{0}/{1}/{2}".format(distribution, part, codename) for part in ("dists", "pool")]


def paths(repository: str, package: apphub_packages.Package, archs: List[str]) -> List[str]:
    """Return where a package of a repository goes, relative to the tree that is served.

    A package that is built anew has another path, so that what an older index names stays what it was.
    """
    place = "{0}/{1}".format(package.sha256[:8], package.name)
    if repository.startswith("deb/"):
        return ["{0}/{1}".format(folders(repository)[1], place)]
    wanted = archs if package.arch == _ANY["rpm"][0] else [package.arch]
    return ["{0}/{1}/packages/{2}".format(repository, arch, place) for arch in wanted]


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
        listed = apphub_packages.run(
            ["apt-ftparchive", "--arch", arch, "packages", os.path.join("pool", os.path.basename(pool))], cwd=base
        )
        _write(os.path.join(folder, "Packages"), listed)
        _write(os.path.join(folder, "Packages.gz"), gzip.compress(listed, mtime=0))
    fields = {
        "Acquire-By-Hash": "yes",
        "Origin": origin,
        "Label": origin,
        "Suite": codename,
        "Codename": codename,
        "Components": "main",
        "Architectures": " ".join(archs),
    }
    options = ["-oAPT::FTPArchive::Release::{0}={1}".format(*field) for field in fields.items()]
    # apt asks for the indexes by the strongest checksum there is.
    options += ["-oAPT::FTPArchive::{0}=false".format(name) for name in ("MD5", "SHA1", "SHA512")]
    top = os.path.join(root, dists)
    release = apphub_packages.run(["apt-ftparchive", *options, "release", top])
    _write(os.path.join(top, "Release"), release)
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
        apphub_packages.run(command)
        repomd = os.path.join(folder, "repodata", "repomd.xml")
        signer.sign(repomd, repomd + ".asc")


def catalog(repositories: apphub_packages.Repositories) -> Dict[str, Any]:
    """Return what the repositories hold, in the form that clients read.

    A version that is there for several architectures has the further ones in `others`.
    """
    result: Dict[str, Any] = {}
    for name in sorted(repositories):
        packages: Dict[str, Dict[str, Any]] = {}
        for package in sorted(repositories[name], key=apphub_packages.Package.line):
            entry = {"arch": package.arch, "file": package.paths[0], "sha256": package.sha256}
            versions = packages.setdefault(package.package, {})
            if package.version in versions:
                versions[package.version].setdefault("others", []).append(entry)
            else:
                versions[package.version] = entry
        result[name] = {"packages": packages}
    return {"format": 1, "repositories": result}


def finish(root: str, repositories: apphub_packages.Repositories, known: Dict[str, Any]) -> Dict[str, Any]:
    """Write the catalog and the checksums.

    Args:
        root: The tree that is served.
        repositories: What it holds.
        known: Checksum and size of files that were linked from the old tree, by path.

    Returns:
        Checksum and size of every file.
    """
    text = json.dumps(catalog(repositories), indent=1, sort_keys=True) + "\n"
    _write(os.path.join(root, "catalog.json"), text.encode("utf-8"))
    files: Dict[str, Any] = {}
    for path in sorted(tree(root)):
        full = os.path.join(root, path)
        files[path] = known.get(path) or {"sha256": apphub_packages.sha256(full), "size": os.path.getsize(full)}
    sums = "".join("{0}  {1}\n".format(entry["sha256"], path) for path, entry in files.items())
    _write(os.path.join(root, "SHA256SUMS"), sums.encode("utf-8"))
    files["SHA256SUMS"] = {"sha256": "", "size": len(sums)}
    return files


def is_entry(path: str) -> bool:
    """Whether a published file may have other content in the next tree."""
    return os.path.basename(path) in _ENTRIES


def _link_by_hash(path: str) -> None:
    """Let a client that has read the Release of this index still find it after the next one took its place."""
    folder = os.path.join(os.path.dirname(path), "by-hash", "SHA256")
    os.makedirs(folder, exist_ok=True)
    os.link(path, os.path.join(folder, apphub_packages.sha256(path)))


def tree(root: str) -> Set[str]:
    """Return all files below a folder, relative to it."""
    return {
        os.path.relpath(os.path.join(folder, name), root) for folder, _folders, names in os.walk(root) for name in names
    }


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(content)
