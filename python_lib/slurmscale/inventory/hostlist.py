"""Lists of nodes in Slurm's syntax: `node[07-12],login1`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ClusterShell.NodeSet import NodeSet, NodeSetException  # type: ignore[import-untyped] # the package has no types

from slurmscale.errors import NodesError

if TYPE_CHECKING:
    from collections.abc import Iterable


def expand(text: str) -> tuple[str, ...]:
    """Turn a hostlist into names.

    Args:
        text: A hostlist, e.g. `rocky[1-2],ubuntu1`.

    Returns:
        The names, each once, in order.

    Raises:
        NodesError: The list is empty or malformed.
    """
    try:
        names = tuple(NodeSet(text, resolver=None))
    except NodeSetException as exc:
        raise NodesError(f"{text!r} is not a list of nodes: {exc}. Write it as Slurm does: node[07-12],login1") from exc
    if not names:
        raise NodesError("The list of nodes is empty. Name the nodes to work on, e.g. node[07-12].")
    return names


def fold(names: Iterable[str]) -> str:
    """Turn names into a hostlist; only the last number is folded, as Slurm wants it."""
    folded = NodeSet(resolver=None)
    folded.fold_axis = [-1]
    for name in names:
        folded.update(NodeSet(name, resolver=None))
    return str(folded)
