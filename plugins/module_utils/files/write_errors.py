# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Says what to do where the system does not let files be written."""

from __future__ import annotations

import errno
import os
from typing import Optional


def remedy_for(number: Optional[int], directory: str) -> str:
    """Return what to do about an error of the system.

    Args:
        number: Its errno.
        directory: Where something was to be written.

    Returns:
        A sentence; empty where the error itself says all that is known.
    """
    if number == errno.EROFS:
        return f"See why it is read-only: findmnt --target {directory}; dmesg"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"Free some space: df -h {directory}; df -i {directory}"
    if number in (errno.EPERM, errno.EACCES):
        return f"See what forbids it to root: lsattr -d {directory}; findmnt --target {directory}"
    return ""


def what_forbids(directory: str) -> int:
    """Return the errno for a directory that root may not write to."""
    return errno.EROFS if os.statvfs(directory).f_flag & os.ST_RDONLY else errno.EPERM
