# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Judges what a node's state asks for: nothing, patience, a drain, a resume, or a person. Pure functions."""

from __future__ import annotations

import enum
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

#: How every reason begins that this tool gives. Only such drains are ever lifted.
PREFIX = "slurmscale"
#: Stands for the node's name in a verdict's message.
NAME = "%n"
# What slurmctld itself notes when slurmd was away. A node that comes from the configuration as DOWN has no reason.
# "Node unexpectedly rebooted" is among them because a machine that is made a node (again) has often just booted, and
# nothing is lost: Slurm ended the node's jobs when it noticed. ReturnToService=2 does the same for all nodes.
_AWAY_REASONS = frozenset(("", "not responding", "node unexpectedly rebooted"))
_DRAIN = frozenset(("DRAIN", "DRAINING", "DRAINED"))
_INVALID = frozenset(("INVAL", "INVALID_REG"))

#: States in which a node takes or runs jobs.
AVAILABLE_STATES = frozenset(("IDLE", "MIXED", "ALLOCATED"))
_BROKEN = frozenset(("DOWN", "FAIL", "FAILING", "INVAL", "INVALID_REG", "NOT_RESPONDING", "ERROR"))
_DRAINED = frozenset(("DRAIN", "DRAINING", "DRAINED"))
_UNKNOWN = frozenset(("UNKNOWN", "FUTURE"))
_AWAY = frozenset(("POWERED_DOWN", "POWERING_DOWN", "MAINT", "REBOOT_ISSUED", "REBOOT_REQUESTED", "BLOCKED"))
#: States and flags which keep a node from taking new jobs.
BLOCKING_STATES = _BROKEN | _DRAINED | _UNKNOWN | _AWAY

Node = Dict[str, Any]


class Action(enum.Enum):
    """What to do about a node."""

    DONE = "it is as wanted"
    WAIT = "it may become so by itself"
    DRAIN = "drain it"
    RESUME = "resume it"
    DOWN = "set it down, at which Slurm ends or requeues its jobs"
    UNLIKELY = "it can't become so, unless what is seen is about to be outdated"
    REFUSE = "it can't become so without a person"


class Decision(NamedTuple):
    """An action with its explanation and, for a drain, the reason to give."""

    action: Action
    message: str
    reason: str = ""


def is_available(states: Iterable[str]) -> bool:
    """Say whether a node with these states takes or runs jobs."""
    states = set(states)
    return bool(states & AVAILABLE_STATES) and not states & BLOCKING_STATES


def severity(states: Iterable[str]) -> int:
    """Rank states to compare a node before and after: 0 works, 1 drained, 2 not known yet, 3 broken."""
    states = set(states)
    if states & _BROKEN:
        return 3
    if states & _UNKNOWN:
        return 2
    return 1 if states & _DRAINED else 0


def prefixed_reason(text: str) -> str:
    """Make a reason that is recognised as ours.

    Args:
        text: What the user wants to tell.

    Returns:
        One line that begins with our prefix.
    """
    line = " ".join(text.split())
    return line if is_ours(line) else "{0}: {1}".format(PREFIX, line)


def is_ours(reason: str) -> bool:
    """Say whether this tool gave the reason.

    Args:
        reason: As Slurm shows it, without user and time.
    """
    return reason.lower().startswith(PREFIX)


def is_away(reason: str) -> bool:
    """Say whether a node is DOWN only because its slurmd was away.

    Args:
        reason: As Slurm shows it. From 24.11 Slurm appends its own to what is left of an earlier drain:
            `slurmscale: upgrade : Not responding`. What is left of anybody else's is taken seriously.
    """
    last = reason.rpartition(" : ")[2] if is_ours(reason) else reason
    return last.strip().lower() in _AWAY_REASONS


def state_text(node: Optional[Node]) -> Optional[str]:
    """Write a node's states as Slurm does.

    Args:
        node: As parsers.parse_nodes() makes it.

    Returns:
        Such as IDLE+DRAIN, or None for a node that is not known.
    """
    return "+".join(node["state"]) if node else None


def held_reason(node: Node) -> str:
    """Return the reason why a node is held back.

    Args:
        node: As parsers.parse_nodes() makes it.

    Returns:
        The reason, or nothing for a node in service, where Slurm may still show the reason of an earlier drain.
    """
    held = _DRAIN | _INVALID | {"DOWN", "FAIL", "FAILING", "ERROR"}
    return str(node["reason"]) if set(node["state"]) & held else ""


