# Apache License 2.0 (see LICENSE)
"""Runs Slurm's commands and reads their output.

Everything here is read-only and, apart from `run`, `scontrol` and the functions built on them, pure. Standard
library only: modules that import it run on the controller and on the nodes, with Python 3.8 and later.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

TIMED_OUT = 124
NOT_FOUND = 127

#: States in which a node takes or runs jobs.
AVAILABLE_STATES = frozenset(("IDLE", "MIXED", "ALLOCATED"))
_BROKEN = frozenset(("DOWN", "FAIL", "FAILING", "INVAL", "INVALID_REG", "NOT_RESPONDING", "ERROR"))
_DRAINED = frozenset(("DRAIN", "DRAINING", "DRAINED"))
_UNKNOWN = frozenset(("UNKNOWN", "FUTURE"))
_AWAY = frozenset(("POWERED_DOWN", "POWERING_DOWN", "MAINT", "REBOOT_ISSUED", "REBOOT_REQUESTED", "BLOCKED"))
#: States and flags which keep a node from taking new jobs.
BLOCKING_STATES = _BROKEN | _DRAINED | _UNKNOWN | _AWAY
_MARKS = {
    "*": "NOT_RESPONDING", "~": "POWERED_DOWN", "#": "POWERING_UP", "%": "POWERING_DOWN", "$": "MAINT",
    "@": "REBOOT_REQUESTED", "^": "REBOOT_ISSUED", "!": "POWER_DOWN", "-": "PLANNED", "+": "CLOUD",
}  # fmt: skip
_KEY = re.compile(r"(?:^|\s+)([A-Za-z][\w:/]*)=")
# Free text may itself hold "word=": inside these values only the keys that can follow them are keys.
_FREE_TEXT = {
    "OS": frozenset(("RealMemory",)),
    "Comment": frozenset(("Extra", "InstanceId", "InstanceType", "Reason", "ResvName", "AvailabilityZone")),
    "Extra": frozenset(("InstanceId", "InstanceType", "Reason", "ResvName")),
    "Reason": frozenset(("Comment", "Extra", "InstanceId", "InstanceType", "ResvName")),
}
_REASON = re.compile(r"^(?P<text>.*?)\s*\[(?P<user>[^@\[\]]*)@(?P<time>[^\[\]]*)\]\s*$", re.DOTALL)
_PING = re.compile(r"^Slurmctld\((?P<mode>[^)]*)\) at (?P<host>\S+) is (?P<state>\S+)", re.MULTILINE)


class SlurmCommandError(Exception):
    """A command of Slurm is missing, took too long or returned an error."""


class CommandResult(NamedTuple):
    """What a command did. `rc` is 124 when it took too long and 127 when it isn't installed."""

    argv: Tuple[str, ...]
    rc: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def message(self) -> str:
        """One line for a person: what the command said, or else its return code."""
        said = " ".join((self.stderr.strip() or self.stdout.strip()).split())
        return said or "{0} returned {1} and said nothing".format(self.argv[0], self.rc)


def run(
    argv: Sequence[str],
    timeout: float = 30,
    conf: Optional[str] = None,
    stdin: Optional[str] = None,
) -> CommandResult:
    """Run a command without a shell and never longer than `timeout` seconds.

    Args:
        argv: The program and its arguments.
        timeout: Seconds after which it is killed and rc is 124.
        conf: A slurm.conf for Slurm's commands to use in place of their default.
        stdin: Text for its standard input.
    """
    env = dict(os.environ, LC_ALL="C", SLURM_TIME_FORMAT="standard")
    # Debian's root reaches sbin by default, an ssh session of other systems may not.
    env["PATH"] = env.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin"
    if conf:
        env["SLURM_CONF"] = conf
    begun = time.monotonic()
    source = {"input": stdin.encode()} if stdin is not None else {"stdin": subprocess.DEVNULL}
    try:
        done = subprocess.run(
            list(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, env=env, check=False, **source
        )
        rc, out, err = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        rc, out = TIMED_OUT, late.stdout or b""
        err = (late.stderr or b"") + "\n{0} gave no answer within {1:g} s".format(" ".join(argv), timeout).encode()
    except OSError as problem:
        rc, out, err = NOT_FOUND, b"", "cannot run {0}: {1}".format(argv[0], problem.strerror).encode()
    seconds = time.monotonic() - begun
    return CommandResult(tuple(argv), rc, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), seconds)


