# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Says which operating system a node has, and whether it is supported."""

from __future__ import annotations

import re
import shlex
from typing import Any, Dict

SUPPORTED = "Rocky, AlmaLinux, RHEL and CentOS Stream 8-10, Ubuntu 20.04-26.04, Debian 11-13"
_EL = ("rocky", "almalinux", "rhel", "centos")
_RANGES = {
    "ubuntu": ((20, 4), (26, 4)),
    "debian": ((11,), (13, 99)),
    **dict.fromkeys(_EL, ((8,), (10, 99))),
}
#: IDs, as in os-release, of the systems that are supported in some version.
SYSTEMS = frozenset(_RANGES)


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
    like = [name or "", *fields.get("ID_LIKE", "").split()]
    family = "RedHat" if set(like) & {*_EL, "fedora"} else "Debian" if set(like) & {"debian", "ubuntu"} else None
    low, high = _RANGES.get(name or "", ((1,), (0,)))
    # CentOS Linux has the same ID as CentOS Stream and ended in 2021.
    supported = (
        bool(version) and low <= version <= high and not (name == "centos" and "Stream" not in fields.get("NAME", ""))
    )
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
