# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Which packages an AppHub is to serve: found in folders, read, and compared with what it serves already."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import asdict, dataclass
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.versions import is_version

#: Files in a folder of packages, packages or not.
MAX_FILES = 200000

_REPOSITORY = {
    ".deb": (re.compile(r"^(deb/[a-z]+/[a-z]+)/"), "deb/DISTRIBUTION/CODENAME, such as deb/ubuntu/noble"),
    ".rpm": (re.compile(r"^(rpm/[a-z]+[0-9]+)/"), "rpm/RELEASE, such as rpm/el9"),
}
# What is served, as each format names it.
_ARCHITECTURES = {".deb": ("amd64", "arm64", "ppc64el", "all"), ".rpm": ("x86_64", "aarch64", "ppc64le", "noarch")}
# What a client needs to know a package by; the file name tells nothing for certain.
_DEB_FORMAT = "--showformat=${Package}\t${Version}\t${Architecture}"
# An RPM of sources names the architecture that it was made on.
_RPM_FORMAT = "%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%|SOURCEPACKAGE?{src}:{%{ARCH}}|"


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
        arch: Its architecture, as its format names it.
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
        return f"{self.package} {self.version} {self.arch}"


Repositories = Dict[str, List[Package]]


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
        FailureError: It is a package, but it lies where no repository is.
    """
    suffix = os.path.splitext(relative)[1]
    if suffix not in _REPOSITORY:
        return None
    pattern, wanted = _REPOSITORY[suffix]
    match = pattern.match(relative)
    if not match:
        raise FailureError(
            Code.APPHUB_PACKAGE_INVALID, f"{relative} belongs to no repository.", f"Put it below {wanted}."
        )
    return match.group(1)


def scan(sources: Iterable[str]) -> List[SourceFile]:
    """Find the packages in source folders.

    Args:
        sources: The folders. A file that two of them have must be the same in both.

    Returns:
        The package files, in the order of repositories and names.

    Raises:
        FailureError: A folder is missing, a package is misplaced or is two different ones, or there is none at all.
    """
    found: Dict[Tuple[str, str], SourceFile] = {}
    sources = list(sources)
    for source in sources:
        if not os.path.isdir(source):
            raise FailureError(
                Code.APPHUB_SOURCE_MISSING, f"The source folder {source} does not exist.", "Correct apphub_sources."
            )
        for path in _files(source):
            repository = repository_of(os.path.relpath(path, source))
            if repository is None:
                continue
            if not os.path.isfile(path):
                raise FailureError(
                    Code.APPHUB_PACKAGE_INVALID,
                    f"{path} is not a file, or is a link to a file that does not exist.",
                    "Remove it.",
                )
            name = os.path.basename(path)
            stat = os.stat(path)
            file = SourceFile(repository, name, path, stat.st_size, stat.st_mtime_ns)
            other = found.setdefault((repository, name), file)
            if other is not file and sha256(other.path) != sha256(path):
                raise FailureError(
                    Code.APPHUB_PACKAGE_INVALID,
                    f"{other.path} and {path} have one name and different content.",
                    "Remove one.",
                )
    if not found:
        raise FailureError(
            Code.APPHUB_SOURCE_MISSING,
            f"There is no package in {', '.join(sources)}.",
            f"Put them below {' and '.join(wanted for _pattern, wanted in _REPOSITORY.values())}.",
        )
    return sorted(found.values())


def _files(source: str) -> Iterator[str]:
    """Yield the files below a folder, also those behind links, but not around in a circle.

    Raises:
        FailureError: There are too many.
    """
    count = 0
    ahead = [(source, frozenset([_identity(source)]))]
    while ahead:
        folder, above = ahead.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                count += 1
                if count > MAX_FILES:
                    raise FailureError(
                        Code.APPHUB_LIMIT_EXCEEDED,
                        f"{source} has more than {MAX_FILES} files.",
                        "Look for links between its folders; leave packages only.",
                    )
                if not os.path.isdir(entry.path):
                    yield entry.path
                    continue
                identity = _identity(entry.path)
                # Not a link to this folder, or to one that it lies in.
                if identity not in above:
                    ahead.append((entry.path, above | {identity}))


def _identity(folder: str) -> Tuple[int, int]:
    stat = os.stat(folder)
    return stat.st_dev, stat.st_ino


def read(file: SourceFile, checksum: str) -> Package:
    """Read a package, and make sure that it is whole.

    Args:
        file: The package file.
        checksum: Its SHA-256 checksum.

    Returns:
        The package, not published yet.

    Raises:
        FailureError: It is broken.
    """
    try:
        if file.name.endswith(".deb"):
            fields = commands.run(["dpkg-deb", "--show", _DEB_FORMAT, file.path])
            # The names of the content, thrown away: reading them unpacks everything.
            commands.run(["dpkg-deb", "--contents", file.path])
        else:
            fields = commands.run(["rpm", "-qp", "--nosignature", "--queryformat", _RPM_FORMAT, file.path])
            commands.run(["rpmkeys", "--checksig", "--nosignature", file.path])
    except FailureError as error:
        if error.failure.code is Code.APPHUB_TOOL_MISSING:
            raise
        raise FailureError(
            Code.APPHUB_PACKAGE_INVALID,
            f"{file.path} is broken, nothing was published: {error.failure.reason}",
            "Copy it again, or remove it.",
        ) from None
    package, version, arch = fields.decode("utf-8", "replace").split("\t")
    _refuse_wrong_architecture(file, arch)
    return Package(file.name, file.size, file.mtime_ns, checksum, package, version, arch, file.path, [], "")


def _refuse_wrong_architecture(file: SourceFile, arch: str) -> None:
    stem, suffix = os.path.splitext(file.name)
    served = _ARCHITECTURES[suffix]
    if arch not in served:
        raise FailureError(
            Code.APPHUB_PACKAGE_INVALID,
            f"{file.path} is for {'building (src)' if arch == 'src' else arch}, nothing was published. "
            f"An AppHub serves {', '.join(served)}.",
            "Remove it.",
        )
    # The name is what apt-ftparchive goes by.
    ending = ("_" if suffix == ".deb" else ".") + arch
    if not stem.endswith(ending):
        raise FailureError(
            Code.APPHUB_PACKAGE_INVALID,
            f"{file.path} is for {arch}, but its name does not end in {ending}{suffix}, nothing was published.",
            "Check where it comes from, then remove it or give it the name it was built with.",
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
        _refuse_duplicates(repository, packages)
    return result


def _refuse_duplicates(repository: str, packages: List[Package]) -> None:
    seen: Dict[str, str] = {}
    for package in packages:
        other = seen.setdefault(package.line(), package.name)
        if other != package.name:
            raise FailureError(
                Code.APPHUB_PACKAGE_INVALID,
                f"{other} and {package.name} in {repository} are the same package ({package.line()}).",
                "Remove one.",
            )


def is_left_out(package: str, version: str, absent: Iterable[str]) -> bool:
    """Whether a package is Slurm in one of the versions, whole or their beginning, that are not to be served."""
    return "slurm" in package and any(is_version(version, one) for one in absent)


def without_versions(repositories: Repositories, absent: Iterable[str]) -> Repositories:
    """Leave out versions of Slurm.

    Args:
        repositories: The packages found.
        absent: The versions, whole or their beginning.

    Returns:
        The other packages.

    Raises:
        FailureError: A repository would have no Slurm any more.
    """
    absent = list(absent)
    result: Repositories = {}
    for name, packages in repositories.items():
        slurm = [package for package in packages if "slurm" in package.package]
        gone = [package for package in slurm if is_left_out(package.package, package.version, absent)]
        if slurm and len(gone) == len(slurm):
            versions = ", ".join(sorted({package.version for package in slurm}))
            raise FailureError(
                Code.APPHUB_VERSION_NEEDED,
                f"Without {', '.join(absent)} there would be no Slurm in {name}, nothing was published: "
                f"its versions are {versions}.",
                f"Leave one, or remove the folder {name} if no machine needs it.",
            )
        result[name] = [package for package in packages if package not in gone]
    return result


def changed_repositories(want: Repositories, published: Repositories) -> Set[str]:
    """Return the repositories that have to be built or removed."""

    def content(repositories: Repositories, name: str) -> Set[Tuple[str, str]]:
        return {(package.name, package.source_sha256) for package in repositories.get(name, [])}

    return {name for name in set(want) | set(published) if content(want, name) != content(published, name)}


def listing(repositories: Repositories) -> str:
    """Return the packages of all repositories as text, for a diff."""
    lines = [f"{name}: {package.line()}\n" for name in repositories for package in repositories[name]]
    return "".join(sorted(lines))
