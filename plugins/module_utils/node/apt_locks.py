# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Waits for whoever installs packages already: unattended upgrades, or an installation that went on alone."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from typing import Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.processes import read

#: What apt and dpkg lock. apt waits for none of the lists' and the archives' locks, and for dpkg's only when told so.
LOCKS = (
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/lock",
    "var/lib/apt/lists/lock",
    "var/cache/apt/archives/lock",
)
# What the kernel takes and returns on 64-bit Linux: type, whence, start, length, pid.
_FLOCK = "hhqqi4x"


def holder(root: str = "/") -> Optional[Tuple[str, str]]:
    """Tell who holds one of the locks.

    Args:
        root: Where the file system begins.

    Returns:
        The program with its process number, and the lock; None when all of them are free.
    """
    for path in LOCKS:
        try:
            with open(os.path.join(root, path), "rb") as file:
                asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, _whence, _start, _length, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
        except OSError:
            continue
        if kind != fcntl.F_UNLCK:
            name = (read(f"/proc/{pid}/comm") or b"a process").decode("utf-8", "replace").strip()
            return f"{name} ({pid})", "/" + path
    return None


def wait_until_free(seconds: float, root: str = "/", interval: float = 1) -> None:
    """Wait until nobody installs packages.

    Args:
        seconds: How long at most.
        root: Where the file system begins.
        interval: Seconds between two looks.

    Raises:
        FailureError: Somebody still does.
    """
    deadline = time.monotonic() + seconds
    while True:
        held = holder(root)
        if held is None:
            return
        if time.monotonic() >= deadline:
            raise FailureError(
                Code.PACKAGE_MANAGER_BUSY,
                f"{held[0]} has held {held[1]} for more than {seconds:g} s, so nothing was installed.",
                "Wait until it has ended, or see what it waits for: systemctl status apt-daily.service"
                " apt-daily-upgrade.service. To wait longer, set apphub_client_lock_timeout.",
            )
        time.sleep(interval)
