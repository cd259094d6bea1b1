"""The connection to SQLite or PostgreSQL, its transactions, and errors that say what to do."""

from __future__ import annotations

import glob
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Float, create_engine, event, inspect, literal_column, text
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from slurmscale.errors import StoreError, StoreUnavailableError
from slurmscale.store.notices import Notices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement

_SCRIPTS = Path(__file__).parent / "migrations"
HEAD = max(script.name for script in (_SCRIPTS / "versions").glob("m[0-9]*.py"))[1:5]
"""Revision that this version works with: that of the last migration, by the names of the files. Alembic, which would
tell it, too, is slow to import."""
MIGRATION_LOCK = 7_305_811
"""Held by who makes or changes tables."""
_BUSY_SECONDS = 30
_IDLE_SECONDS = 10
"""How long PostgreSQL waits for the next statement of a transaction. A process that is stopped in the middle of one
would hold the row of its run for as long, and nobody could take the run over."""
_MAY_PASS = (OperationalError, InterfaceError, PoolTimeoutError, OSError)
_REMEDIES = {
    "sqlite": "Check that its directory can be written and has room, or set SLURMSCALE_DATA_DIR to another.",
    "postgresql": "Check that the server of SLURMSCALE_DATABASE_URL is up, can be reached, and lets this user write.",
}


class Database:
    """A database whose tables are those of this version.

    Args:
        url: SQLAlchemy URL, `sqlite:///path` or `postgresql+psycopg://...`.

    Raises:
        StoreError: The database can't be opened or written.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self.notices = Notices(self.engine)
        with self.explained("open"), self.begin() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            _upgrade_tables(connection)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def check(self) -> None:
        """Ask whether the database answers, with the tables of this version.

        Raises:
            StoreError: It does not.
        """
        with self.explained("read"), self.engine.connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if found != HEAD:
            raise StoreError(f"The database has revision {found}, and this version works with {HEAD}.")

    @property
    def now(self) -> ColumnElement[float]:
        """The database's clock in seconds since the epoch: the one that all machines share."""
        postgresql = self.engine.dialect.name == "postgresql"
        seconds = "extract(epoch FROM clock_timestamp())" if postgresql else "(julianday('now') - 2440587.5) * 86400.0"
        return literal_column(seconds, Float)

    @property
    def shared(self) -> bool:
        """Whether processes of other machines may use it too."""
        return self.engine.dialect.name != "sqlite"

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that may write; rolled back when the block raises."""
        with self.engine.connect() as connection:
            if self.engine.dialect.name == "sqlite":
                # taking the lock at once: a reader that turns writer halfway would be refused instead of waiting
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            self.notices.begin(connection)
            yield connection
            connection.commit()
            self.notices.committed(connection)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that only reads, and sees one state of the database from its first statement to its last."""
        with self.engine.connect() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def explained(self, action: str) -> Iterator[None]:
        """Turn errors of the database into a StoreError that says what to do."""
        try:
            yield
        except (SQLAlchemyError, OSError, ValueError, TypeError) as exc:
            reason = next(iter(str(getattr(exc, "orig", None) or exc).strip().splitlines()), type(exc).__name__)
            may_pass = isinstance(exc, _MAY_PASS) or getattr(exc, "connection_invalidated", False)
            error = StoreUnavailableError if may_pass else StoreError
            remedy = _REMEDIES.get(self.engine.dialect.name, "")
            raise error(f"Cannot {action} the database {self.shown_url}: {reason}.", remedy) from exc


def _upgrade_tables(connection: Connection) -> None:
    """Apply the migrations that are missing.

    Args:
        connection: A connection inside a transaction that locks out other writers.

    Raises:
        StoreError: The database was made by a newer version.
    """
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if current != HEAD:
        _migrate(connection, current)


def _migrate(connection: Connection, current: str | None) -> None:
    # imported here, because nearly every start finds the tables as they should be
    from alembic import command  # noqa: PLC0415 - slow, and only needed when tables change
    from alembic.config import Config  # noqa: PLC0415 - likewise
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - likewise

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StoreError(
            f"The database has revision {current}, which this version does not know: it was made by a newer one."
            " Upgrade slurmscale, or set SLURMSCALE_DATABASE_URL to another database."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    except (ArgumentError, ValueError, NoSuchModuleError, ModuleNotFoundError) as exc:
        # no word of the URL itself, which may hold a password
        found = f": {exc}" if isinstance(exc, NoSuchModuleError | ModuleNotFoundError) else ""
        raise StoreError(
            f"SLURMSCALE_DATABASE_URL cannot be used{found}.",
            "Use sqlite:///PATH, or postgresql+psycopg://USER@HOST/NAME with slurmscale[postgresql] installed.",
        ) from exc
    if engine.dialect.name == "sqlite":
        name = engine.url.database or ":memory:"
        if name != ":memory:" and not name.startswith("file:"):
            _make_private(Path(name))
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _make_private(path: Path) -> None:
    """Make the database's file and directory, readable by their owner only; SQLite's other files follow the first."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for own in (path, *folder.glob(f"{glob.escape(path.name)}-*")):
            if own.stat().st_uid == os.geteuid():
                own.chmod(0o600)
        # a directory that others use too, such as /tmp, is left as it is
        if folder.stat().st_uid == os.geteuid() and all(one.name.startswith(path.name) for one in folder.iterdir()):
            folder.chmod(0o700)
    except OSError as exc:
        raise StoreError(f"Cannot make the database {path}: {exc.strerror}.", _REMEDIES["sqlite"]) from exc


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    connection.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'")
    connection.commit()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # the driver's own transaction handling would begin too late; `begin` does it
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {_BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
