# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Which packages an AppHub is to serve: found in folders, read, and compared with what it serves already."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import asdict, dataclass
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

_REPOSITORY = {
    ".deb": (re.compile(r"^(deb/[a-z]+/[a-z]+)/"), "deb/DISTRIBUTION/CODENAME, such as deb/ubuntu/noble"),
    ".rpm": (re.compile(r"^(rpm/el[0-9]+)/"), "rpm/elMAJOR, such as rpm/el9"),
}
# What is served, in each format's words.
_ARCHITECTURES = {".deb": ("amd64", "arm64", "ppc64el", "all"), ".rpm": ("x86_64", "aarch64", "ppc64le", "noarch")}
# What a client needs to know a package by; the file name tells nothing for certain.
_DEB_FORMAT = "--showformat=${Package}\t${Version}\t${Architecture}"
# An RPM of sources names the architecture that it was made on.
_RPM_FORMAT = "%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%|SOURCEPACKAGE?{src}:{%{ARCH}}|"


class PublishError(Exception):
    """The packages can't be published as they are; the message names the culprit and the remedy."""


class SourceFile(NamedTuple):
    """A package file in a folder of packages."""

    repository: str
    name: str
    path: str
    size: int
    mtime_ns: int


@dataclass
class Package:
    """A package of a repository, and where it is published.

    Attributes:
        name: Its file name.
        size: Size of the file in its source folder.
        mtime_ns: When that was changed.
        source_sha256: Checksum of that.
        package: The package's own name.
        version: Its version, with epoch and release when it has them.
        arch: Its architecture, in its format's words.
        source: Where it was found; empty when it is taken from what is published already.
        paths: Published paths, relative to the tree that is served.
        sha256: Checksum of the published file: that of an RPM changes when it is signed.
    """

    name: str
    size: int
    mtime_ns: int
    source_sha256: str
    package: str
    version: str
    arch: str
    source: str
    paths: List[str]
    sha256: str

    def state(self) -> Dict[str, Any]:
        """Return what the next run has to know."""
        return dict(asdict(self), source="")

    def line(self) -> str:
        """Return the package as one line of a diff."""
        return "{0} {1} {2}".format(self.package, self.version, self.arch)


Repositories = Dict[str, List[Package]]


def run(command: List[str], cwd: Optional[str] = None, env: Optional[Dict[str, str]] = None) -> bytes:
    """Run a program.

    Args:
        command: The program and its arguments.
        cwd: Where to run it.
        env: What to add to its environment.

    Returns:
        Its output.

    Raises:
        PublishError: It is not there, or it failed.
    """
    environment = dict(os.environ, LC_ALL="C.UTF-8", **(env or {}))
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False)
    except FileNotFoundError:
        raise PublishError(
            "{0} is needed to publish packages, but it is not installed; role apphub installs it".format(command[0])
        ) from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
        # apt tells on one what it can't do and on the other why.
        if command[0] == "apt-get":
            said = "{0}\n{1}".format(said, done.stdout.decode("utf-8", "replace").strip())
        raise PublishError("{0} failed: {1}".format(command[0], said[-2000:]))
    return done.stdout


