# Apache License 2.0 (see LICENSE)
"""Reads from /proc which daemons and job steps run on this machine. Reads only."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, NamedTuple, Optional

# Position of a process's start time in /proc/PID/stat, counted behind its name.
_START_FIELD = 19
_STEP = re.compile(r"slurmstepd: \[(\d+)\.([^\]]+)\]")


class Process(NamedTuple):
    """A process, with the directory that describes it."""

    pid: int
    name: str
    argv: List[str]
    directory: str


def read(path: str) -> Optional[bytes]:
    """Return the content of a file, or None when it is missing or can't be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def list_processes(root: str = "/") -> List[Process]:
    """List the processes of this machine, without those of containers on it.

    Args:
        root: Where the file system begins.
    """
    proc = os.path.join(root, "proc")
    own_namespace = _pid_namespace(os.path.join(proc, "self"))
    found = []
    for pid in sorted(int(name) for name in _names(proc) if name.isdigit()):
        directory = os.path.join(proc, str(pid))
        command = (read(os.path.join(directory, "cmdline")) or b"").rstrip(b"\0")
        # A kernel thread has no command line.
        if command and _pid_namespace(directory) in (None, own_namespace):
            name = (read(os.path.join(directory, "comm")) or b"").decode("utf-8", "replace").strip()
            argv = [part.decode("utf-8", "replace") for part in command.split(b"\0")]
            found.append(Process(pid, name, argv, directory))
    return found


def _names(directory: str) -> List[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _pid_namespace(directory: str) -> Optional[str]:
    try:
        return os.readlink(os.path.join(directory, "ns/pid"))
    except OSError:
        return None


def find_slurmd(processes: List[Process], main_pid: Optional[int] = None) -> Optional[Process]:
    """Return the running slurmd.

    Args:
        processes: The processes of the machine.
        main_pid: The process that systemd calls slurmd's; without one, a process of that name counts.
    """
    return next((one for one in processes if one.name == "slurmd" and main_pid in (None, one.pid)), None)


def step_daemons(processes: List[Process]) -> List[Process]:
    """Return the slurmstepd processes of jobs; the one called `infinity` only holds slurmd's cgroup."""
    return [one for one in processes if one.name == "slurmstepd" and "infinity" not in one.argv]


def list_steps(processes: List[Process], root: str = "/") -> List[Dict[str, Any]]:
    """Describe the job steps that run.

    Args:
        processes: The processes of the machine.
        root: Where the file system begins.

    Returns:
        pid, job, step and seconds since the start of each.
    """
    uptime = float((read(os.path.join(root, "proc/uptime")) or b"0").split()[0])
    steps: List[Dict[str, Any]] = []
    for process in step_daemons(processes):
        title = _STEP.match(" ".join(process.argv))
        fields = (read(os.path.join(process.directory, "stat")) or b"").rpartition(b")")[2].split()
        if title and len(fields) > _START_FIELD:
            seconds = int(uptime - int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK"))
            steps.append({"pid": process.pid, "job": title.group(1), "step": title.group(2), "seconds": seconds})
    return steps


def list_jobs(processes: List[Process]) -> List[str]:
    """Return the ids of the jobs of which a step runs, in order."""
    titles = (_STEP.match(" ".join(process.argv)) for process in step_daemons(processes))
    return sorted({title.group(1) for title in titles if title}, key=int)
