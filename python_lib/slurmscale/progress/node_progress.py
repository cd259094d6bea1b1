"""How far one node is: where it stands in the plan, and the percentage that this position means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurmscale.models import Failure, TaskChange
from slurmscale.states import TaskStatus

if TYPE_CHECKING:
    from slurmscale.progress.task_plan import TaskPlan

_RECORDED = [name for name in TaskChange.__dataclass_fields__ if name not in {"node", "error"}]
_MOST_BY_CLOCK = 0.95
"""How far the clock alone may move a node within one task."""


@dataclass(slots=True)
class NodeProgress:
    """What the tracker knows of one node."""

    name: str
    status: TaskStatus = TaskStatus.PENDING
    progress: int = 0
    phase: str = ""
    step: str = ""
    error: Failure | None = None
    position: int = -1
    """Where the node is, or what it waits for."""
    entered_at: float = 0.0
    weight_done: float = 0.0
    """Weight of what lies behind it."""
    has_result: bool = False
    """The node has its result at this position."""
    skipped: bool = False
    """The node had nothing to do at this position and waits for nobody there."""
    last_result: int = -1
    """The furthest position with a result of its own."""
    unplanned_results: int = 0
    """Results of tasks that no plan holds, since the last position."""
    milestone: int = 0
    pending_failure: Failure | None = None
    """A failure that a rescue may still undo; until then the node stays where it failed."""
    maybe_rescued: bool = False
    """Something ran after the failure that may have been a rescue or an `always`."""
    failure_recorded: bool = False
    """The playbook recorded the failure and goes on with the node only to report it at the end."""
    last_failure: Failure | None = None
    refusal: Failure | None = None
    """Why the playbook's report refuses the node."""
    came_back: bool = False
    """The node was given up and came back; whether for good, only its end shows."""
    confirmed: bool = False
    """The playbook reported that the node came to the end."""
    stopped: bool = False
    """The node failed only because the run as a whole was stopped."""
    seen: bool = False
    updated_at: float = 0.0
    started_at: float | None = None
    completed_at: float | None = None

    @property
    def in_progress(self) -> bool:
        """Whether the run still works on this node."""
        return self.pending_failure is None and self.status in (TaskStatus.PENDING, TaskStatus.RUNNING)

    def percent(self, plan: TaskPlan, now: float) -> int:
        """Return the progress that the node's position stands for."""
        if self.position < 0:
            return 0
        inner = 0.0
        if self.has_result:
            inner = 1.0
        elif plan.timed:
            weight = plan.weights[self.position]
            inner = min(_MOST_BY_CLOCK, (now - self.entered_at) / weight) if weight > 0 else 0.0
        elif self.unplanned_results:
            inner = self.unplanned_results / (self.unplanned_results + 8)
        skipped = self.skipped and plan.timed
        return plan.percent(self.weight_done, self.position, max(0.0, inner), skipped=skipped)

    def remaining_seconds(self, plan: TaskPlan, now: float) -> float:
        """Return the seconds that the node is expected to need, where times are known."""
        if self.position < 0:
            return plan.remaining_weights[0]
        weight = plan.weights[self.position]
        inside = weight if self.has_result else min(weight, max(0.0, now - self.entered_at))
        return plan.remaining_weights[self.position + 1] + weight - inside

    def as_change(self) -> TaskChange:
        """Return the state that is recorded."""
        recorded = {name: getattr(self, name) for name in _RECORDED}
        return TaskChange(node=self.name, error=self.error or self.pending_failure, **recorded)


class RoleMilestones:
    """Progress by role, where there is no plan: each role begins at a fixed percentage."""

    _STARTS = (
        ("preflight", 5),
        ("apphub-client", 15),
        ("munge", 30),
        ("slurmd", 45),
        ("slurmctld-reconfigure", 75),
    )

    def percent(self, node: NodeProgress, role: str) -> int:
        """Return where a node is that was last seen in a role; other tasks move it on in ever smaller steps."""
        starts = [start for _, start in self._STARTS]
        base = next((start for name, start in self._STARTS if role == name), None)
        if base is None and role.startswith("slurmd-"):
            base = dict(self._STARTS)["slurmd"]
        if base is None and not node.milestone >= starts[0]:
            # a playbook of other roles
            return int(60 * node.unplanned_results / (node.unplanned_results + 20))
        if base is None:
            base = max((start for start in [0, *starts] if start <= node.milestone), default=0)
        following = min((start for start in [*starts, 99] if start > base), default=99)
        return min(99, base + int((following - base) * node.unplanned_results / (node.unplanned_results + 8)))