def sha256(path: str) -> str:
    """Return the SHA-256 checksum of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def repository_of(relative: str) -> Optional[str]:
    """Return the repository that a file of a source folder belongs to.

    Args:
        relative: Path of the file, relative to the source folder.

    Returns:
        The repository, such as deb/ubuntu/noble or rpm/el9; None for a file that is no package.

    Raises:
        PublishError: It is a package, but it lies where no repository is.
    """
    suffix = os.path.splitext(relative)[1]
    if suffix not in _REPOSITORY:
        return None
    pattern, wanted = _REPOSITORY[suffix]
    match = pattern.match(relative)
    if not match:
        raise PublishError("{0} belongs to no repository: put it below {1}".format(relative, wanted))
    return match.group(1)


def scan(sources: Iterable[str]) -> List[SourceFile]:
    """Find the packages in source folders.

    Args:
        sources: The folders. A file that two of them have must be the same in both.

    Returns:
        The package files, in the order of repositories and names.

    Raises:
        PublishError: A folder is missing, a package lies astray or is two different ones, or there is none at all.
    """
    found: Dict[Tuple[str, str], SourceFile] = {}
    sources = list(sources)
    for source in sources:
        if not os.path.isdir(source):
            raise PublishError("the source folder {0} does not exist".format(source))
        for folder, _folders, names in os.walk(source, followlinks=True):
            for name in names:
                path = os.path.join(folder, name)
                repository = repository_of(os.path.relpath(path, source))
                if repository is None:
                    continue
                stat = os.stat(path)
                file = SourceFile(repository, name, path, stat.st_size, stat.st_mtime_ns)
                other = found.setdefault((repository, name), file)
                if other is not file and sha256(other.path) != sha256(path):
                    raise PublishError(
                        "{0} and {1} have one name and different content: remove one".format(other.path, path)
                    )
    if not found:
        raise PublishError(
            "there is no package in {0}: put them below {1}".format(
                ", ".join(sources), " and ".join(wanted for _pattern, wanted in _REPOSITORY.values())
            )
        )
    return sorted(found.values())


def read(file: SourceFile, checksum: str) -> Package:
    """Read a package, and make sure that it is whole.

    Args:
        file: The package file.
        checksum: Its SHA-256 checksum.

    Returns:
        The package, not published yet.

    Raises:
        PublishError: It is broken.
    """
    try:
        if file.name.endswith(".deb"):
            fields = run(["dpkg-deb", "--show", _DEB_FORMAT, file.path])
            # The names of the content, thrown away: reading them unpacks everything.
            run(["dpkg-deb", "--contents", file.path])
        else:
            fields = run(["rpm", "-qp", "--nosignature", "--queryformat", _RPM_FORMAT, file.path])
            run(["rpmkeys", "--checksig", "--nosignature", file.path])
    except PublishError as error:
        raise PublishError("{0} is broken, nothing was published: {1}".format(file.path, error)) from None
    package, version, arch = fields.decode("utf-8", "replace").split("\t")
    _refuse_wrong_architecture(file, arch)
    return Package(file.name, file.size, file.mtime_ns, checksum, package, version, arch, file.path, [], "")


def _refuse_wrong_architecture(file: SourceFile, arch: str) -> None:
    stem, suffix = os.path.splitext(file.name)
    served = _ARCHITECTURES[suffix]
    if arch not in served:
        raise PublishError(
            "{0} is for {1}, nothing was published: take it away, an AppHub serves {2}".format(
                file.path, "building (src)" if arch == "src" else arch, ", ".join(served)
            )
        )
    # The name is what apt-ftparchive goes by.
    ending = ("_" if suffix == ".deb" else ".") + arch
    if not stem.endswith(ending):
        raise PublishError(
            "{0} is for {1}, but its name does not end in {2}{3}, nothing was published: see where it comes from, "
            "then take it away or give it the name it was built with".format(file.path, arch, ending, suffix)
        )


def wanted(files: Iterable[SourceFile], published: Repositories) -> Repositories:
    """Read the packages that are to be published; what is published already is not read again.

    Args:
        files: The package files found.
        published: What is published now.

    Returns:
        The packages of each repository. Those that are published already have their paths.
    """
    result: Repositories = {}
    for file in files:
        known = {package.name: package for package in published.get(file.repository, [])}.get(file.name)
        if known is None or (known.size, known.mtime_ns) != (file.size, file.mtime_ns):
            checksum = sha256(file.path)
            known = known if known is not None and known.source_sha256 == checksum else read(file, checksum)
        result.setdefault(file.repository, []).append(known)
    for repository, packages in result.items():
        _refuse_twins(repository, packages)
    return result


def _refuse_twins(repository: str, packages: List[Package]) -> None:
    seen: Dict[str, str] = {}
    for package in packages:
        twin = seen.setdefault(package.line(), package.name)
        if twin != package.name:
            raise PublishError(
                "{0} and {1} in {2} are the same package ({3}): remove one".format(
                    twin, package.name, repository, package.line()
                )
            )


def stale(want: Repositories, published: Repositories) -> Set[str]:
    """Return the repositories that have to be built or removed."""

    def content(repositories: Repositories, name: str) -> Set[Tuple[str, str]]:
        return {(package.name, package.source_sha256) for package in repositories.get(name, [])}

    return {name for name in set(want) | set(published) if content(want, name) != content(published, name)}


def listing(repositories: Repositories) -> str:
    """Return the packages of all repositories as text, for a diff."""
    lines = ["{0}: {1}\n".format(name, package.line()) for name in repositories for package in repositories[name]]
    return "".join(sorted(lines))
