# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The rules about Slurm's versions: how they are written, which work together, and what slurmctld can do from when on.

Pure functions; modules, filters and checks ask here, so that a new release is entered once.
"""

from __future__ import annotations

import re
from typing import Optional, Tuple

#: Slurm's releases in their order; the position says how far two of them are apart.
RELEASES = (
    *("19.05", "20.02", "20.11", "21.08", "22.05", "23.02", "23.11"),
    *("24.05", "24.11", "25.05", "25.11", "26.05", "26.11"),
)
#: From here on slurmctld works with slurmds of three earlier releases, before with two (Slurm's upgrade guide).
_WINDOW_OF_THREE = (24, 11)

Version = Tuple[int, ...]


def version_tuple(text: str) -> Version:
    """Read "slurm 24.11.5" or "24.11.5-4" as (24, 11, 5); empty when no version is in it, so compare after a test."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text or "")
    return tuple(int(part) for part in found.groups() if part is not None) if found else ()


def version_text(version: Version) -> str:
    """Write a version as Slurm does, months with two digits: 22.05.8."""
    return f"{version[0]}.{version[1]:02d}" + "".join(f".{part}" for part in version[2:]) if version else ""


def is_version(found: str, wanted: str) -> bool:
    """Whether a package's version is the one meant, or begins with it at the border of a part: 24.1 is not 24.11."""
    bare = found.partition(":")[2] or found
    return wanted == found or bool(re.match(re.escape(wanted) + r"(?![0-9a-zA-Z])", bare))


def is_newer(version: str, other: str) -> bool:
    """Whether a version is newer than another; one that is not whole, such as 24.11, is compared as far as it goes."""
    numbers = version_tuple(version)
    return numbers > version_tuple(other)[: len(numbers)]


def is_older(version: str, other: str) -> bool:
    """Whether a version is older than another, compared in the same way."""
    numbers = version_tuple(version)
    return numbers < version_tuple(other)[: len(numbers)]


def window(slurmctld: str) -> int:
    """Return how many releases older than slurmctld a slurmd may be."""
    return 3 if version_tuple(slurmctld) >= _WINDOW_OF_THREE else 2


def is_too_old(slurmd: str, slurmctld: str) -> bool:
    """Whether slurmd is older than slurmctld's window of releases; False when slurmctld's release is not known."""
    release = version_tuple(slurmd)[:2]
    return bool(release) and release < version_tuple(oldest_slurmd(slurmctld))


def oldest_slurmd(slurmctld: str) -> str:
    """Return the oldest release of slurmd that works with slurmctld; empty when slurmctld's release is not known."""
    new = _release(slurmctld)
    return "" if new is None else RELEASES[max(0, new - window(slurmctld))]


def _release(version: str) -> Optional[int]:
    release = version_text(version_tuple(version)[:2])
    return RELEASES.index(release) if release in RELEASES else None


def window_problem(version: str, controller: str) -> str:
    """Return why slurmds of a version can't work with this controller; empty when they can."""
    if not re.match(r"\d+\.\d+(\.\d+)?(?![0-9a-zA-Z])", version):
        return f"slurm_version must be a version such as 24.11.5 or 24.11.5-4, but is {version!r}"
    if is_newer(version, controller):
        return f"{version} is newer than slurmctld, which is {controller}; upgrade the controller first"
    if is_too_old(version, controller):
        return f"slurmctld {controller} works with slurmd {oldest_slurmd(controller)} and later, not with {version}"
    return ""
