# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Lists the operating systems that are supported, and says which one a node has."""

from __future__ import annotations

import contextlib
import platform
import re
import shlex
from typing import Any, Dict, NamedTuple, Tuple


class System(NamedTuple):
    """Systems that are supported in the same versions.

    Attributes:
        family: What they have in common: the role operating-system has a file of variables of this name.
        name: They and their versions, for messages.
        ids: Their IDs, as in os-release.
        lowest: The first version.
        highest: The last version.
        kin: IDs of systems of this family that are not supported.
    """

    family: str
    name: str
    ids: Tuple[str, ...]
    lowest: Tuple[int, ...]
    highest: Tuple[int, ...]
    kin: Tuple[str, ...] = ()


_EL = ("rocky", "almalinux", "rhel", "centos")
SYSTEMS_BY_VERSION = (
    System("RedHat", "Rocky, AlmaLinux, RHEL and CentOS Stream 8-10", _EL, (8,), (10, 99), ("fedora",)),
    System("Debian", "Ubuntu 20.04-26.04", ("ubuntu",), (20, 4), (26, 4)),
    System("Debian", "Debian 11-13", ("debian",), (11,), (13, 99)),
)
SUPPORTED = ", ".join(system.name for system in SYSTEMS_BY_VERSION)
#: IDs, as in os-release, of the systems that are supported in some version.
SYSTEMS = frozenset(name for system in SYSTEMS_BY_VERSION for name in system.ids)


def _release(text: str) -> Dict[str, str]:
    fields = {}
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if separator and not key.startswith("#"):
            try:
                fields[key.strip()] = " ".join(shlex.split(value))
            except ValueError:
                fields[key.strip()] = value.strip()
    return fields


def local_system() -> Dict[str, Any]:
    """Describe the operating system of this host, as `os_facts` does."""
    text = ""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
            text = text or stream.read()
    return os_facts(text, platform.machine())


def os_facts(text: str, arch: str) -> Dict[str, Any]:
    """Describe the operating system.

    Args:
        text: Content of os-release.
        arch: The machine's architecture.

    Returns:
        id, version_id, codename, family, major, arch, pretty, supported and, when it is not supported, the problem.
    """
    fields = _release(text)
    name, version_id = fields.get("ID"), fields.get("VERSION_ID")
    version = tuple(int(part) for part in re.findall(r"\d+", version_id or ""))
    like = {name or "", *fields.get("ID_LIKE", "").split()}
    family = next((system.family for system in SYSTEMS_BY_VERSION if like & {*system.ids, *system.kin}), None)
    own = next((system for system in SYSTEMS_BY_VERSION if name in system.ids), None)
    # CentOS Linux has the same ID as CentOS Stream and ended in 2021.
    ended = name == "centos" and "Stream" not in fields.get("NAME", "")
    supported = own is not None and bool(version) and own.lowest <= version <= own.highest and not ended
    pretty = fields.get("PRETTY_NAME") or " ".join(filter(None, (name, version_id))) or "an unnamed system"
    return {
        "id": name,
        "version_id": version_id,
        "codename": fields.get("VERSION_CODENAME") or fields.get("UBUNTU_CODENAME"),
        "family": family,
        "major": version[0] if version else None,
        "arch": arch,
        "pretty": pretty,
        "supported": supported,
        "problem": None if supported else f"{pretty} is not supported; supported are {SUPPORTED}",
    }
