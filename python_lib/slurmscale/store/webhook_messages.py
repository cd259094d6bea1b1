"""What webhooks are told: written in the transaction of what it tells of, so that none is lost."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from slurmscale.states import RunStatus
from slurmscale.store.tables import webhook_deliveries, webhooks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, RowMapping

    from slurmscale.models import Run


class WebhookEvent(StrEnum):
    """What a webhook may be told of."""

    RUN_COMPLETED = "run.completed"
    RUN_FAILED = "run.failed"
    RUN_INTERRUPTED = "run.interrupted"
    TASK_STALLED = "task.stalled"
    CLUSTER_UNHEALTHY = "cluster.unhealthy"
    TEST = "test"


_OF_RUNS = {
    RunStatus.COMPLETED: WebhookEvent.RUN_COMPLETED,
    RunStatus.FAILED: WebhookEvent.RUN_FAILED,
    RunStatus.INTERRUPTED: WebhookEvent.RUN_INTERRUPTED,
}


def tell_of_run(connection: Connection, run: Run, status: RunStatus) -> None:
    """Tell webhooks that a run ends."""
    event = _OF_RUNS.get(status)
    if event is not None:
        data = {
            "run": run.id, "operation": run.operation.value, "cluster": run.cluster, "status": status.value,
            "nodes": list(run.nodes), "dry_run": run.check, "requested_by": run.requested_by,
        }  # fmt: skip
        tell(connection, event, run.id, data)


def tell_of_cluster(connection: Connection, cluster: str) -> None:
    """Tell webhooks that a cluster is not healthy any more."""
    now = time.time()
    tell(connection, WebhookEvent.CLUSTER_UNHEALTHY, f"{cluster}@{now:.3f}", {"cluster": cluster})


def tell_of_stalled_task(connection: Connection, task: RowMapping) -> None:
    """Tell webhooks of a node in progress without recent activity: its run, cluster, node, step and last activity."""
    data = {"run": task["run_id"], "cluster": task["cluster"], "node": task["node"], "step": task["step"]}
    subject = f"{task['run_id']}:{task['node']}@{task['updated_at']:.3f}"
    tell(connection, WebhookEvent.TASK_STALLED, subject, data)


def tell(
    connection: Connection, event: WebhookEvent, subject: str, data: Mapping[str, Any], only: str | None = None
) -> None:
    """Tell all webhooks of an event, or `only` one; what they were told of a subject before is not told again."""
    known = connection.execute(select(webhooks.c.id, webhooks.c.events)).all()
    wanted = [row.id for row in known if row.id == only or (only is None and event in row.events)]
    if not wanted:
        return
    told = select(webhook_deliveries.c.webhook_id).where(
        webhook_deliveries.c.event == event, webhook_deliveries.c.subject == subject
    )
    before = set(connection.scalars(told))
    now = time.time()
    body = {"type": event.value, "timestamp": datetime.fromtimestamp(now, UTC).isoformat(), "data": data}
    row = {
        "event": event.value, "subject": subject, "body": json.dumps(body), "status": "waiting", "attempts": 0,
        "created_at": now, "next_at": now,
    }  # fmt: skip
    for webhook_id in wanted:
        if webhook_id not in before:
            connection.execute(webhook_deliveries.insert().values(webhook_id=webhook_id, **row))
