"""Lists of nodes in Slurm's syntax: `node[07-12],login1`. Ranges may also stand as in inventories: `node[07:12]`."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING

from ClusterShell.NodeSet import (  # type: ignore[import-untyped] # the package has no types
    RESOLVER_NOGROUP,
    NodeSet,
    NodeSetException,
)

from slurmscale.errors import NodesError
from slurmscale.inventory.names import check_node, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_NODES = 10_000
_LONGEST = 1_000_000
_REMEDY = "Write it as Slurm does: node[07-12],login1"
_RANGE = r"\d{1,9}(?:[-:]\d{1,9})?"
_BRACKETS = re.compile(rf"\[({_RANGE}(?:,{_RANGE})*)\]")
# A name's own characters and brackets: no groups (@), wildcards (*) or operators (! & ^) of ClusterShell.
_ITEM = re.compile(rf"(?:[A-Za-z0-9._-]|{_BRACKETS.pattern})+")
_LIST = re.compile(rf"{_ITEM.pattern}(?:,{_ITEM.pattern})*")


def expand(text: str) -> tuple[str, ...]:
    """Turn a hostlist into names.

    Args:
        text: A hostlist, e.g. `rocky[1-2],ubuntu1` or `rocky[1:2]`; spaces around commas are allowed.

    Returns:
        The names, each once, in order.

    Raises:
        NodesError: The list is empty, malformed or too long, or a name is not allowed.
    """
    compact = re.sub(r" *, *", ",", text.strip(" "))
    if not compact:
        raise NodesError("The list of nodes is empty.", "Name the nodes to work on, e.g. node[07-12].")
    if len(compact) > _LONGEST or not _LIST.fullmatch(compact):
        raise NodesError(f"{shown(text)} is not a list of nodes.", _REMEDY)
    compact = compact.replace(":", "-")
    # counted before it is expanded, which may take minutes and all memory
    count = sum(_count(item.group()) for item in _ITEM.finditer(compact))
    if count > MOST_NODES:
        raise NodesError(f"{shown(text)} names more than {MOST_NODES:,} nodes.", "Work on fewer nodes at a time.")
    try:
        names = tuple(NodeSet(compact, resolver=RESOLVER_NOGROUP))
    except NodeSetException as exc:
        raise NodesError(f"{shown(text)} is not a list of nodes: {exc}.", _REMEDY) from exc
    return tuple(check_node(name) for name in names)


def _count(item: str) -> int:
    return prod(
        sum(_length(*span.split("-")) for span in brackets.group(1).split(",")) for brackets in _BRACKETS.finditer(item)
    )


def _length(first: str, last: str | None = None) -> int:
    return max(0, int(last) - int(first)) + 1 if last else 1


def fold(names: Iterable[str]) -> str:
    """Turn names into a hostlist; only the last number is folded, as Slurm wants it."""
    names = list(names)
    folded = NodeSet(resolver=RESOLVER_NOGROUP)
    folded.fold_axis = [-1]
    try:
        for name in names:
            folded.update(NodeSet(name, resolver=RESOLVER_NOGROUP))
    except NodeSetException:
        # a record of an older version may have a name that is not allowed any more
        return ",".join(names)
    return str(folded)
