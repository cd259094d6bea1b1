"""The queue that tells workers on any machine of the runs that wait; it lies in PostgreSQL, beside the runs.

An entry is the id of a run, or the key of a part of one, and nothing else. The record of the run decides what is done:
an entry that is lost is made again, and one that is there twice does nothing the second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procrastinate import App, PsycopgConnector
from procrastinate.schema import SchemaManager
from sqlalchemy import text

from slurmscale.states import RUN_ACTIVE, RunStatus
from slurmscale.store.engine import MIGRATION_LOCK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Connection

    from slurmscale.store.engine import Database

_QUEUE = "slurmscale"
_TASK = "run"
_HEARTBEAT_SECONDS = 5
_SILENT_SECONDS = 30
_CONNECTIONS = 4
_REPAIR_LOCK = 7_305_814

_MISSING = text(
    "SELECT waiting.key FROM (SELECT id AS key, created_at, 0 AS number FROM runs WHERE status = :pending AND queued"
    " AND owner_id = '' AND NOT EXISTS (SELECT FROM run_shards WHERE run_id = runs.id)"
    " UNION ALL SELECT runs.id || '.' || number, created_at, number FROM runs JOIN run_shards ON run_id = runs.id"
    " WHERE runs.status = ANY(:active) AND run_shards.status = :pending) AS waiting WHERE NOT EXISTS"
    " (SELECT FROM procrastinate_jobs AS entry WHERE entry.status = 'todo' AND entry.args->>'run_id' = waiting.key)"
    " ORDER BY created_at, key, number"
)
_FORGET = text(
    "DELETE FROM procrastinate_jobs AS entry WHERE entry.queue_name = :queue AND (entry.status = 'todo' OR"
    " entry.worker_id IS NULL) AND NOT EXISTS"
    " (SELECT FROM runs WHERE runs.id = split_part(entry.args->>'run_id', '.', 1) AND runs.status = ANY(:active))"
)
_FORGET_WORKERS = text(
    "DELETE FROM procrastinate_workers WHERE last_heartbeat < now() - make_interval(secs => :silent)"
)
_WORKERS = text(
    "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => :silent)"
)


class RunQueue:
    """The queue of one database.

    Args:
        database: The database, of PostgreSQL.

    Raises:
        StoreError: From every method, when the database can't be read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._app = App(connector=PsycopgConnector())
        with database.explained("open"), database.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            if connection.execute(text("SELECT to_regclass('procrastinate_jobs')")).scalar() is None:
                _driver(connection).execute(SchemaManager.get_schema())

    def add(self, connection: Connection, run_id: str, delay: int = 0) -> None:
        """Let a worker begin a run once the transaction of a connection is committed.

        Args:
            connection: The connection, inside a transaction.
            run_id: The run, or the key of a shard.
            delay: Seconds to wait before.
        """
        later = {"seconds": delay} if delay else None
        entry = self._app.configure_task(_TASK, queue=_QUEUE, connection=_driver(connection), schedule_in=later)
        entry.defer(run_id=run_id)

    def add_later(self, run_id: str, delay: int) -> None:
        """Let a worker begin a run after some seconds."""
        with self._database.explained("write"), self._database.begin() as connection:
            self.add(connection, run_id, delay)

    def repair(self) -> None:
        """Add the runs that wait and are not in the queue, and drop what lost workers left in it."""
        with self._database.explained("write"), self._database.begin() as connection:
            mine = connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _REPAIR_LOCK}).scalar()
            if not mine:
                return
            connection.execute(_FORGET_WORKERS, {"silent": _SILENT_SECONDS})
            active = list(map(str, RUN_ACTIVE))
            connection.execute(_FORGET, {"queue": _QUEUE, "active": active})
            missing = {"pending": RunStatus.PENDING, "active": active}
            for run_id in connection.execute(_MISSING, missing).scalars().all():
                self.add(connection, run_id)

    def workers(self) -> int:
        """Return how many workers have shown themselves lately."""
        with self._database.explained("read"), self._database.engine.connect() as connection:
            return int(connection.execute(_WORKERS, {"silent": _SILENT_SECONDS}).scalar_one())

    async def fetch(self, carry: Callable[[str], Awaitable[None]], most: int) -> None:
        """Take entries out of the queue until this is cancelled, or the database is away for long.

        Args:
            carry: Carries a run to its end, by its id; it is cancelled when this ends.
            most: How many at the same time.
        """
        _, parameters = self._database.engine.dialect.create_connect_args(self._database.engine.url)
        pool: dict[str, Any] = {"kwargs": parameters, "min_size": 1, "max_size": most + _CONNECTIONS}
        app = App(connector=PsycopgConnector(**pool))

        @app.task(name=_TASK, queue=_QUEUE)
        async def run(run_id: str) -> None:
            await carry(run_id)

        async with app.open_async():
            await app.run_worker_async(
                queues=[_QUEUE],
                concurrency=most,
                install_signal_handlers=False,
                delete_jobs="always",
                shutdown_graceful_timeout=0,
                update_heartbeat_interval=_HEARTBEAT_SECONDS,
                stalled_worker_timeout=_SILENT_SECONDS,
            )


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection
