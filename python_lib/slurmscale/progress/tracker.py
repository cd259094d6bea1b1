"""Turns events into the progress of every node. Pure: no clock, no disk, no database.

The model. All tasks of the playbook form one line of positions (`plan`). A node advances

* by its own events, everywhere;
* by the start of a task in a play that it is not part of (the controller registers the batch: every node that is
  still going waits for exactly that, so its position is there);
* by the start of a task of its own play when the play runs in lockstep (strategy linear), also when the task itself
  runs on one host only.

Where durations are known, a node inside a task is moved on by the clock towards, never beyond, the end of that
task; without them, tasks of dynamic includes, which no plan holds, move it in ever smaller steps. Progress never goes
back and is 100 only when the node has finished. A failure is provisional while a rescue may follow: it is
final when the next play starts without the node, at the latest with the run's statistics.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slurmscale.models import Counts, Failure, TaskChange, Timing, nodes_failed
from slurmscale.operations import Stage
from slurmscale.progress.durations import TaskDurations
from slurmscale.progress.events import (
    Event,
    Kind,
    Outcome,
    failure_as_data,
    failure_of,
    reported_failure,
    shortened,
)
from slurmscale.progress.node_progress import NodeProgress, RoleMilestones
from slurmscale.progress.outcome import NODE_RESULT, final_state
from slurmscale.progress.task_plan import TaskPlan
from slurmscale.progress.task_weights import is_bookkeeping
from slurmscale.states import ACTIVE, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from slurmscale.models import Task

_RECORDED = "scale_failure"
"""The fact in which the playbooks record why a node failed, to report it at the end."""


class Tracker:
    """Follows one run.

    Args:
        nodes: The nodes of the run.
        timings: Timings by task key from earlier runs of the same kind.
        redact: Masks the run's secrets in a reason.
        changes: Whether the run is to change something.
        whole: The operation succeeds on all hosts or on none.
        recorded: How the nodes stood when an earlier attempt at the run ended: what is finished stays, the others go on
            from their progress.
        stage: What is followed is this stage of the operation; None when it is all of it.
        later: Expected seconds of the stages that follow; None when nothing tells.
    """

    def __init__(  # noqa: PLR0913 - what is known before a run, each by its name
        self,
        nodes: Iterable[str],
        timings: Mapping[str, Timing] | None = None,
        redact: Callable[[str], str] = str,
        *,
        changes: bool = True,
        whole: bool = False,
        recorded: Iterable[Task] = (),
        stage: Stage | None = None,
        later: float | None = 0.0,
    ) -> None:
        self._redact = redact
        self._whole = whole
        self._stage = stage or Stage("", "", 0, 100)
        self.plan = TaskPlan(timings, changes=changes)
        self.nodes = {name: NodeProgress(name) for name in nodes}
        self.durations = TaskDurations()
        self.changed_anything = False
        self.finished = False
        self.other_failures: dict[str, Failure] = {}
        """Failures of hosts that are no nodes of the run, such as the controller."""
        self._milestones = RoleMilestones()
        self._dirty: dict[str, NodeProgress] = dict(self.nodes)
        self._remaining: float | None = None
        self._later = later
        self._passed_ends: set[int] = set()
        self._active = len(self.nodes)
        self._active_progress = 0
        self._success = 0
        self._failed = 0
        for task in recorded:
            self._resume_from(task)
        self._handlers = {
            Kind.PLAY_START: self._on_play,
            Kind.TASK_START: self._on_task,
            Kind.HOST_START: self._on_host_start,
            Kind.RESULT: self._on_result,
            Kind.HEARTBEAT: self._on_beat,
            Kind.STATS: self._on_stats,
        }

    def _resume_from(self, task: Task) -> None:
        node = self.nodes[task.node]
        node.progress, node.updated_at, node.started_at = task.progress, task.updated_at, task.started_at
        if task.active:
            self._active_progress += task.progress
            return
        node.status, node.phase, node.step = task.status, task.phase, task.step
        node.error, node.completed_at = task.error, task.completed_at
        self._active -= 1
        self._success += task.succeeded
        self._failed += task.failed
        del self._dirty[task.node]

    # -- what goes in

    def add_plan_line(self, line: Mapping[str, Any]) -> None:
        """Take one line of the plan."""
        self.plan.add(line)

    def handle(self, event: Event) -> None:
        """Take one event, in the order of its counter."""
        handler = self._handlers.get(event.kind)
        if handler is not None and not self.finished:
            handler(event)

    def add_refusals(self, refusals: Mapping[str, Failure]) -> None:
        """Take from the report why nodes are refused; to be called before the statistics come."""
        for name, refusal in refusals.items():
            if name in self.nodes:
                self.nodes[name].refusal = self._redacted(refusal)

    def tick(self, now: float) -> None:
        """Let the clock move nodes within tasks whose duration is known."""
        if not self.plan.timed or self.finished:
            return
        remaining = 0.0
        for node in self.nodes.values():
            if node.in_progress:
                self._refresh(node, now)
                remaining = max(remaining, node.remaining_seconds(self.plan, now))
        if self.plan.known and self.plan.timings:
            self._remaining = remaining

    def abort(self, error: Failure, now: float) -> None:
        """End a run that has no statistics: cancelled, timed out, crashed.

        Args:
            error: Why the nodes failed that were still active.
            now: Seconds since the epoch.
        """
        for node in self.nodes.values():
            if node.status in ACTIVE:
                self._finish(node, TaskStatus.FAILED, node.pending_failure or error, now)
        self.finished = True

    # -- what comes out

    def take_changes(self) -> list[TaskChange]:
        """Return the nodes that changed since the last call."""
        changes = [self._change(node) for node in self._dirty.values()]
        self._dirty.clear()
        return changes

    def _change(self, node: NodeProgress) -> TaskChange:
        change = node.as_change()
        if self._stage.is_last or node.status is not TaskStatus.COMPLETED:
            return change
        # it waits until the others are as far
        return replace(change, status=TaskStatus.PENDING, step="", completed_at=None)

    def counts(self) -> Counts:
        """Say how the run's tasks stand."""
        return Counts(len(self.nodes), self._active, self._success, self._failed, self._active_progress)

    @property
    def remaining(self) -> float | None:
        """Estimated seconds to the end of the run at the last tick; None where something of it has no timings."""
        if self.finished or self._remaining is None or self._later is None:
            return None
        return self._remaining + self._later

    def timings(self) -> dict[str, Timing]:
        """Return what this run teaches of its tasks, by task key."""
        return self.durations.timings(self.plan.tasks)

    def error(self) -> Failure | None:
        """Return why the run as a whole ended badly; None when it did not."""
        failed = [node for node in self.nodes.values() if node.error]
        if self.other_failures and (not failed or any(node.stopped for node in failed)):
            return self._run_failure()
        return nodes_failed([node.name for node in failed], len(self.nodes))

    def _run_failure(self) -> Failure | None:
        return next(iter(self.other_failures.values()), None)

    # -- events

    def _on_play(self, event: Event) -> None:
        play = self.plan.play(event.play_uuid)
        for node in self.nodes.values():
            if node.pending_failure is not None and not node.maybe_rescued:
                self._finish(node, TaskStatus.FAILED, node.pending_failure, event.time)
            elif node.in_progress:
                self._mark_started(node, event.time)
                if play is not None and play.tasks:
                    self._move_to(node, play.first, event.time)

    def _on_task(self, event: Event) -> None:
        position = self.plan.positions.get(event.task_uuid)
        if position is None:
            return
        task = self.plan.tasks[position]
        if task.ends_host:
            self._passed_ends.add(position)
        play = self.plan.play(event.play_uuid)
        if play is None or task.rescue:
            return
        batch = self.plan.batches.get(event.play_uuid, play.hosts)
        for node in self.nodes.values():
            if node.in_progress and (node.name not in play.hosts or (play.lockstep and node.name in batch)):
                self._mark_started(node, event.time)
                self._show(node, event)
                self._dirty[node.name] = node
                self._move_to(node, position, event.time)

    def _on_host_start(self, event: Event) -> None:
        node = self._node(event)
        if node is None:
            return
        # the step at which a node failed says more than those of its rescue
        if node.pending_failure is None or (node.maybe_rescued and not node.came_back):
            self._show(node, event)
        self._move_to_event(node, event)

    def _on_result(self, event: Event) -> None:
        self.changed_anything |= event.changed
        node = self._node(event)
        if node is None:
            if event.host and event.outcome in (Outcome.FAILED, Outcome.UNREACHABLE) and not event.ignored:
                self.other_failures.setdefault(event.host, self._other_failure(event))
            return
        position = self.plan.positions.get(event.task_uuid)
        self._record_outcome(node, event, position)
        if position is not None:
            node.last_result = max(node.last_result, position)
            play = self.plan.play(event.play_uuid)
            waits = play is not None and play.lockstep
            node.has_result = not waits
            node.skipped = event.outcome is Outcome.SKIPPED and not waits
        self._move_to_event(node, event)

    def _on_beat(self, event: Event) -> None:
        node = self._node(event)
        if node is not None:
            self._refresh(node, event.time)

    def _on_stats(self, event: Event) -> None:
        self.finished = True
        out = {**(event.data.get("dark") or {}), **(event.data.get("failures") or {})}
        # what a rescue undid is no failure
        self.other_failures = {host: failure for host, failure in self.other_failures.items() if host in out}
        for node in self.nodes.values():
            if node.status not in ACTIVE and not node.seen:
                # an earlier attempt finished it
                continue
            status, error = final_state(node, event.data, self.plan, self._passed_ends, self._run_failure())
            if self._whole and self.other_failures and status is TaskStatus.COMPLETED:
                status, error, node.stopped = TaskStatus.FAILED, self._run_failure(), True
            if node.in_progress and node.position >= 0:
                self.durations.add(node.position, event.time - node.entered_at, node.position, skipped=node.skipped)
            self._finish(node, status, error, event.time)

    # -- nodes

    def _node(self, event: Event) -> NodeProgress | None:
        node = self.nodes.get(event.host) if event.host else None
        if node is not None:
            node.seen = True
            node.updated_at = event.time
            if node.status not in ACTIVE and not node.failure_recorded:
                self._mark_running_again(node)
            self._mark_started(node, event.time)
            self._dirty[node.name] = node
        return node

    def _redacted(self, failure: Failure) -> Failure:
        reason, remedy = (shortened(self._redact(text)) for text in (failure.reason, failure.remedy))
        return Failure(failure.code, reason, remedy)

    def _other_failure(self, event: Event) -> Failure:
        failure = self._redacted(failure_of(event))
        # What the collection says of itself names the host where that matters.
        return failure if failure_as_data(event) else failure._replace(reason=f"{event.host}: {failure.reason}")

    def _record_outcome(self, node: NodeProgress, event: Event, position: int | None) -> None:
        if event.action == NODE_RESULT and event.outcome is Outcome.OK:
            node.confirmed, node.failure_recorded, node.pending_failure = True, False, None
        elif event.outcome in (Outcome.FAILED, Outcome.UNREACHABLE) and not event.ignored:
            if event.action == NODE_RESULT or not node.failure_recorded:
                node.pending_failure = node.last_failure = self._redacted(failure_of(event))
            node.maybe_rescued = False
        elif (facts := event.res.get("ansible_facts")) and _RECORDED in facts:
            self._record_failure(node, reported_failure(facts[_RECORDED]))
        elif node.pending_failure is not None and not (node.failure_recorded or node.came_back):
            node.maybe_rescued = position is None or self.plan.tasks[position].always
            if not node.maybe_rescued:
                node.pending_failure = None

    def _record_failure(self, node: NodeProgress, failure: Failure | None) -> None:
        """Take over what the playbook recorded as the node's failure, or that it took it back."""
        node.failure_recorded = failure is not None
        node.pending_failure = self._redacted(failure) if failure else None
        node.last_failure = node.pending_failure or node.last_failure

    def _show(self, node: NodeProgress, event: Event) -> None:
        """Say what a node does, in the words of its task; what only keeps the books goes unsaid."""
        position = self.plan.positions.get(event.task_uuid)
        if position is None:
            node.step = node.step if is_bookkeeping(event.action) else event.task
        else:
            task = self.plan.tasks[position]
            node.phase, node.step = task.phase, task.step or event.task

    def _move_to_event(self, node: NodeProgress, event: Event) -> None:
        """Put a node where its own event shows it to be."""
        position = self.plan.positions.get(event.task_uuid)
        if position is not None:
            self._move_to(node, position, event.time)
            return
        if event.kind is Kind.RESULT:
            node.unplanned_results += 1
        if not self.plan.known:
            node.milestone = max(node.milestone, self._milestones.percent(node, event.role))
        self._refresh(node, event.time)

    def _move_to(self, node: NodeProgress, position: int, now: float) -> None:
        if position > node.position:
            if node.position >= 0:
                self.durations.add(node.position, now - node.entered_at, position, skipped=node.skipped)
            node.weight_done += self._weight_between(node, position)
            node.position, node.entered_at, node.unplanned_results = position, now, 0
            node.has_result = node.last_result >= position and node.has_result
            node.skipped = node.last_result >= position and node.skipped
            node.updated_at = max(node.updated_at, now)
        self._refresh(node, now)

    def _weight_between(self, node: NodeProgress, position: int) -> float:
        """Return what a node leaves behind by going on to a position; where times are known, skipped work is none."""
        if not self.plan.timed:
            return sum(self.plan.weights[max(0, node.position) : position])
        return 0.0 if node.skipped or node.position < 0 else self.plan.weights[node.position]

    def _refresh(self, node: NodeProgress, now: float) -> None:
        if node.status not in ACTIVE or node.pending_failure is not None:
            return
        within = max(node.milestone, node.percent(self.plan, now))
        begins, ends = self._stage.begins, self._stage.ends
        percent = max(node.progress, begins + within * (ends - begins) // 100)
        if percent > node.progress:
            self._active_progress += percent - node.progress
            node.progress = percent
            self._dirty[node.name] = node

    def _mark_started(self, node: NodeProgress, now: float) -> None:
        if node.status is TaskStatus.PENDING:
            node.status = TaskStatus.RUNNING
            node.started_at, node.updated_at = node.started_at or now, now
            self._dirty[node.name] = node

    def _mark_running_again(self, node: NodeProgress) -> None:
        """A host that was given up came back (meta clear_host_errors, or a rescue that printed nothing)."""
        self._failed -= 1
        self._active += 1
        self._active_progress += node.progress
        # it stays where it failed until the playbook says that it is done
        node.pending_failure, node.maybe_rescued, node.came_back = node.error, True, True
        node.status, node.error, node.completed_at = TaskStatus.RUNNING, None, None

    def _finish(self, node: NodeProgress, status: TaskStatus, error: Failure | None, now: float) -> None:
        if node.status in ACTIVE:
            self._active -= 1
            self._active_progress -= node.progress
        else:
            self._failed -= 1
        if status is TaskStatus.COMPLETED:
            self._success += 1
            node.progress = self._stage.ends
            node.phase, node.step = "", "done"
        else:
            self._failed += 1
        node.status, node.error = status, error
        node.completed_at = node.completed_at or now
        node.updated_at = max(node.updated_at, now)
        self._dirty[node.name] = node
