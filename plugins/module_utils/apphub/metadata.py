# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What the indexes of apt and yum repositories say, and what is missing in them for a compute node."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
import zlib
from dataclasses import dataclass, field
from typing import Dict, Iterable, Iterator, List, Set, Tuple
from xml.parsers import expat

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.http_client import MAX_INDEX
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.versions import is_version

# What clients take from AppHub and from nowhere else; the role apphub-client has the same as patterns.
_FROM_APPHUB = re.compile(r"^(slurm|munge|libslurm|libmunge|libpam-slurm|pam_slurm)")
_COMMON = "{http://linux.duke.edu/metadata/common}"
_REPO = "{http://linux.duke.edu/metadata/repo}"
_RPM = "{http://linux.duke.edu/metadata/rpm}"
# A name, and the only version of it that will do; empty for any.
Need = Tuple[str, str]


@dataclass
class Entry:
    """A package as an index describes it.

    Attributes:
        name: Its name.
        version: Its version, with epoch and release when it has them.
        arch: Its architecture, as its format names it.
        path: Where the index says that the file is, relative to the repository.
        sha256: Checksum of the file.
        needs: What it depends on; of each, one of several alternatives is enough.
        provides: What others may depend on beside its name.
    """

    name: str
    version: str
    arch: str
    path: str
    sha256: str
    needs: List[List[Need]] = field(default_factory=list)
    provides: List[Need] = field(default_factory=list)


def _paragraphs(text: str) -> Iterator[Dict[str, str]]:
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        fields: Dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1].isspace():
                fields[name] = fields.get(name, "") + "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields


def release(text: bytes) -> Dict[str, str]:
    """Read the Release file of an apt repository; return the SHA-256 checksums of its indexes by path."""
    fields = next(_paragraphs(text.decode("utf-8", "replace")), {})
    lines = (line.split() for line in fields.get("SHA256", "").splitlines())
    return {line[2]: line[0] for line in lines if len(line) == 3}  # noqa: PLR2004 - checksum, size, path


def _debian_needs(text: str) -> List[List[Need]]:
    groups = []
    for group in filter(None, (part.strip() for part in text.split(","))):
        found = [re.match(r"([^\s:(]+)(?::\w+)?\s*(?:\(=\s*([^)\s]+)\s*\))?", one.strip()) for one in group.split("|")]
        groups.append([(match.group(1), match.group(2) or "") for match in found if match])
    return groups


def debian(packages: bytes) -> List[Entry]:
    """Read an index Packages."""
    result = []
    for fields in _paragraphs(packages.decode("utf-8", "replace")):
        needs = [text for text in (fields.get("Pre-Depends"), fields.get("Depends")) if text]
        provides = [need for group in _debian_needs(fields.get("Provides", "")) for need in group]
        entry = Entry(
            fields["Package"], fields["Version"], fields["Architecture"], fields["Filename"], fields["SHA256"]
        )
        entry.needs, entry.provides = _debian_needs(",".join(needs)), provides
        result.append(entry)
    return result


def decompress(data: bytes, limit: int = MAX_INDEX) -> bytes:
    """Unpack what gzip packed.

    Args:
        data: The whole file.
        limit: How many bytes may come out; a file of one MB can hold a thousand.

    Raises:
        FailureError: It is more.
        ValueError: This is no such file.
    """
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        result = unpacker.decompress(data, limit)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if unpacker.unconsumed_tail:
        raise FailureError(
            Code.APPHUB_LIMIT_EXCEEDED,
            f"It is larger than {limit >> 20} MB when it is unpacked.",
            "Check that this is an AppHub; leave out what no compute node needs.",
        )
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is cut off, or goes on after its end")
    return result


def _elements(data: bytes, tag: str) -> Iterator[ET.Element]:
    """Yield the elements of one name, and forget each after that.

    Raises:
        ValueError: It is no XML, or defines entities, of which a few lines can stand for gigabytes.
    """

    def refuse(*_arguments: object) -> None:
        raise ValueError("it has a document type, which no index has")

    checker = expat.ParserCreate()
    checker.StartDoctypeDeclHandler = refuse
    try:
        checker.Parse(data, True)  # noqa: FBT003 - expat takes it by position only
    except expat.ExpatError as error:
        raise ValueError(str(error)) from None
    for _event, element in ET.iterparse(io.BytesIO(data)):  # noqa: S314 - it defines no entities
        if element.tag == tag:
            yield element
            element.clear()


