"""Webhooks, and what is to be sent to them: written in the transaction of what it tells of, so that none is lost."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from slurmscale.states import RunStatus
from slurmscale.store.tables import is_silent_since, runs, tasks, webhook_deliveries, webhooks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from slurmscale.models import Run
    from slurmscale.store.engine import Database

KEPT = 100
"""Deliveries of a webhook that are kept."""
_CLAIM_SECONDS = 120.0
"""How long one process has a delivery for itself."""


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


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told of events.

    Attributes:
        secret: What its messages are signed with, sealed.
    """

    id: str
    url: str
    events: tuple[str, ...]
    secret: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to a webhook.

    Attributes:
        subject: What it tells of: of one thing, a webhook is told of an event once.
        status: waiting, delivered or failed.
        next_at: When it is tried next.
        answer: Status of HTTP of the last answer.
        error: Why the last try failed.
    """

    id: int
    webhook_id: str
    event: str
    subject: str
    body: str
    status: str
    attempts: int
    created_at: float
    next_at: float
    answered_at: float | None
    answer: int | None
    error: str | None


# -- what happens, inside its transaction


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


# -- webhooks and their messages


class Webhooks:
    """The webhooks of a service.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, url: str, events: Iterable[str], secret: str, webhook_id: str) -> Webhook:
        """Add one; its secret is sealed."""
        made = Webhook(webhook_id, url, tuple(events), secret, time.time())
        with self._database.explained("write"), self._database.begin() as connection:
            values = {"id": made.id, "url": url, "events": list(made.events), "secret": secret}
            connection.execute(webhooks.insert().values(**values, created_at=made.created_at))
        return made

    def replace_secret(self, known: Webhook, secret: str) -> bool:
        """Replace the sealed secret of one; returns whether it was still the known one."""
        own = (webhooks.c.id == known.id) & (webhooks.c.secret == known.secret)
        with self._database.explained("write"), self._database.begin() as connection:
            return bool(connection.execute(webhooks.update().where(own).values(secret=secret)).rowcount)

    def all(self) -> list[Webhook]:
        """Return all, oldest first."""
        with self._database.explained("read"), self._database.engine.connect() as connection:
            rows = connection.execute(select(webhooks).order_by(webhooks.c.created_at, webhooks.c.id)).mappings().all()
        return [Webhook(**{**row, "events": tuple(row["events"])}) for row in rows]

    def remove(self, webhook_id: str) -> bool:
        """Remove one with its messages; returns whether there was one."""
        own = webhook_deliveries.c.webhook_id == webhook_id
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(delete(webhook_deliveries).where(own))
            return bool(connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id)).rowcount)

    def test(self, webhook_id: str) -> None:
        """Send a message that tells of nothing."""
        with self._database.explained("write"), self._database.begin() as connection:
            tell(connection, WebhookEvent.TEST, secrets.token_hex(8), {}, only=webhook_id)

    def deliveries(self, webhook_id: str) -> list[Delivery]:
        """Return the messages to a webhook that are kept, newest first."""
        table = webhook_deliveries
        query = select(table).where(table.c.webhook_id == webhook_id).order_by(table.c.id.desc()).limit(KEPT)
        with self._database.explained("read"), self._database.engine.connect() as connection:
            return [Delivery(**row) for row in connection.execute(query).mappings()]

    def find_stalled(self, silent_seconds: float) -> None:
        """Tell of nodes in progress without recent activity."""
        silent = (
            select(tasks.c.run_id, tasks.c.node, tasks.c.step, tasks.c.updated_at, runs.c.cluster)
            .select_from(tasks.join(runs, tasks.c.run_id == runs.c.id))
            .where(is_silent_since(time.time() - silent_seconds))
        )
        with self._database.explained("read"), self._database.engine.connect() as connection:
            found = connection.execute(silent).all()
        if not found:
            return
        with self._database.explained("write"), self._database.begin() as connection:
            for row in found:
                data = {"run": row.run_id, "cluster": row.cluster, "node": row.node, "step": row.step}
                subject = f"{row.run_id}:{row.node}@{row.updated_at:.3f}"
                tell(connection, WebhookEvent.TASK_STALLED, subject, data)

    def take_due(self) -> list[Delivery]:
        """Return the messages that are to be sent now; for a while no other process gets them."""
        table, now = webhook_deliveries, time.time()
        due = (table.c.status == "waiting") & (table.c.next_at <= now)
        with self._database.explained("read"), self._database.engine.connect() as connection:
            if connection.execute(select(table.c.id).where(due).limit(1)).first() is None:
                return []
        mine = update(table).where(due).values(next_at=now + _CLAIM_SECONDS, attempts=table.c.attempts + 1)
        with self._database.explained("write"), self._database.begin() as connection:
            taken = [Delivery(**row) for row in connection.execute(mine.returning(*table.c)).mappings()]
        return sorted(taken, key=lambda one: one.id)

    def answered(self, delivery: Delivery, answer: int | None, error: str | None, pauses: Sequence[float]) -> None:
        """Record what became of a message; one that failed is sent again after a pause, as long as there are any."""
        now = time.time()
        values: dict[str, Any] = {"answered_at": now, "answer": answer, "error": error}
        if error is None:
            values["status"] = "delivered"
        elif delivery.attempts > len(pauses):
            values["status"] = "failed"
        else:
            values["next_at"] = now + pauses[delivery.attempts - 1]
        table = webhook_deliveries
        old = select(table.c.id).where(table.c.webhook_id == delivery.webhook_id, table.c.status != "waiting")
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(update(table).where(table.c.id == delivery.id).values(**values))
            kept = old.order_by(table.c.id.desc()).limit(1).offset(KEPT)
            last = connection.execute(kept).scalar()
            if last is not None:
                ended = (table.c.webhook_id == delivery.webhook_id) & (table.c.status != "waiting")
                connection.execute(delete(table).where(ended, table.c.id <= last))
