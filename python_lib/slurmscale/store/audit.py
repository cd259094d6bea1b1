"""The audit trail: who asked for what, and the result. Rows are only added, and each vouches for all before it."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, delete, func, insert, select, text

from slurmscale.states import RunStatus
from slurmscale.store.tables import audit, run_of_row, runs, tasks, unaudited_ends

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import Connection

    from slurmscale.models import Run
    from slurmscale.store.engine import Database

_LOCK = 7_305_812
_PART = 1000
_NOTE_END = text(
    "INSERT INTO unaudited_ends (run_id) VALUES (:run_id) ON CONFLICT (run_id) DO UPDATE SET run_id = excluded.run_id"
)
"""A run that was called interrupted may get its result while it is audited: who audits it waits, and sees that."""
_LONGEST = {column.name: column.type.length for column in audit.c if isinstance(column.type, String)}


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A row of the audit trail.

    Attributes:
        action: What was asked for, such as scale-up, login or token-create.
        status: success, failed or denied.
        resource: What it was asked of, such as a path of the API.
        source: Address of the caller, or `command`.
        details: More, without secrets.
        timestamp: Seconds since the epoch; set when it is added.
    """

    action: str
    status: str
    resource: str
    source: str
    user_id: str | None = None
    user_name: str | None = None
    token_id: str | None = None
    cluster: str | None = None
    nodes: str | None = None
    run_id: str | None = None
    request_id: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    timestamp: float = 0.0
    id: int = 0


def note_end(connection: Connection, run: Run) -> None:
    """Note that a run ends which a user of the service asked for; a process that has the keys audits it.

    Args:
        connection: The transaction that ends it.
        run: The run.
    """
    if run.requested_by is not None:
        connection.execute(_NOTE_END, {"run_id": run.id})


class AuditTrail:
    """The audit trail.

    Args:
        database: Where it is kept.
        keys: Secret keys that vouch for the rows; the first one is used for new ones.
    """

    def __init__(self, database: Database, keys: tuple[bytes, ...]) -> None:
        self._database = database
        self._keys = keys

    def add(self, entry: AuditEntry) -> None:
        """Append a row."""
        with self._database.explained("write"), self._database.begin() as connection:
            self._append(connection, entry)

    def add_ends(self) -> None:
        """Append how each run ended that a user of the service asked for; of all processes that try, one does."""
        waiting = select(unaudited_ends.c.run_id).join(runs).order_by(runs.c.completed_at, runs.c.id)
        with self._database.explained("read"), self._database.engine.connect() as connection:
            ended = connection.scalars(waiting).all()
        for run_id in ended:
            with self._database.explained("write"), self._database.begin() as connection:
                mine = delete(unaudited_ends).where(unaudited_ends.c.run_id == run_id)
                if connection.execute(mine).rowcount:
                    self._append(connection, _end_of(connection, run_id))

    def _append(self, connection: Connection, entry: AuditEntry) -> None:
        row = {name: getattr(entry, name) for name in AuditEntry.__dataclass_fields__ if name != "id"}
        row |= {name: row[name][:length] for name, length in _LONGEST.items() if row.get(name)}
        row["timestamp"] = time.time()
        if self._database.engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        last = connection.execute(select(audit.c.mac).order_by(audit.c.id.desc()).limit(1)).scalar() or ""
        connection.execute(insert(audit).values(**row, mac=_mac(self._keys[0], last, row)))

    def entries(  # noqa: PLR0913 - filters, each by its name
        self,
        *,
        limit: int,
        before: int | None = None,
        since: float | None = None,
        user: str | None = None,
        action: str | None = None,
        status: str | None = None,
        run_id: str | None = None,
        clusters: Collection[str] | None = None,
        token_id: str | None = None,
    ) -> list[AuditEntry]:
        """Return rows, newest first.

        Args:
            limit: How many at most.
            before: Only rows with smaller ids.
            since: Only rows from this time on.
            user: Only those of a user, by name.
            action: Only those of an action.
            status: Only those with this result.
            run_id: Only those of a run.
            clusters: Only those of these clusters,
            token_id: and those of this token besides.
        """
        equal = {"user_name": user, "action": action, "status": status, "run_id": run_id}
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        query = query.where(*(audit.c[name] == value for name, value in equal.items() if value is not None))
        if before is not None:
            query = query.where(audit.c.id < before)
        if since is not None:
            query = query.where(audit.c.timestamp >= since)
        if clusters is not None:
            query = query.where(audit.c.cluster.in_(list(clusters)) | (audit.c.token_id == token_id))
        with self._database.explained("read"), self._database.engine.connect() as connection:
            return [
                AuditEntry(**{name: value for name, value in row.items() if name != "mac"})
                for row in connection.execute(query).mappings()
            ]

    def failures(self, action: str, source: str, resource: str | None, since: float) -> tuple[int, float]:
        """Count the failures of an action since its last success.

        Args:
            action: The action.
            source: Whose failures.
            resource: Only those at this resource; at all when None.
            since: Seconds since the epoch before which nothing counts.

        Returns:
            How many, and when the last one was.
        """
        own = [audit.c.action == action, audit.c.source == source, audit.c.timestamp >= since]
        if resource is not None:
            own.append(audit.c.resource == resource)
        last_success = select(func.max(audit.c.id)).where(*own, audit.c.status == "success").scalar_subquery()
        query = select(func.count(), func.max(audit.c.timestamp)).where(
            *own, audit.c.status == "failed", audit.c.id > func.coalesce(last_success, 0)
        )
        with self._database.explained("read"), self._database.engine.connect() as connection:
            count, last = connection.execute(query).one()
        return count, last or 0.0

    def broken(self) -> int | None:
        """Return the id of the first row that was changed or whose predecessor is missing; None when there is none."""
        with self._database.explained("read"), self._database.engine.connect() as connection:
            before = ""
            for row in _rows(connection):
                content = {name: value for name, value in row.items() if name not in ("id", "mac")}
                if not any(hmac.compare_digest(row["mac"], _mac(key, before, content)) for key in self._keys):
                    return int(row["id"])
                before = row["mac"]
        return None


def _end_of(connection: Connection, run_id: str) -> AuditEntry:
    """Return the row that tells how a run ended, with the result of each node."""
    run = run_of_row(connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one())
    columns = (tasks.c.node, tasks.c.error_code, tasks.c.status)
    found = connection.execute(select(*columns).where(tasks.c.run_id == run_id).order_by(tasks.c.id))
    results = {row.node: row.error_code or row.status for row in found}
    return AuditEntry(
        action=f"{run.operation.value}-end",
        status="success" if run.status is RunStatus.COMPLETED else "failed",
        resource=f"run/{run.id}",
        source=run.worker or "service",
        user_name=run.requested_by,
        cluster=run.cluster,
        nodes=",".join(run.nodes),
        run_id=run.id,
        details={"status": run.status.value, "results": results},
    )


def _rows(connection: Connection) -> Iterator[dict[str, Any]]:
    last = 0
    while True:
        rows = connection.execute(select(audit).where(audit.c.id > last).order_by(audit.c.id).limit(_PART)).mappings()
        part = [dict(row) for row in rows]
        yield from part
        if len(part) < _PART:
            return
        last = part[-1]["id"]


def _mac(key: bytes, before: str, row: dict[str, Any]) -> str:
    content = json.dumps([before, {name: row[name] for name in sorted(row)}], separators=(",", ":"), sort_keys=True)
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()
