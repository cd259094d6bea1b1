"""Who holds the locks of apt and dpkg, and for how long that is waited for."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import apt_locks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakes.machine import Machine

HOLD = (
    "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(); time.sleep(60)"
)


@pytest.fixture
def locked(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """Another process holds the lock of the lists, as apt-daily does."""
    path = machine.write("var/lib/apt/lists/lock")
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_who_holds_a_lock_is_told(machine: Machine, locked: subprocess.Popen[bytes]) -> None:
    held = apt_locks.holder(machine.root)
    assert held is not None
    name, lock = held
    assert (name.rpartition(" ")[2], lock) == (f"({locked.pid})", "/var/lib/apt/lists/lock")


def test_waiting_has_an_end_and_says_for_whom(machine: Machine, locked: subprocess.Popen[bytes]) -> None:
    with pytest.raises(FailureError) as refused:
        apt_locks.wait_until_free(0.2, machine.root, interval=0.05)
    failure = refused.value.failure
    assert failure.code is Code.PACKAGE_MANAGER_BUSY
    assert f"({locked.pid}) has held /var/lib/apt/lists/lock for more than 0.2 s" in failure.reason


def test_waiting_ends_with_the_other_installation(machine: Machine, locked: subprocess.Popen[bytes]) -> None:
    locked.kill()
    locked.wait()
    begun = time.monotonic()
    apt_locks.wait_until_free(30, machine.root, interval=0.05)
    assert time.monotonic() - begun < 5


def test_locks_that_are_free_or_not_there_and_our_own_are_not_waited_for(machine: Machine) -> None:
    path = machine.write("var/lib/dpkg/lock")
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        apt_locks.wait_until_free(0, machine.root)
