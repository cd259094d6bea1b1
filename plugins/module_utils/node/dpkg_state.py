# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Tells whether dpkg was cut off, and removes the policy by which its packages start no services meanwhile."""

from __future__ import annotations

import contextlib
import glob
import os

from ansible_collections.ai_infra.slurm.plugins.module_utils.node import apt_locks

#: Steps of dpkg that are not in its list of packages yet.
JOURNAL = "/var/lib/dpkg/updates/[0-9]*"
#: What asks whether a package may start its services.
POLICY = "/usr/sbin/policy-rc.d"
#: The policy of an installation of ours.
NO_STARTS = b"#!/bin/sh\n# Written by slurmscale while it installs packages.\nexit 101\n"


def has_journal() -> bool:
    """Say whether dpkg has noted steps that it is not through with; apt refuses to work then."""
    return bool(glob.glob(JOURNAL))


def was_cut_off() -> bool:
    """Say whether an installation was killed whose packages may all be there: its journal or its policy is left."""
    return (has_journal() or is_ours(POLICY)) and apt_locks.holder() is None


def kept_policy() -> str:
    """Return where the administrator's policy is meanwhile."""
    return POLICY + ".slurmscale"


def remove_policy() -> bool:
    """Bring back the administrator's policy, or none; return whether ours was there."""
    ours = is_ours(POLICY)
    kept = kept_policy()
    # What a killed run began may have gone on beside this, and have ended first.
    with contextlib.suppress(FileNotFoundError):
        if os.path.lexists(kept):
            os.replace(kept, POLICY)
        elif ours:
            os.unlink(POLICY)
    return ours


def is_ours(path: str) -> bool:
    """Say whether a policy is the one of an installation of ours."""
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        return stream.read() == NO_STARTS
    return False
