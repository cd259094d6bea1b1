# Apache License 2.0 (see LICENSE)
"""Describes slurmctld as a service: its unit, its process and its journal."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands

_PROPERTIES = "LoadState,ActiveState,SubState,UnitFileState,FragmentPath,MainPID,Result,NRestarts,InvocationID"
# Options of slurmctld that are followed by a value.
_VALUED = "fLn"


def describe_daemon(service: str) -> Dict[str, Any]:
    """Describe the daemon: what systemd says of the unit and how its main process was started."""
    unit = unit_properties(service)
    pid = int(unit.get("MainPID") or 0) or find_process("slurmctld")
    argv = process_args(pid)
    foreground, by_systemd = start_mode(argv)
    return {
        "unit": service,
        "load": unit.get("LoadState", ""),
        "active": unit.get("ActiveState", ""),
        "sub": unit.get("SubState", ""),
        "enabled": unit.get("UnitFileState", ""),
        "fragment": unit.get("FragmentPath", ""),
        "result": unit.get("Result", ""),
        "restarts": int(unit.get("NRestarts") or 0),
        "invocation": unit.get("InvocationID", ""),
        "main_pid": pid,
        "args": argv,
        "foreground": foreground,
        "systemd": by_systemd,
        "started": process_start(pid),
    }


def unit_properties(service: str) -> Dict[str, str]:
    """Return properties of a unit; empty where systemd isn't running."""
    result = commands.run(["systemctl", "show", "--property=" + _PROPERTIES, service + ".service"], timeout=15)
    pairs = (line.partition("=") for line in result.stdout.splitlines())
    return {key: value for key, separator, value in pairs if separator} if result.rc == 0 else {}


def find_process(name: str) -> int:
    """Return the pid of the oldest process of this name on this host, 0 when there is none."""
    pids = [int(entry) for entry in (os.listdir("/proc") if os.path.isdir("/proc") else []) if entry.isdigit()]
    found = [
        (process_start(pid) or 0, pid)
        for pid in pids
        if read_text(f"/proc/{pid}/comm").strip() == name and _namespace(pid) == _namespace("self")
    ]
    return min(found)[1] if found else 0


def _namespace(pid: Any) -> str:
    """Name the process's container, so that a host of containers isn't taken for what runs in them."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def unit_of(pid: int) -> str:
    """Name the unit whose main process this is, without `.service`; empty when there is none."""
    found = re.findall(r"([^/\s]+)\.service(?=/|\s|$)", read_text(f"/proc/{pid}/cgroup"))
    name = found[-1] if found else ""
    # A process that was started by hand in a container may stand below a unit of its host.
    return name if name and unit_properties(name).get("MainPID") == str(pid) else ""


def process_variable(pid: int, name: str) -> str:
    """Return a variable of the environment in which a process was started; empty when it has none."""
    variables = (one.partition("=") for one in read_text(f"/proc/{pid}/environ").split("\0"))
    return next((value for key, _separator, value in variables if key == name), "")


def process_program(pid: int) -> str:
    """Return the path of the program of a process; empty when it is not known."""
    try:
        # An upgrade has replaced it.
        return re.sub(r" \(deleted\)$", "", os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return ""


def process_args(pid: int) -> List[str]:
    """Return the command line of a process; empty when there is none."""
    text = read_text(f"/proc/{pid}/cmdline") if pid else ""
    return text.rstrip("\0").split("\0") if text else []


def start_mode(argv: Sequence[str]) -> Tuple[bool, bool]:
    """Tell (-D given, --systemd given) from a command line of slurmctld."""
    return any(letter == "D" for letter, _value in _options(argv)), "--systemd" in argv


def option_value(argv: Sequence[str], wanted: str) -> str:
    """Return the value of an option with one letter in a command line of slurmctld; the last one wins."""
    return ([value for letter, value in _options(argv) if letter == wanted] or [""])[-1]


def _options(argv: Sequence[str]) -> Iterator[Tuple[str, str]]:
    """Yield the options with one letter and their values, also of those that are bundled as in -Dsvv."""
    rest = iter(argv[1:])
    for arg in rest:
        if arg.startswith("--") or not arg.startswith("-"):
            continue
        for index, letter in enumerate(arg[1:], 2):
            if letter in _VALUED:
                yield letter, arg[index:] or next(rest, "")
                break
            yield letter, ""


def process_start(pid: int) -> Optional[float]:
    """Return when a process started, in seconds since the epoch."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            ticks = int(stream.read().rpartition(")")[2].split()[19])
        with open("/proc/stat", encoding="utf-8") as stream:
            boot = next(int(line.split()[1]) for line in stream if line.startswith("btime"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return round(boot + ticks / os.sysconf("SC_CLK_TCK"), 2)


def journal_lines(service: str, lines: int = 12, since: Optional[float] = None) -> str:
    """Return the last lines of the unit's journal, for messages."""
    argv = ["journalctl", "--no-pager", "--quiet", "--output=cat", "--unit=" + service]
    argv.append(f"--lines={lines}")
    if since is not None:
        argv.append(f"--since=@{since:.6f}")
    result = commands.run(argv, timeout=15)
    return result.stdout.strip() if result.rc == 0 else ""


def read_text(path: str) -> str:
    """Return the text of a file; empty when this user can't read it."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
