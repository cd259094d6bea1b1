# Apache License 2.0 (see LICENSE)
"""The lock that one run at a time holds on a controller, and beside slurm.conf, while it changes the nodes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from typing import Iterator

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

#: Seconds for which another run is waited for, where the caller does not say.
LOCK_TIMEOUT = 300
LOCK_FILE = "/run/slurmscale-nodes.lock"
#: Locked beside slurm.conf, as two controllers may share its directory.
SHARED_LOCK = ".slurmscale.lock"
# What a shared file system says that has no locks; then only the runs of one host exclude each other.
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP))


class BusyError(FailureError):
    """Another run holds the lock."""

    def __init__(self, path: str, timeout: float, holder: str) -> None:
        super().__init__(
            Code.CONTROLLER_BUSY,
            f"another slurm_nodes run holds {path} since more than {timeout:g} s: {holder}.",
            "Wait for it and run again; the lock is released when its process ends.",
        )


@contextlib.contextmanager
def lock(path: str, purpose: str, timeout: float = LOCK_TIMEOUT) -> Iterator[bool]:
    """Hold a lock that only one run may have.

    The file stays: removing it would let two runs lock two files of the same name.

    Args:
        path: The file.
        purpose: What it is held for, told to who waits.
        timeout: Seconds for which another run is waited for.

    Yields:
        Whether it is held; False where the file system has no locks.

    Raises:
        BusyError: Another process kept it longer than `timeout` seconds; the message names it.
        OSError: The lock file can't be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        held = _acquire(handle, path, timeout)
        if held:
            started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            holder = f"process {os.getpid()}, host {socket.gethostname()}, started {started}, {purpose}\n"
            # The lock holds without this note, for which a full disk may have no room.
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
                os.pwrite(handle, holder.encode(), 0)
        yield held
    finally:
        os.close(handle)


def read_lock_note(path: str) -> str:
    """Return the note of the run that held a lock last; empty when there was none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(500).strip()
    except FileNotFoundError:
        return ""


def _acquire(handle: int, path: str, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(handle, 500, 0).decode("utf-8", "replace").strip() or "an unknown process"
                raise BusyError(path, timeout, holder) from None
            time.sleep(0.2)
        except OSError as problem:
            if problem.errno in _NO_LOCKS:
                return False
            raise
        else:
            return True
