"""Tells what was written, after the commit: to those who show it, so that they need not read it again.

Within the process on SQLite, and to all processes on PostgreSQL. A notice may be lost with a connection: whoever
listens looks by himself as well.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection, Engine

_CHANNEL = "slurmscale"
_CHANGED = "slurmscale_changed"
_LOOK_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_MOST_BYTES = 7_900
"""PostgreSQL takes less than 8,000."""

log = structlog.get_logger(__name__)


class Kind(StrEnum):
    """What is written."""

    RUN = "run"
    CLUSTERS = "clusters"
    JOBS = "jobs"
    ACCOUNTS = "accounts"
    """Users, or what their tokens are good for."""
    ANYTHING = "anything"
    """Notices may have been lost."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one transaction has written.

    Attributes:
        run_id: The run; empty where it is of none.
        cluster: The cluster of the run.
        revision: That of the run after it.
        values: Columns of the run that it wrote; None when the run has to be read.
        tasks: Columns of its tasks that it wrote, by their ids.
        lines: Whether the run's log has more lines.
    """

    kind: Kind
    run_id: str = ""
    cluster: str = ""
    revision: int = 0
    values: Mapping[str, Any] | None = None
    tasks: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    lines: bool = True

    def as_text(self) -> str:
        """Return it as text that PostgreSQL passes on; without what was written when that is too much."""
        text = json.dumps(asdict(self), separators=(",", ":"))
        if len(text) > _MOST_BYTES:
            text = json.dumps(asdict(replace(self, values=None, tasks={})), separators=(",", ":"))
        return text

    @classmethod
    def of_text(cls, text: str) -> Change:
        """Make it of its text; what an older or newer version sent may be anything."""
        try:
            known = json.loads(text)
            tasks = {int(number): columns for number, columns in known.pop("tasks").items()}
            return cls(**known | {"kind": Kind(known["kind"]), "tasks": tasks})
        except (AttributeError, KeyError, TypeError, ValueError):
            return cls(Kind.ANYTHING)


class Notices:
    """The notices of one database.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._postgresql = engine.dialect.name == "postgresql"
        self._listeners: set[Callable[[Change], None]] = set()

    def begin(self, connection: Connection) -> None:
        """Begin a transaction: forget what one that was rolled back wanted to tell."""
        connection.info[_CHANGED] = []

    def add(self, connection: Connection, change: Change) -> None:
        """Tell of a change when the transaction is committed."""
        if self._postgresql:
            connection.execute(select(func.pg_notify(_CHANNEL, change.as_text())))
        else:
            connection.info[_CHANGED].append(change)

    def committed(self, connection: Connection) -> None:
        """Tell what the transaction of a connection had to tell."""
        changes = connection.info.pop(_CHANGED, ())
        for told in tuple(self._listeners) if changes else ():
            for change in changes:
                told(change)

    @contextmanager
    def listen(self, told: Callable[[Change], None]) -> Iterator[None]:
        """Let a function be told of each change, from any thread, until the block is left."""
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

    def _listen_postgresql(self, told: Callable[[Change], None], ended: threading.Event) -> None:
        """Listen to PostgreSQL, and again when it was away."""
        away = (SQLAlchemyError, OSError, self._engine.dialect.loaded_dbapi.Error)
        is_away = False
        while not ended.is_set():
            try:
                with self._engine.connect() as connection:
                    is_away = False
                    try:
                        self._pass_on_notices(connection, told, ended)
                    finally:
                        # nobody else is to get one that listens
                        connection.invalidate()
            except away as exc:
                if not is_away:
                    log.warning("The database tells of no changes for the moment; they are looked for.", error=str(exc))
                is_away = True
                ended.wait(_RETRY_SECONDS)

    @staticmethod
    def _pass_on_notices(connection: Connection, told: Callable[[Change], None], ended: threading.Event) -> None:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
        # of what happened before, nothing was told
        told(Change(Kind.ANYTHING))
        driver = connection.connection.driver_connection
        while driver is not None and not ended.is_set():
            for notice in driver.notifies(timeout=_LOOK_SECONDS):
                told(Change.of_text(notice.payload))
