"""Decides how a node ended.

ansible-playbook's return code is one number for all hosts, and its statistics call a host that was silently stopped
`ok`; so neither alone is believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurmscale.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmscale.progress.node_progress import NodeProgress
    from slurmscale.progress.task_plan import PlannedPlay, TaskPlan

FINAL_PLAY = "Settle"
"""The playbooks' last play: a result in it proves that a node came to the end, also where no plan is to be had."""

STOPPED = "stopped before it was finished because other nodes failed"
_NOT_REACHED = "no play ran on this node: is it in the inventory, in the groups that the playbook asks for?"
_UNCONFIRMED = "its end was not seen: other nodes failed and there is no plan to tell whether this one was finished"


def final_state(
    node: NodeProgress, stats: Mapping[str, Any], plan: TaskPlan, passed_ends: set[int]
) -> tuple[TaskStatus, str | None]:
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
    if node.refusal or not node.seen:
        return TaskStatus.FAILED, node.refusal or (STOPPED if dark or failures else _NOT_REACHED)
    # only the failure of another host stops one that is well
    if not dark and not failures:
        return TaskStatus.COMPLETED, None
    if not plan.known:
        confirmed = node.last_play == FINAL_PLAY
        return (TaskStatus.COMPLETED, None) if confirmed else (TaskStatus.FAILED, _UNCONFIRMED)
    last_play = next((play for play in reversed(plan.plays.values()) if node.name in play.hosts), None)
    if last_play is None or _went_through(node, last_play, passed_ends):
        return TaskStatus.COMPLETED, None
    return TaskStatus.FAILED, f"{STOPPED}; last step: {node.step}"


def _went_through(node: NodeProgress, play: PlannedPlay, passed_ends: set[int]) -> bool:
    if play.last is None or node.last_result >= play.last:
        return True
    for task in play.tasks:
        if task.index > node.last_result:
            if task.ends_host and task.index in passed_ends:
                return True
            if task.expects_result:
                return False
    return True
