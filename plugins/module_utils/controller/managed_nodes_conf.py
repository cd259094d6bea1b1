# Apache License 2.0 (see LICENSE)
"""The files that slurm_nodes writes: slurmscale-nodes.conf, and its block in gres.conf. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable, Dict, Iterable, List, Optional, Set, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.parsers import split_list

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import SlurmConfig

#: Stands beside slurm.conf and is included from it without a path, so that configless passes it on.
NODE_FILE = "slurmscale-nodes.conf"
#: Holds all nodes of the file: partitions that name it take new nodes without another edit.
NODE_SET = "slurmscale"
#: Before 23.11 slurmctld needs a node line to start; one in state FUTURE is no node to anybody else.
PLACEHOLDER = "slurmscale-placeholder"
#: Stands in a slurm.conf that setup_controller wrote.
MANAGED_CONF = "# Written by slurmscale for a managed cluster."
GRES_FILE = "gres.conf"

HEADER = (
    "# Compute nodes that slurmscale manages. The parameters of nodes may be edited here, when no slurmscale run is\n"
    "# going on; every other change is lost with the next one.\n"
)
GRES_BEGIN = "# BEGIN slurmscale: Gres of the nodes that it manages"
GRES_END = "# END slurmscale"
# The kinds that were appended to the administrator's GresTypes, for when the nodes are gone.
_APPENDED_TYPES = "# Appended to GresTypes: "
_SYNONYMS = {"feature": "features", "procs": "cpus"}
_GRES_NODE = re.compile(r"\bNodeName\s*=\s*(\S+)", re.IGNORECASE)
_AUTODETECT = re.compile(r"\bAutoDetect\s*=\s*(\w+)", re.IGNORECASE)
_GRES_NAME = re.compile(r"(?:^|\s)Name\s*=\s*(\S+)", re.IGNORECASE)

Nodes = Dict[str, Dict[str, str]]


def canonical(key: str) -> str:
    """Return one lower-case spelling of a parameter, for comparisons."""
    return _SYNONYMS.get(key.lower(), key.lower())


def natural(name: str) -> List[Tuple[int, str]]:
    """Sort key which puts n2 before n10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def read_nodes(config: SlurmConfig, path: str, expand: Callable[[str], List[str]]) -> Nodes:
    """Return the managed nodes of an included slurmscale-nodes.conf with their parameters."""
    found: Nodes = {}
    for statement in config.of_kind("NodeName"):
        if statement.path == path and statement.name.upper() != "DEFAULT":
            for name in expand(statement.name):
                if name != PLACEHOLDER:
                    found.setdefault(name, statement.params)
    return found


def merge_params(old: Dict[str, str], new: Dict[str, str]) -> Dict[str, str]:
    """Return old parameters with new ones over them, in the old order; an empty new value removes one."""
    wanted = {canonical(key): (key, value) for key, value in new.items()}
    merged: Dict[str, str] = {}
    for key, value in old.items():
        spelling, latest = wanted.pop(canonical(key), (key, value))
        if latest != "":
            # An equal value keeps its spelling, so that Feature= against Features= is no change.
            merged[key if latest == value else spelling] = latest
    merged.update({key: value for key, value in wanted.values() if value != ""})
    return merged


def differing_params(have: Dict[str, str], want: Dict[str, str]) -> List[str]:
    """Return `Key=found (wanted other)` for each wanted parameter that a line states otherwise or not at all."""
    found = {canonical(key): value for key, value in have.items()}
    return [
        f"{key}={found.get(canonical(key), '')} (wanted {value})"
        for key, value in want.items()
        if found.get(canonical(key), "").lower() != value.lower()
    ]


def shared_machine(nodes: Nodes, fresh: Iterable[str]) -> str:
    """Say which fresh node would be the same machine as another one; empty when none would.

    slurmctld takes such a configuration and then talks to one machine as two. Several slurmds on one machine are
    told apart by Port; lists of addresses are left to Slurm.
    """
    for key, index in (("NodeHostname", 0), ("NodeAddr", 1)):
        taken: Dict[str, str] = {}
        for name in [*sorted(set(nodes) - set(fresh), key=natural), *sorted(fresh, key=natural)]:
            params = {canonical(one): value for one, value in nodes[name].items()}
            host = params.get("nodehostname", name)
            place = (host, params.get("nodeaddr", host))[index]
            other = taken.setdefault(place, name)
            if other != name and name in fresh and "port" not in params and "[" not in place:
                return f"nodes {name} and {other} have the same {key}, {place}"
    return ""


