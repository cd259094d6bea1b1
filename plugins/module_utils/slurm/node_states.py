# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Decides what to do about a node's state: nothing, wait, drain, resume, or leave it to a person. Pure functions."""

from __future__ import annotations

import enum
import re
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code

#: How every reason begins that this tool gives. Only such drains are ever lifted.
PREFIX = "slurmscale"
#: Stands for the node's name in a remedy.
NAME = "%n"
# What slurmctld itself notes when slurmd was away. A node that comes from the configuration as DOWN has no reason.
# "Node unexpectedly rebooted" is among them because a machine that is made a node (again) has often just booted, and
# nothing is lost: Slurm ended the node's jobs when it noticed. ReturnToService=2 does the same for all nodes.
_AWAY_REASONS = frozenset(("", "not responding", "node unexpectedly rebooted"))
_FEWER_GRES = re.compile(r"gres/\S+ count reported lower")
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
    """An action with its explanation.

    Attributes:
        action: What to do.
        message: What was found, to be read behind the node's name.
        reason: The reason to give Slurm for a drain.
        code: Why the node is not as wanted.
        remedy: What a person can do; NAME stands for the node's name.
    """

    action: Action
    message: str
    reason: str = ""
    code: Code = Code.NODE_NOT_AVAILABLE
    remedy: str = ""


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
        text: The reason that the user states.

    Returns:
        One line that begins with our prefix.
    """
    line = " ".join(text.split())
    return line if is_ours(line) else f"{PREFIX}: {line}"


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


def lacked_gres(reason: str) -> bool:
    """Say whether Slurm itself drained a node, and called it invalid, as its slurmd had fewer Gres than its line.

    Args:
        reason: As Slurm shows it: `gres/gpu count reported lower than configured (0 < 2)`.
    """
    return bool(_FEWER_GRES.match(reason))


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
    return f"{state_text(node)} by {node['reason_user'] or 'somebody'} with reason '{node['reason'] or 'none'}'"


_UNKNOWN_NODE = Decision(
    Action.REFUSE, "is not known to the controller", code=Code.NODE_NOT_REGISTERED, remedy="sinfo -N shows what is."
)


def decide_drained(node: Optional[Node], jobs: List[str], reason: str, *, dead: bool = False) -> Decision:
    """Decide about a node that must be drained and free of jobs.

    Args:
        node: The node, or None when the controller does not know it.
        jobs: Jobs that are on it.
        reason: The reason for a drain, with our prefix.
        dead: The user says that nothing runs there any more. Slurm has to miss it, too.
    """
    if node is None:
        return _UNKNOWN_NODE
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
        remedy = "Wait longer, or state what happens to its jobs: squeue --nodelist " + NAME
        return Decision(Action.WAIT, busy, code=Code.NODE_RUNS_JOBS, remedy=remedy)
    return Decision(Action.DONE, "drained" if is_ours(node["reason"]) else f"was {_held_by(node)}")


def _busy(node: Node, jobs: List[str], *, missed: bool) -> str:
    if jobs:
        return f"still runs jobs {','.join(jobs)}"
    if "COMPLETING" in node["state"]:
        return "is still cleaning up after a job"
    # Slurm starts nothing on a node that registered with less than is configured, whatever else its state is.
    idle = {"IDLE", "DOWN"} | (_INVALID | {"UNKNOWN"} if _INVALID & set(node["state"]) else set())
    if node["state"][0] not in idle and not missed:
        return f"is {state_text(node)}, which counts as busy"
    return ""


def decide_resumed(node: Optional[Node], *, resume_down: bool) -> Decision:
    """Decide about a node that must be neither drained nor down.

    Args:
        node: The node, or None when the controller does not know it.
        resume_down: Also resume what is DOWN because its slurmd was away, or drained as it lacked Gres that it has now.
    """
    if node is None:
        return _UNKNOWN_NODE
    held = _decide_held(node, resume_down=resume_down)
    return held or Decision(Action.DONE, "in service")


def decide_available(node: Optional[Node], *, resume_down: bool) -> Decision:
    """Decide about a node that must take jobs or run some.

    Args:
        node: The node, or None when the controller does not know it (yet: a dynamic node makes itself known).
        resume_down: Also resume what is DOWN because its slurmd was away, or drained as it lacked Gres that it has now.
    """
    if node is None:
        return _UNKNOWN_NODE._replace(action=Action.WAIT)
    states = set(node["state"])
    if {"DOWN", "NOT_RESPONDING"} <= states and not states & _DRAIN and is_away(node["reason"]):
        return _not_registered(node)
    held = _decide_held(node, resume_down=resume_down)
    if held:
        return held
    if is_available(states):
        return Decision(Action.DONE, "available")
    if states & {"UNKNOWN", "NOT_RESPONDING"}:
        return _not_registered(node)
    return Decision(Action.WAIT, f"is {state_text(node)}: it takes no jobs now", remedy=f"scontrol show node {NAME}")


def _not_registered(node: Node) -> Decision:
    message = f"is {state_text(node)}: its slurmd has not registered"
    remedy = f"See why on {NAME}: journalctl -u slurmd"
    return Decision(Action.WAIT, message, code=Code.NODE_NOT_RESPONDING, remedy=remedy)


def _decide_held(node: Node, *, resume_down: bool) -> Optional[Decision]:
    states, reason = set(node["state"]), node["reason"]
    if states & _INVALID:
        return Decision(
            Action.UNLIKELY,
            f"is {state_text(node)} with reason '{reason}': it has less than is configured for it",
            code=Code.NODE_INVALID,
            # slurmd -C knows nothing of Gres, of which gres.conf and device files decide.
            remedy=f"See what slurmd -G finds on {NAME}, and its gres.conf and device files; then restart its slurmd."
            if lacked_gres(str(reason))
            else f"Compare slurmd -C on {NAME} with scontrol show node {NAME}: correct its line, or find what the"
            " machine has lost; then restart its slurmd.",
        )
    if states & _DRAIN:
        if is_ours(reason) or (resume_down and lacked_gres(reason)):
            return Decision(Action.RESUME, "to be resumed")
        return Decision(
            Action.REFUSE,
            f"is {_held_by(node)}, which this tool never resumes",
            code=Code.NODE_HELD_BY_OTHERS,
            remedy=f"When its cause is gone: scontrol update NodeName={NAME} State=RESUME",
        )
    if "DOWN" not in states:
        return None
    if resume_down if is_away(reason) else is_ours(reason):
        return Decision(Action.RESUME, "to be resumed")
    message, code = f"is {_held_by(node)}", Code.NODE_HELD_BY_OTHERS
    if is_away(reason):
        message, code = f"{message} (resume_down would resume it)", Code.NODE_NOT_RESPONDING
    remedy = f"When its cause is gone: scontrol update NodeName={NAME} State=RESUME"
    return Decision(Action.UNLIKELY, message, code=code, remedy=remedy)
