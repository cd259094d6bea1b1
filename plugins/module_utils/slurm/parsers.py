# Apache License 2.0 (see LICENSE)
"""Reads what Slurm's commands print. Pure functions."""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional

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


class Reservation(NamedTuple):
    """A reservation; `nodes` is a host list as Slurm writes it."""

    nodes: str
    state: str
    start: str
    end: str


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


def parse_nodes(text: str) -> Dict[str, Dict[str, Any]]:
    """Read `scontrol --oneliner show node` into {name: description}; empty when Slurm knows no node."""
    return {record["NodeName"]: _node(record) for record in parse_records(text) if "NodeName" in record}


def _node(record: Dict[str, str]) -> Dict[str, Any]:
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


def parse_reservations(text: str) -> Dict[str, Reservation]:
    """Read `scontrol --oneliner show reservation`; reservations of no nodes, such as of licenses, are left out."""
    found = {}
    for record in parse_records(text):
        nodes = record.get("Nodes", "(null)")
        if "ReservationName" in record and nodes != "(null)":
            times = (record.get("StartTime", ""), record.get("EndTime", ""))
            found[record["ReservationName"]] = Reservation(nodes, record.get("State", ""), *times)
    return found


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
