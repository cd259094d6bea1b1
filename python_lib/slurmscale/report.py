"""The scaling status: where are we? A dataclass, JSON and text."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select, text

from slurmscale.models import Counts, Run, when
from slurmscale.states import RUN_ACTIVE
from slurmscale.store.tables import ACTIVE_SQL, COUNTS, runs, tasks

if TYPE_CHECKING:
    from slurmscale.store.repository import Store

DAY = 24 * 3600.0
_MOST_STALLED = 100


def overall_progress(successes: int, active_progress: int, total: int) -> int:
    """Return the progress of many tasks in whole percent; failures count 0.

    Args:
        successes: Tasks that are done.
        active_progress: Sum of the progress of the tasks that are not.
        total: All tasks.
    """
    return (100 * successes + active_progress) // total if total else 0


@dataclass(frozen=True, slots=True)
class OperationView:
    """A run as the status shows it."""

    id: str
    type: str
    status: str
    cluster: str
    nodes: list[str]
    progress: int
    started_at: datetime | None
    completed_at: datetime | None
    error: dict[str, str] | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class StalledTask:
    """A task without a sign of life."""

    task_id: str
    operation_id: str
    node: str
    progress: int
    step: str
    updated_at: datetime | None
    silent_seconds: int


@dataclass(frozen=True, slots=True)
class ScalingStatus:
    """The scaling status over a window of time."""

    active: bool
    active_tasks: int
    success_nodes: int
    failed_nodes: int
    progress: int
    active_operations: list[OperationView]
    recent_operations: list[OperationView]
    stalled_tasks: list[StalledTask]

    def as_json(self) -> dict[str, Any]:
        """Return plain data for JSON, times in ISO 8601 with zone."""
        return _plain(asdict(self))  # type: ignore[no-any-return]

    def as_text(self) -> str:
        """Return what a person reads."""
        state = "scaling" if self.active else "idle"
        head = f"{state}: {self.progress} %, {self.active_tasks} active, {self.success_nodes} succeeded"
        lines = [f"{head}, {self.failed_nodes} failed"]
        for title, operations in (("active", self.active_operations), ("recent", self.recent_operations)):
            lines += [f"{title}:"] if operations else []
            for view in operations:
                error = f"  {view.error_message.splitlines()[0]}" if view.error_message else ""
                lines.append(
                    f"  {view.id}  {view.type:<10}  {view.status:<11}  {len(view.nodes):>5} nodes"
                    f"  {view.progress:>3} %{error}"
                )
        if self.stalled_tasks:
            lines.append("stalled:")
        lines += [
            f"  {task.node}  silent for {task.silent_seconds // 60} min at {task.progress} %: {task.step}"
            for task in self.stalled_tasks
        ]
        return "\n".join(lines)


def scaling_status(
    store: Store,
    *,
    window: float = DAY,
    recent: int = 5,
    stalled_after: float = 600.0,
    now: float | None = None,
) -> ScalingStatus:
    """Read the scaling status.

    Every run keeps the counts of its tasks, so this reads the runs of the window and never the tasks, except for the
    stalled ones, which an index on active tasks finds.

    Args:
        store: The records.
        window: Seconds to look back; runs that are still active always count.
        recent: Number of recent operations.
        stalled_after: Seconds without a sign of life after which a task counts as stalled.
        now: Seconds since the epoch; the clock when None.
    """
    now = time.time() if now is None else now
    in_window = (runs.c.created_at >= now - window) | runs.c.status.in_(RUN_ACTIVE)
    sums = select(*(func.coalesce(func.sum(runs.c[name]), 0) for name in COUNTS)).where(in_window)
    with store.explained("read"), store.engine.connect() as connection:
        counts = Counts(*map(int, connection.execute(sums).one()))
        stalled = _stalled(connection, now, stalled_after)
    return ScalingStatus(
        active=counts.active > 0,
        active_tasks=counts.active,
        success_nodes=counts.success,
        failed_nodes=counts.failed,
        progress=overall_progress(counts.success, counts.active_progress, counts.total),
        active_operations=[_view(run) for run in store.runs(active=True)],
        recent_operations=[_view(run) for run in store.runs(limit=recent)],
        stalled_tasks=stalled,
    )


def _stalled(connection: Connection, now: float, after: float) -> list[StalledTask]:
    silent = (
        select(tasks)
        .where(text(ACTIVE_SQL), tasks.c.status != "pending", tasks.c.updated_at < now - after)
        .order_by(tasks.c.updated_at)
        .limit(_MOST_STALLED)
    )
    return [
        StalledTask(
            row.task_id,
            row.run_id,
            row.node,
            row.progress,
            row.step,
            when(row.updated_at),
            int(now - row.updated_at),
        )
        for row in connection.execute(silent)
    ]


def _view(run: Run) -> OperationView:
    counts = run.counts
    return OperationView(
        id=run.id,
        type=run.operation.value,
        status=run.status.value,
        cluster=run.cluster,
        nodes=list(run.nodes),
        progress=overall_progress(counts.success, counts.active_progress, counts.total),
        started_at=when(run.started_at),
        completed_at=when(run.completed_at),
        error=run.error.as_dict() if run.error else None,
        error_message=run.error_message,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
