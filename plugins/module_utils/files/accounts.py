# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Reads lines of sysusers.d, the format of systemd's accounts."""

from __future__ import annotations

import grp
import pwd
from typing import Iterable, List

from ansible_collections.ai_infra.slurm.plugins.module_utils.files.options import FileError


def name_in(line: str) -> str:
    """Return the name of the user or group that a line makes.

    Raises:
        FileError: It has none.
    """
    words = line.split()
    if len(words) < 2 or words[0] not in {"u", "g"}:  # noqa: PLR2004 # kind and name
        raise FileError("sysusers needs lines such as 'u munge 991:991', and got '{0}'".format(line))
    return words[1]


def missing(lines: Iterable[str]) -> List[str]:
    """Return the lines whose user or group does not exist."""
    return [line for line in lines if not _exists(line)]


def _exists(line: str) -> bool:
    look_up = grp.getgrnam if line.split()[:1] == ["g"] else pwd.getpwnam
    try:
        look_up(name_in(line))
    except KeyError:
        return False
    return True
