"""Decides how a node ended.

ansible-playbook's return code is one number for all hosts, and its statistics call a host that was silently stopped
`ok`; so neither alone is believed. The playbooks end with the action `node_result`, which says it for each node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurmscale.errors import Code
from slurmscale.models import Failure
from slurmscale.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmscale.progress.node_progress import NodeProgress
    from slurmscale.progress.task_plan import PlannedPlay, TaskPlan

NODE_RESULT = "ai_infra.slurm.node_result"
"""The action that ends every playbook: its result is that of the node."""

_STOPPED = Failure(
    Code.RUN_STOPPED,
    "The run stopped before this node was finished, because other nodes failed.",
    "Run it again for this node.",
)
_NOT_IN_PLAYBOOK = Failure(
    Code.NODE_NOT_IN_PLAYBOOK,
    "No play ran on this node.",
    "Check that it is in the inventory, in the groups that the playbook asks for.",
)
_UNKNOWN = Failure(Code.TASK_FAILED, "Ansible counts the node as failed and gave no reason.", "See the node's log.")


def final_state(
    node: NodeProgress,
    stats: Mapping[str, Any],
    plan: TaskPlan,
    passed_ends: set[int],
    run_failure: Failure | None = None,
) -> tuple[TaskStatus, Failure | None]:
    """Say how a node ended.

    Args:
        node: The node.
        stats: Data of `playbook_on_stats`.
        plan: The plan, as far as there was one.
        passed_ends: Positions of `meta: end_host` and the like that were reached.
        run_failure: Why the run as a whole stopped, when a host failed that is no node of the run.

    Returns:
        The final status, and why it is failed. `node.stopped` tells that the node itself did nothing wrong.
    """
    dark, failures = stats.get("dark") or {}, stats.get("failures") or {}
    if node.confirmed:
        return TaskStatus.COMPLETED, None
    if node.refusal:
        return TaskStatus.FAILED, node.refusal
    if node.failure_recorded or node.name in dark or node.name in failures:
        return TaskStatus.FAILED, node.last_failure or _UNKNOWN
    # only the failure of another host stops a node that has not failed
    others_failed = bool(dark or failures)
    if node.seen and (not others_failed or _finished_last_play(node, plan, passed_ends)):
        return TaskStatus.COMPLETED, None
    if not others_failed:
        return TaskStatus.FAILED, _NOT_IN_PLAYBOOK
    node.stopped = True
    return TaskStatus.FAILED, run_failure or _STOPPED


def _finished_last_play(node: NodeProgress, plan: TaskPlan, passed_ends: set[int]) -> bool:
    last_play = next((play for play in reversed(plan.plays.values()) if node.name in play.hosts), None)
    return plan.known and (last_play is None or _completed_play(node, last_play, passed_ends))


def _completed_play(node: NodeProgress, play: PlannedPlay, passed_ends: set[int]) -> bool:
    if play.last is None or node.last_result >= play.last:
        return True
    for task in play.tasks:
        if task.index > node.last_result:
            if task.ends_host and task.index in passed_ends:
                return True
            if task.expects_result:
                return False
    return True
