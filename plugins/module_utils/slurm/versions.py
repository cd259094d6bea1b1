# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Compares versions of Slurm's packages with the one that somebody stated."""

from __future__ import annotations

import re


def is_version(found: str, wanted: str) -> bool:
    """Whether a package's version is the one meant, or begins with it at the border of a part: 24.1 is not 24.11."""
    bare = found.partition(":")[2] or found
    return wanted == found or bool(re.match(re.escape(wanted) + r"(?![0-9a-zA-Z])", bare))
