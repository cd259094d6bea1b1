"""The webhooks, and the messages that are to be sent to them."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from slurmscale.store.tables import is_silent_since, runs, tasks, webhook_deliveries, webhooks
from slurmscale.store.webhook_messages import WebhookEvent, tell, tell_of_stalled_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurmscale.store.engine import Database

KEPT = 100
"""Deliveries of a webhook that are kept."""
_CLAIM_SECONDS = 120.0
"""How long one process has a delivery for itself."""


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
            found = connection.execute(silent).mappings().all()
        if not found:
            return
        with self._database.explained("write"), self._database.begin() as connection:
            for task in found:
                tell_of_stalled_task(connection, task)

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