def repomd(data: bytes) -> Dict[str, Tuple[str, str]]:
    """Read repomd.xml; return path and SHA-256 checksum of each index by its type, such as primary."""
    result = {}
    for element in _elements(data, _REPO + "data"):
        location, checksum = element.find(_REPO + "location"), element.find(_REPO + "checksum")
        if location is not None and checksum is not None:
            result[element.get("type", "")] = (location.get("href", ""), checksum.text or "")
    return result


def _version(element: ET.Element) -> str:
    """Return epoch, version and release as rpm writes them, without what is not there."""
    epoch, release = element.get("epoch", "0"), element.get("rel")
    text = element.get("ver", "") + ("-" + release if release else "")
    return text if epoch in ("0", "") else f"{epoch}:{text}"


def _rpm_needs(package: ET.Element, kind: str) -> List[Need]:
    found = package.find(f"{_COMMON}format/{_RPM}{kind}")
    return [
        (one.get("name", ""), _version(one) if one.get("flags") == "EQ" else "")
        for one in (found if found is not None else ())
    ]


def rpm(primary: bytes) -> List[Entry]:
    """Read an index primary.xml.gz."""
    result = []
    for package in _elements(decompress(primary), _COMMON + "package"):
        text = {name: package.findtext(_COMMON + name) or "" for name in ("name", "arch", "checksum")}
        version, location = package.find(_COMMON + "version"), package.find(_COMMON + "location")
        if version is None or location is None:
            raise ValueError(f"{text['name']} has no version or no location")
        entry = Entry(text["name"], _version(version), text["arch"], location.get("href", ""), text["checksum"])
        entry.needs = [[need] for need in _rpm_needs(package, "requires")]
        entry.provides = _rpm_needs(package, "provides")
        result.append(entry)
    return result


def lacking(entries: Iterable[Entry], names: Iterable[str], version: str) -> List[str]:
    """Say what a compute node needs and a repository lacks, a sentence for each.

    Args:
        entries: The repository's packages for one architecture.
        names: Names of the packages that a node needs.
        version: Version of Slurm, whole or its beginning; empty when each that is there must be there whole.
    """
    there: Dict[str, Set[str]] = {name: set() for name in names}
    for entry in entries:
        if entry.name in there:
            there[entry.name].add(entry.version)
    gaps = [f"There is no package {name}." for name, versions in there.items() if not versions]
    slurm = {name: versions for name, versions in there.items() if name.startswith("slurm") and versions}
    versions = sorted(set().union(*slurm.values()))
    fitting = [found for found in versions if not version or is_version(found, version)]
    if versions and not fitting:
        gaps.append(f"There is no Slurm {version}, only {', '.join(versions)}.")
    gaps += [
        f"There is no {name} {found}, but other packages of this version."
        for found in fitting
        for name in slurm
        if found not in slurm[name]
    ]
    return gaps


def _with_needs(entries: List[Entry], names: Iterable[str]) -> List[Entry]:
    """Return the packages of these names and what they depend on; nobody installs the others."""
    offering: Dict[str, List[Entry]] = {}
    for entry in entries:
        for name in {entry.name, *(name for name, _version in entry.provides)}:
            offering.setdefault(name, []).append(entry)
    ahead, seen = list(names), set()
    found: Dict[int, Entry] = {}
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            for entry in offering.get(name, []):
                found[id(entry)] = entry
                ahead += [need for group in entry.needs for need, _version in group]
    return list(found.values())


def _alternatives(group: List[Need]) -> str:
    return " or ".join(" ".join(need).strip() for need in group)


def unmet(entries: Iterable[Entry], names: Iterable[str]) -> List[str]:
    """Say which packages can't be installed because AppHub lacks a package of Slurm or munge, a sentence for each.

    Args:
        entries: The repository's packages for one architecture.
        names: Names of the packages that a node needs.
    """
    entries = list(entries)
    offered: Set[Need] = set()
    for entry in entries:
        for name, version in [(entry.name, entry.version), *entry.provides]:
            # Whoever states no release is content with any.
            offered |= {(name, ""), (name, version), (name, version.rpartition("-")[0])}
    return sorted(
        {
            f"{entry.name} {entry.version} needs {_alternatives(group)}, which is not there."
            for entry in _with_needs(entries, names)
            for group in entry.needs
            if all(_FROM_APPHUB.match(name) for name, _version in group) and not offered.intersection(group)
        }
    )
