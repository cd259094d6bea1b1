"""Notifies of runs that have changed, after the commit.

Within the process on SQLite, and to all processes on PostgreSQL. A notice may be lost with a connection: whoever
listens polls as well.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

_CHANNEL = "slurmscale"
_CHANGED = "slurmscale_changed"
_LOOK_SECONDS = 1.0
_RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Notices:
    """The notices of one database.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._postgresql = engine.dialect.name == "postgresql"
        self._listeners: set[Callable[[str], None]] = set()

    def begin(self, connection: Connection) -> None:
        """Begin a transaction: forget what one that was rolled back wanted to tell."""
        connection.info[_CHANGED] = {}

    def add(self, connection: Connection, run_id: str) -> None:
        """Tell of a run when the transaction is committed."""
        if self._postgresql:
            connection.execute(select(func.pg_notify(_CHANNEL, run_id)))
        else:
            connection.info[_CHANGED][run_id] = None

    def committed(self, connection: Connection) -> None:
        """Tell what the transaction of a connection had to tell."""
        changed = connection.info.pop(_CHANGED, {})
        for told in tuple(self._listeners) if changed else ():
            for run_id in changed:
                told(run_id)

    @contextmanager
    def listen(self, told: Callable[[str], None]) -> Iterator[None]:
        """Let a function be told of each run that has changed, from any thread, until the block is left."""
        if not self._postgresql:
            self._listeners.add(told)
            try:
                yield
            finally:
                self._listeners.discard(told)
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._listen_postgresql, args=(told, ended), name="notices", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _listen_postgresql(self, told: Callable[[str], None], ended: threading.Event) -> None:
        """Listen to PostgreSQL, and again when it was away."""
        away = (SQLAlchemyError, OSError, self._engine.dialect.loaded_dbapi.Error)
        while not ended.is_set():
            try:
                with self._engine.connect() as connection:
                    try:
                        self._pass_on_notices(connection, told, ended)
                    finally:
                        # nobody else is to get one that listens
                        connection.invalidate()
            except away as exc:
                log.warning("The database tells of no changes for the moment; they are looked for.", error=str(exc))
                ended.wait(_RETRY_SECONDS)

    @staticmethod
    def _pass_on_notices(connection: Connection, told: Callable[[str], None], ended: threading.Event) -> None:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
        driver = connection.connection.driver_connection
        while driver is not None and not ended.is_set():
            for notice in driver.notifies(timeout=_LOOK_SECONDS):
                told(notice.payload)