def _held_by(node: Node) -> str:
    return "{0} by {1} with reason '{2}'".format(
        state_text(node), node["reason_user"] or "somebody", node["reason"] or "none"
    )


def decide_drained(node: Optional[Node], jobs: List[str], reason: str, *, dead: bool = False) -> Decision:
    """Judge a node that must be drained and free of jobs.

    Args:
        node: The node, or None when the controller does not know it.
        jobs: Jobs that are on it.
        reason: The reason for a drain, with our prefix.
        dead: The user says that nothing runs there any more. Slurm has to miss it, too.
    """
    if node is None:
        return Decision(Action.REFUSE, "the controller does not know this node")
    states = set(node["state"])
    if not states & _DRAIN:
        foreign = "DOWN" in states and not is_ours(node["reason"]) and not is_away(node["reason"])
        # An administrator's reason must outlive our drain, or a later resume would take the node for ours.
        return Decision(Action.DRAIN, "to be drained", str(node["reason"]) if foreign else reason)
    missed = dead and bool(states & {"NOT_RESPONDING", "UNKNOWN", "DOWN"})
    if missed and "DOWN" not in states and (jobs or "COMPLETING" in states):
        return Decision(Action.DOWN, "is dead with jobs on it", str(node["reason"]) or reason)
    busy = _busy(node, jobs, missed=missed)
    if busy:
        return Decision(Action.WAIT, busy)
    return Decision(Action.DONE, "drained" if is_ours(node["reason"]) else "was " + _held_by(node))


def _busy(node: Node, jobs: List[str], *, missed: bool) -> str:
    if jobs:
        return "still runs jobs {0}".format(",".join(jobs))
    if "COMPLETING" in node["state"]:
        return "is still cleaning up after a job"
    if node["state"][0] not in ("IDLE", "DOWN") and not missed:
        return "is {0}, which counts as busy".format(state_text(node))
    return ""


def decide_resumed(node: Optional[Node], *, resume_down: bool) -> Decision:
    """Judge a node that must be neither drained nor down.

    Args:
        node: The node, or None when the controller does not know it.
        resume_down: Also resume what is DOWN because its slurmd was away.
    """
    if node is None:
        return Decision(Action.REFUSE, "the controller does not know this node")
    held = _decide_held(node, resume_down=resume_down)
    return held or Decision(Action.DONE, "in service")


def decide_available(node: Optional[Node], *, resume_down: bool) -> Decision:
    """Judge a node that must take jobs or run some.

    Args:
        node: The node, or None when the controller does not know it (yet: a dynamic node makes itself known).
        resume_down: Also resume what is DOWN because its slurmd was away.
    """
    if node is None:
        return Decision(Action.WAIT, "is not known to the controller")
    states = set(node["state"])
    if {"DOWN", "NOT_RESPONDING"} <= states and not states & _DRAIN and is_away(node["reason"]):
        return Decision(Action.WAIT, "is {0}: its slurmd has not registered".format(state_text(node)))
    held = _decide_held(node, resume_down=resume_down)
    if held:
        return held
    if is_available(states):
        return Decision(Action.DONE, "available")
    missing = "its slurmd has not registered" if states & {"UNKNOWN", "NOT_RESPONDING"} else "it takes no jobs now"
    return Decision(Action.WAIT, "is {0}: {1}".format(state_text(node), missing))


def _decide_held(node: Node, *, resume_down: bool) -> Optional[Decision]:
    states, reason = set(node["state"]), node["reason"]
    if states & _INVALID:
        return Decision(
            Action.UNLIKELY,
            "is {0} with reason '{1}': it has less than is configured for it. Correct its line in the configuration, "
            "then restart its slurmd".format(state_text(node), reason),
        )
    if states & _DRAIN:
        if is_ours(reason):
            return Decision(Action.RESUME, "to be resumed")
        return Decision(
            Action.REFUSE,
            "is {0}, which this tool never lifts. When its cause is gone: scontrol update NodeName={1} "
            "State=RESUME".format(_held_by(node), NAME),
        )
    if "DOWN" not in states:
        return None
    if resume_down if is_away(reason) else is_ours(reason):
        return Decision(Action.RESUME, "to be resumed")
    hint = " (resume_down would resume it)" if is_away(reason) else ""
    return Decision(Action.UNLIKELY, "is {0}{1}".format(_held_by(node), hint))
