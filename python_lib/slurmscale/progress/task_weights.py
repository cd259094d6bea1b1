"""How much each task of a run weighs in the progress of a node.

A position weighs the seconds that nodes spent there in earlier runs; at first, those that a task of its phase usually
takes. A position still ahead counts only as much as nodes used to take part in it, one that a node skipped no longer
counts for this node at all. In a playbook without phases that never ran, all positions weigh the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmscale.states import Phase

if TYPE_CHECKING:
    from slurmscale.models import Timing

_SECONDS: dict[str, float] = {
    Phase.PACKAGES: 10.0, Phase.REGISTERING: 3.0, Phase.STARTING: 1.0, Phase.PROVING: 3.0, Phase.DRAINING: 10.0,
    Phase.REMOVING: 2.0, Phase.SWITCHING: 5.0, Phase.PUBLISHING: 5.0,
}  # fmt: skip
"""How long a task that works on a host takes, before runs have shown it; in other phases `_WORK_SECONDS`."""
_WORK_SECONDS = 0.5
_BOOKKEEPING_SECONDS = 0.1
_BOOKKEEPING = frozenset(
    {
        "add_host", "assert", "debug", "fail", "group_by", "include_vars", "meta", "node_result", "require", "set_fact",
        "validate_argument_spec",
    }
)  # fmt: skip
"""Actions that work on no host: they decide, remember or tell."""


def is_bookkeeping(action: str) -> bool:
    """Say whether an action works on no host, so that its name tells nobody what is done."""
    return action.rpartition(".")[2] in _BOOKKEEPING


def weight(action: str, phase: str, known: Timing | None, *, timed: bool) -> float:
    """Return the weight of a task.

    Args:
        action: What it calls.
        phase: The phase of the run that it belongs to.
        known: What earlier runs teach of it.
        timed: Whether weights are seconds, which takes timings or phases; else all tasks weigh the same.
    """
    if known:
        return known.seconds
    if not timed:
        return 1.0
    return _BOOKKEEPING_SECONDS if is_bookkeeping(action) else _SECONDS.get(phase, _WORK_SECONDS)
