"""Ends a run's Ansible when the process that carries the run is not heard of in time.

A process that is stopped (SIGSTOP, a debugger) can end nothing, while its ansible-playbook, a process of its own, works
on. Once the lease is over another machine goes on with the run, and two of them would work on one node. So a small
process beside it is told until when the lease holds, and ends what is at work by then. It belongs to no terminal and no
process group that is stopped, and outlives whoever started it until that moment, or until somebody has cleaned up.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slurmscale.runner import processes

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOK_SECONDS = 1.0
_MOST_READ = 4096
"""Bytes; of lines, which arrive whole, only the last one counts."""
# The package itself is left out: to import all that it imports would take a second of CPU for each run.
_PROGRAM = (
    "import sys, types; package = sys.modules['slurmscale'] = types.ModuleType('slurmscale');"
    " package.__path__ = [sys.argv[1]]; from slurmscale.runner import watchdog; watchdog.main()"
)


class Watchdog:
    """The process beside a run.

    Args:
        run_dir: The run's private directory.
        until: When Ansible must have ended unless this is put off, in seconds since the boot.
        environment: Its whole environment, which every process of the same user can read.
    """

    def __init__(self, run_dir: Path, until: float, environment: Mapping[str, str]) -> None:
        self._run_dir = run_dir
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[1])], cwd="/", start_new_session=True,
            env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip
        if self._process.stdin:
            # nothing waits for it, whatever becomes of it
            os.set_blocking(self._process.stdin.fileno(), False)
        self.put_off(until)

    def put_off(self, until: float) -> None:
        """Say that Ansible may go on until another moment."""
        # As an argument or in the environment the directory would make it a process of the run, to be ended with it.
        line = f"{until!r} {self._run_dir}\n".encode()
        # when nobody reads any more, it has done its work
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin:
                self._process.stdin.write(line)

    def close(self) -> None:
        """End it; Ansible has ended."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Be that process."""
    heard = os.read(0, _MOST_READ)
    connected = bool(heard)
    while heard:
        last = heard.rpartition(b"\n")[0].rpartition(b"\n")[2].decode()
        until, _, run_dir = last.partition(" ")
        left = float(until) - processes.seconds_since_boot()
        if left <= 0:
            processes.stop_processes(None, Path(run_dir))
            processes.stop_on_nodes(Path(run_dir) / "cp")
            return
        if not Path(run_dir).exists():
            # others have ended what was left of the run
            return
        # in short steps, which go on when the machine wakes from a sleep
        ready, _, _ = select.select([0] if connected else [], [], [], min(left, _LOOK_SECONDS))
        if ready:
            new = os.read(0, _MOST_READ)
            connected = bool(new)
            heard = new or heard