def scontrol(args: Sequence[str], timeout: float = 30, conf: Optional[str] = None) -> str:
    """Return what `scontrol ARGS` prints.

    Raises:
        SlurmCommandError: It is missing, took too long or failed; the message holds what Slurm said.
    """
    result = run(["scontrol", *args], timeout=timeout, conf=conf)
    if result.rc == NOT_FOUND:
        raise SlurmCommandError(
            "scontrol is needed, but {0}. Install Slurm's client commands on this host.".format(result.message)
        )
    if result.rc != 0:
        raise SlurmCommandError("scontrol {0}: {1}".format(" ".join(args), result.message))
    return result.stdout


def parse_records(text: str) -> List[Dict[str, str]]:
    """Read `scontrol --oneliner show ...`: one dict per line, every value as text, the first of a key wins."""
    return [record for record in (_parse_record(line) for line in text.splitlines()) if record]


def _parse_record(line: str) -> Dict[str, str]:
    record: Dict[str, str] = {}
    key, start = None, 0
    for found in _KEY.finditer(line):
        follows = _FREE_TEXT.get(key or "")
        if follows is not None and found.group(1) not in follows:
            continue
        if key is not None:
            record.setdefault(key, line[start : found.start()].strip())
        key, start = found.group(1), found.end()
    if key is not None:
        record.setdefault(key, line[start:].strip())
    return record


def parse_config(text: str) -> Dict[str, str]:
    """Read `scontrol show config`: the main section only; "(null)" becomes empty."""
    config: Dict[str, str] = {}
    for line in text.splitlines():
        # What follows are the sections of plugins, whose keys may have the same names.
        if config and line.rstrip().endswith("onfiguration:"):
            break
        key, separator, value = line.partition("=")
        if separator and key.strip():
            config.setdefault(key.strip(), "" if value.strip() == "(null)" else value.strip())
    return config


def parse_ping(text: str) -> List[Dict[str, object]]:
    """Read `scontrol ping`: one {host, mode, up} per controller, the primary first."""
    return [
        {"host": found.group("host"), "mode": found.group("mode"), "up": found.group("state") == "UP"}
        for found in _PING.finditer(text)
    ]


def parse_state(text: str) -> List[str]:
    """Split a state such as `IDLE*+DRAIN` into ["IDLE", "NOT_RESPONDING", "DRAIN"]: base state first."""
    states: List[str] = []
    for word in text.split("+"):
        name = word.rstrip("".join(_MARKS))
        for part in [name.upper()] + [_MARKS[mark] for mark in word[len(name) :]]:
            if part and part not in states:
                states.append(part)
    return states


def is_available(states: Iterable[str]) -> bool:
    """Say whether a node with these states takes or runs jobs."""
    states = set(states)
    return bool(states & AVAILABLE_STATES) and not states & BLOCKING_STATES


def badness(states: Iterable[str]) -> int:
    """Rank states to compare a node before and after: 0 works, 1 drained, 2 not known yet, 3 broken."""
    states = set(states)
    if states & _BROKEN:
        return 3
    if states & _UNKNOWN:
        return 2
    return 1 if states & _DRAINED else 0


def parse_nodes(text: str) -> Dict[str, Dict[str, object]]:
    """Read `scontrol --oneliner show node` into {name: description}; empty when Slurm knows no node."""
    return {record["NodeName"]: _node(record) for record in parse_records(text) if "NodeName" in record}


