"""Decides how a node ended.

ansible-playbook's return code is one number for all hosts, and its statistics call a host that was silently stopped
`ok`; so neither alone is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurmscale.models import TaskChange
from slurmscale.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmscale.progress.task_plan import Plan, Play

FINAL_PLAY = "Settle"
"""The playbooks' last play: a result in it proves that a node came to the end, also where no plan is to be had."""

_INSIDE = 0.95
"""How far the clock alone may move a node within one task."""

STOPPED = "stopped before it was finished because other nodes failed"
_NOT_REACHED = "no play ran on this node: is it in the inventory, in the groups that the playbook asks for?"
_UNCONFIRMED = "its end was not seen: other nodes failed and there is no plan to tell whether this one was finished"


@dataclass(slots=True)
class Node:
    """What the tracker knows of one node."""

    name: str
    status: TaskStatus = TaskStatus.PENDING
    progress: int = 0
    step: str = ""
    error: str | None = None
    position: int = -1
    """Where the node is, or what it waits for."""
    since: float = 0.0
    done: float = 0.0
    """Weight of what lies behind it."""
    passed: bool = False
    """The node has its result at this position."""
    skipped: bool = False
    """The node had nothing to do at this position and waits for nobody there."""
    reach: int = -1
    """The furthest position with a result of its own."""
    extra: int = 0
    """Results of tasks that no plan holds, since the last position."""
    floor: int = 0
    pending: str | None = None
    """A failure that a rescue may still undo."""
    uncertain: bool = False
    """Something ran after the failure that may have been a rescue or an `always`."""
    last_failure: str | None = None
    refused: str | None = None
    """Why the playbook's own report says no to the node."""
    last_play: str = ""
    seen: bool = False
    updated_at: float = 0.0
    started_at: float | None = None
    completed_at: float | None = None

    @property
    def going(self) -> bool:
        """Whether the run still works on this node."""
        return self.pending is None and self.status in (TaskStatus.PENDING, TaskStatus.RUNNING)

    def percent(self, plan: Plan, now: float) -> int:
        """Return the progress that the node's position stands for."""
        if self.position < 0:
            return 0
        inner = 0.0
        if self.passed:
            inner = 1.0
        elif plan.learned:
            weight = plan.weights[self.position]
            inner = min(_INSIDE, (now - self.since) / weight) if weight > 0 else 0.0
        elif self.extra:
            inner = self.extra / (self.extra + 8)
        skipped = self.skipped and bool(plan.learned)
        return plan.percent(self.done, self.position, max(0.0, inner), skipped=skipped)

    def left(self, plan: Plan, now: float) -> float:
        """Return the seconds that the node is expected to need, where times are known."""
        if self.position < 0:
            return plan.ahead[0]
        weight = plan.weights[self.position]
        inside = weight if self.passed else min(weight, max(0.0, now - self.since))
        return plan.ahead[self.position + 1] + weight - inside

    def change(self) -> TaskChange:
        """Return the state that is recorded."""
        return TaskChange(
            self.name,
            self.status,
            self.progress,
            self.step,
            self.error or self.pending,
            self.updated_at,
            self.started_at,
            self.completed_at,
        )


class Milestones:
    """Progress by role, where there is no plan: each role begins at a fixed percentage."""

    _STARTS = (
        ("preflight", 5),
        ("apphub-client", 15),
        ("munge", 30),
        ("slurmd", 45),
        ("slurmctld-reconfigure", 75),
        ("verify", 85),
    )

    def percent(self, node: Node, role: str) -> int:
        """Return where a node is that was last seen in a role; other tasks move it on in ever smaller steps."""
        starts = [start for _, start in self._STARTS]
        base = next((start for name, start in self._STARTS if role == name), None)
        if base is None and role.startswith("slurmd-"):
            base = dict(self._STARTS)["slurmd"]
        if base is None and not node.floor >= starts[0]:
            # a playbook of other roles
            return int(60 * node.extra / (node.extra + 20))
        if base is None:
            base = max((start for start in [0, *starts] if start <= node.floor), default=0)
        following = min((start for start in [*starts, 99] if start > base), default=99)
        return min(99, base + int((following - base) * node.extra / (node.extra + 8)))


def verdict(node: Node, stats: Mapping[str, Any], plan: Plan, passed_ends: set[int]) -> tuple[TaskStatus, str | None]:
    """Say how a node ended.

    Args:
        node: The node.
        stats: Data of `playbook_on_stats`.
        plan: The plan, as far as there was one.
        passed_ends: Positions of `meta: end_host` and the like that were reached.

    Returns:
        The final status, and the reason when it is failed.
    """
    dark, failures = stats.get("dark") or {}, stats.get("failures") or {}
    if node.name in dark or node.name in failures:
        return TaskStatus.FAILED, node.last_failure or ("unreachable" if node.name in dark else "failed")
    if node.refused or not node.seen:
        return TaskStatus.FAILED, node.refused or (STOPPED if dark or failures else _NOT_REACHED)
    # only the failure of another host stops one that is well
    if not dark and not failures:
        return TaskStatus.COMPLETED, None
    if not plan.known:
        settled = node.last_play == FINAL_PLAY
        return (TaskStatus.COMPLETED, None) if settled else (TaskStatus.FAILED, _UNCONFIRMED)
    last_play = next((play for play in reversed(plan.plays.values()) if node.name in play.hosts), None)
    if last_play is None or _went_through(node, last_play, passed_ends):
        return TaskStatus.COMPLETED, None
    return TaskStatus.FAILED, f"{STOPPED}; last step: {node.step}"


def _went_through(node: Node, play: Play, passed_ends: set[int]) -> bool:
    if play.last is None or node.reach >= play.last:
        return True
    for entry in play.entries:
        if entry.index > node.reach:
            if entry.ends_host and entry.index in passed_ends:
                return True
            if entry.counts:
                return False
    return True
