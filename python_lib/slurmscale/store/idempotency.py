"""Which requests were made with which Idempotency-Key, and what was answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, insert, select, update

from slurmscale.errors import Code, RefusedError
from slurmscale.store.tables import idempotency_keys

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from slurmscale.store.engine import Database

KEPT_SECONDS = 24 * 3600.0
_AT_WORK_SECONDS = 900.0
"""A request that has no answer by then was lost with its process, and may be made again."""


_RUN = "run:"
"""Begins what stands in the place of the answer from the record of a run on; no sealed answer begins so."""


class RequestKey(NamedTuple):
    """An Idempotency-Key, and whose it is."""

    user_id: str
    key: str


class KeyRecord(NamedTuple):
    """A request with a key.

    Attributes:
        digest: What tells it from other requests.
        answer: What was answered; None before that.
        run_id: The run that it made, when it made one and has no answer yet.
    """

    digest: str
    answer: str | None
    run_id: str | None


def _is(request_key: RequestKey) -> ColumnElement[bool]:
    """Return the condition for the row of a key."""
    return (idempotency_keys.c.user_id == request_key.user_id) & (idempotency_keys.c.key == request_key.key)


def note_run(connection: Connection, request_key: RequestKey, run_id: str) -> None:
    """Write down which run a request made, in the transaction that records the run.

    Raises:
        RefusedError: The request is not in progress any more; somebody may have repeated it.
    """
    unanswered = _is(request_key) & idempotency_keys.c.answer.is_(None)
    if not connection.execute(update(idempotency_keys).where(unanswered).values(answer=f"{_RUN}{run_id}")).rowcount:
        raise RefusedError(
            "The request with this Idempotency-Key took too long.", "Look for its run, or repeat it.",
            code=Code.REQUEST_AT_WORK,
        )  # fmt: skip


class IdempotencyKeys:
    """The keys, each of a user.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, request_key: RequestKey, digest: str) -> KeyRecord | None:
        """Record that a request is in progress; return the record of an earlier one with the same key instead."""
        table, now = idempotency_keys.c, time.time()
        lost = (table.answer.is_(None)) & (table.created_at < now - _AT_WORK_SECONDS)
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(delete(idempotency_keys).where((table.created_at < now - KEPT_SECONDS) | lost))
            row = connection.execute(select(table.digest, table.answer).where(_is(request_key))).first()
            if row is not None:
                digest, answer = row
                run_id = answer.removeprefix(_RUN) if answer and answer.startswith(_RUN) else None
                return KeyRecord(digest, None if run_id else answer, run_id)
            connection.execute(insert(idempotency_keys).values(**request_key._asdict(), digest=digest, created_at=now))
        return None

    def finish(self, request_key: RequestKey, answer: str) -> None:
        """Keep the answer."""
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(update(idempotency_keys).where(_is(request_key)).values(answer=answer))

    def forget(self, request_key: RequestKey) -> None:
        """Let the request be made again, unless it has made a run."""
        unanswered = _is(request_key) & idempotency_keys.c.answer.is_(None)
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(delete(idempotency_keys).where(unanswered))