def _node(record: Dict[str, str]) -> Dict[str, object]:
    states = parse_state(record.get("State", "UNKNOWN"))
    reason = _REASON.match(record.get("Reason", ""))
    return {
        "state": states,
        "reason": reason.group("text") if reason else record.get("Reason", ""),
        "reason_user": reason.group("user") if reason else "",
        "partitions": split_list(record.get("Partitions", "")),
        "cpus": to_int(record.get("CPUTot", "")),
        "cpus_allocated": to_int(record.get("CPUAlloc", "")),
        "real_memory": to_int(record.get("RealMemory", "")),
        "sockets": to_int(record.get("Sockets", "")),
        "cores_per_socket": to_int(record.get("CoresPerSocket", "")),
        "threads_per_core": to_int(record.get("ThreadsPerCore", "")),
        "addr": record.get("NodeAddr", ""),
        "hostname": record.get("NodeHostName", ""),
        "version": record.get("Version", ""),
        "features": split_list(record.get("AvailableFeatures", "")),
        "gres": split_list(record.get("Gres", "")),
        "dynamic": bool({"DYNAMIC_NORM", "DYNAMIC_FUTURE"} & set(states)),
    }


def parse_partitions(text: str) -> Dict[str, Dict[str, object]]:
    """Read `scontrol --oneliner show partition` into {name: {nodes, default, state, total_nodes}}."""
    return {
        record["PartitionName"]: {
            "nodes": "" if record.get("Nodes") == "(null)" else record.get("Nodes", ""),
            "default": record.get("Default") == "YES",
            "state": record.get("State", ""),
            "total_nodes": to_int(record.get("TotalNodes", "")),
        }
        for record in parse_records(text)
        if "PartitionName" in record
    }


def split_list(text: str) -> List[str]:
    """Split a comma-separated value; commas inside brackets or parentheses don't count; "(null)" is empty."""
    if text in ("", "(null)"):
        return []
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        depth += (char in "[(") - (char in "])")
        if char == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def to_int(text: str) -> Optional[int]:
    """Read a whole number, or None when it is none."""
    return int(text) if re.match(r"^\d+$", text or "") else None


def version_tuple(text: str) -> Tuple[int, ...]:
    """Read "slurm 24.11.5" or "24.11.5-4" as (24, 11, 5); empty when no version is in it, so compare after a test."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text or "")
    return tuple(int(part) for part in found.groups() if part is not None) if found else ()


def version_text(version: Tuple[int, ...]) -> str:
    """Write a version as Slurm does, months with two digits: 22.05.8."""
    return "{0}.{1:02d}".format(*version) + "".join(".{0}".format(part) for part in version[2:]) if version else ""


def installed_version(program: str = "scontrol", timeout: float = 15) -> Optional[str]:
    """Return the version that `PROGRAM -V` tells, or None when it isn't installed."""
    result = run([program, "-V"], timeout=timeout)
    return version_text(version_tuple(result.stdout)) or None if result.rc == 0 else None


def ping(timeout: float = 15, conf: Optional[str] = None) -> List[Dict[str, object]]:
    """Ask which controllers answer. Empty when scontrol itself can't even read its configuration."""
    return parse_ping(run(["scontrol", "ping"], timeout=timeout, conf=conf).stdout)


def answers(timeout: float = 15, conf: Optional[str] = None) -> bool:
    """Say whether some slurmctld of this cluster is up."""
    return any(controller["up"] for controller in ping(timeout, conf))


def show_nodes(timeout: float = 30, conf: Optional[str] = None) -> Dict[str, Dict[str, object]]:
    """Return all nodes that the controller knows, also those hidden from ordinary users."""
    return parse_nodes(scontrol(["--all", "--oneliner", "show", "node"], timeout, conf))


def show_partitions(timeout: float = 30, conf: Optional[str] = None) -> Dict[str, Dict[str, object]]:
    """Return all partitions that the controller knows."""
    return parse_partitions(scontrol(["--all", "--oneliner", "show", "partition"], timeout, conf))


def show_config(timeout: float = 30, conf: Optional[str] = None) -> Dict[str, str]:
    """Return the configuration with which the controller runs."""
    return parse_config(scontrol(["show", "config"], timeout, conf))


def expand_hosts(expression: str, conf: Optional[str] = None) -> List[str]:
    """Expand `n[1-3],m` by Slurm's own rules; needs no running controller."""
    if "[" not in expression:
        return split_list(expression)
    return scontrol(["show", "hostnames", expression], conf=conf).split()


def fold_hosts(names: Iterable[str], conf: Optional[str] = None) -> str:
    """Fold names into one host list by Slurm's own rules."""
    names = list(names)
    return scontrol(["show", "hostlistsorted", ",".join(names)], conf=conf).strip() if names else ""