def node_line(name: str, params: Dict[str, str]) -> str:
    """Return the NodeName line; nodes start in state UNKNOWN until their slurmd registers."""
    if not any(key.lower() == "state" for key in params):
        params = dict(params, State="UNKNOWN")
    pairs = (f"{key}={_quoted(value)}" for key, value in params.items())
    return f"NodeName={name} {' '.join(pairs)}"


def appended_types(text: str) -> str:
    """Return what was appended to the administrator's GresTypes, as a text of slurmscale-nodes.conf tells it."""
    found = re.search(f"(?m)^{_APPENDED_TYPES}(.*)$", text)
    return found.group(1) if found else ""


def render(nodes: Nodes, gres_types: Iterable[str], fold: Callable[[List[str]], str], appended: str = "") -> str:
    """Return the text of slurmscale-nodes.conf."""
    names = sorted(nodes, key=natural)
    lines = [_APPENDED_TYPES + appended] if appended else []
    lines += ["GresTypes=" + ",".join(sorted(gres_types))] if gres_types else []
    lines += [node_line(name, nodes[name]) for name in names]
    if not names:
        lines.append(f"NodeName={PLACEHOLDER} State=FUTURE")
    lines.append(f"NodeSet={NODE_SET} Nodes={fold(names) if names else PLACEHOLDER}")
    return HEADER + "\n".join(lines) + "\n"


def gres_types_of(params: Dict[str, str], gres_lines: Iterable[str]) -> Set[str]:
    """Return the kinds of Gres that a node needs in GresTypes."""
    gres = next((value for key, value in params.items() if key.lower() == "gres"), "")
    types = {item.partition(":")[0] for item in split_list(gres)}
    named = (_GRES_NAME.search(line) for line in gres_lines)
    return {kind for kind in types | {found.group(1) for found in named if found} if kind}


def read_gres(text: str) -> Dict[str, List[str]]:
    """Return the lines of our block of gres.conf by node."""
    found: Dict[str, List[str]] = {}
    for line in _split_block(text)[1]:
        node = _GRES_NODE.search(line)
        if node:
            found.setdefault(node.group(1), []).append(line)
    return found


def read_autodetect(text: str) -> List[Tuple[str, str]]:
    """Return how slurmd is to find GPUs by the lines of gres.conf outside of our block.

    Returns:
        For each such line the nodes as it names them, empty when it holds for all, and the way in lower case.
    """
    before, _ours, after = _split_block(text)
    found = []
    for line in (before + after).splitlines():
        statement = line.partition("#")[0]
        way, node = _AUTODETECT.search(statement), _GRES_NODE.search(statement)
        if way:
            found.append((node.group(1) if node else "", way.group(1).lower()))
    return found


def bind_gres(name: str, lines: Iterable[str]) -> List[str]:
    """Return gres.conf lines of one node, each naming the node as all share one file."""
    return [
        line.strip() if _GRES_NODE.search(line) else f"NodeName={name} {line.strip()}" for line in lines if line.strip()
    ]


def render_gres(text: str, lines: Dict[str, List[str]]) -> Optional[str]:
    """Return gres.conf with our block holding these lines; None when nothing at all would be left in it."""
    before, _old, after = _split_block(text)
    if text.endswith(GRES_END):
        before = before[: -len("\n")]
    block = [line for name in sorted(lines, key=natural) for line in lines[name]]
    if block:
        # A text that had no end gets none, so that it is as before when the block has gone.
        first, last = ("\n", "") if before and not before.endswith("\n") else ("", "\n")
        before += first + "\n".join([GRES_BEGIN, *block, GRES_END]) + last
    whole = before + after
    return whole if whole.strip() else None


def _split_block(text: str) -> Tuple[str, List[str], str]:
    lines = text.splitlines(keepends=True)
    bare = [line.strip() for line in lines]
    if GRES_BEGIN not in bare:
        return text, [], ""
    first = bare.index(GRES_BEGIN)
    last = bare.index(GRES_END, first) if GRES_END in bare[first:] else first
    inside = [line for line in bare[first + 1 : last] if line]
    return "".join(lines[:first]), inside, "".join(lines[last + 1 :])


def _quoted(value: str) -> str:
    return f'"{value}"' if re.search(r"\s", value) else value
