"""Which requests were made with which Idempotency-Key, and what was answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, insert, select, update

from slurmscale.store.tables import idempotency_keys

if TYPE_CHECKING:
    from slurmscale.store.engine import Database

KEPT_SECONDS = 24 * 3600.0
_AT_WORK_SECONDS = 900.0
"""A request that has no answer by then was lost with its process, and may be made again."""


class KeyRecord(NamedTuple):
    """A request with a key.

    Attributes:
        digest: What tells it from other requests.
        answer: What was answered; None while it is in progress.
    """

    digest: str
    answer: str | None


class IdempotencyKeys:
    """The keys, each of a user.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, user_id: str, key: str, digest: str) -> KeyRecord | None:
        """Record that a request is in progress; return the record of an earlier one with the same key instead."""
        table, now = idempotency_keys.c, time.time()
        lost = (table.answer.is_(None)) & (table.created_at < now - _AT_WORK_SECONDS)
        own = (table.user_id == user_id) & (table.key == key)
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(delete(idempotency_keys).where((table.created_at < now - KEPT_SECONDS) | lost))
            row = connection.execute(select(table.digest, table.answer).where(own)).first()
            if row is not None:
                return KeyRecord(*row)
            connection.execute(insert(idempotency_keys).values(user_id=user_id, key=key, digest=digest, created_at=now))
        return None

    def finish(self, user_id: str, key: str, answer: str) -> None:
        """Keep the answer."""
        table = idempotency_keys.c
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(
                update(idempotency_keys).where(table.user_id == user_id, table.key == key).values(answer=answer)
            )

    def forget(self, user_id: str, key: str) -> None:
        """Let the request be made again."""
        table = idempotency_keys.c
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(delete(idempotency_keys).where(table.user_id == user_id, table.key == key))
