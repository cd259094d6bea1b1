"""A real PostgreSQL of its own for tests."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Literal, Self

import psutil
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

_SMALL = "96m"
"""Of a small disk: room for an empty database, and some more."""
_NO_POSTGRESQL = "SLURMSCALE_TEST_WITHOUT_POSTGRESQL"


def _initdb() -> Path:
    found = shutil.which("initdb")
    candidates = [Path(found)] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not candidates:
        if os.environ.get(_NO_POSTGRESQL):
            pytest.skip(f"no PostgreSQL here, and {_NO_POSTGRESQL} is set")
        pytest.fail(
            "The store is tested on PostgreSQL too, but there is no initdb. Install Debian's package postgresql,"
            f" or set {_NO_POSTGRESQL}=1 to leave these tests out."
        )
    return candidates[-1]


class Postgresql:
    """A server on a socket in a directory of its own, which can be stopped and started again.

    Args:
        small: What of it lies on a small disk that `fill` fills: its tables, or its write-ahead log. Needs root.

    Attributes:
        url: The URL without a database's name.
    """

    def __init__(self, small: Literal["tables", "log"] | None = None) -> None:
        initdb = _initdb()
        self._small = small
        self._base = Path(tempfile.mkdtemp(prefix="slurmscale-pg-", dir="/tmp"))
        self._disk = _small_disk(self._base) if small else None
        user: str | None = None
        become: list[str] = []
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root
            user = next((name for name in ("postgres", "nobody") if _user_exists(name)), None)
            for path in filter(None, (self._base, self._disk)):
                shutil.chown(path, user)
            become = ["runuser", "-u", user, "--"]
        data = (self._disk if self._disk and small == "tables" else self._base) / "data"
        log = (self._disk if self._disk and small == "log" else self._base) / "log"
        more = ["--waldir", str(log), "--wal-segsize=1"] if small else []
        subprocess.run([*become, str(initdb), "-D", str(data), "-U", "tester", "-A", "trust", "-N", *more], check=True,
                       capture_output=True, cwd=self._base)  # fmt: skip
        options = ["-D", str(data), "-k", str(self._base), "-c", "listen_addresses="]
        self._command = [*become, str(initdb.parent / "postgres"), *options]
        self._log = self._base.parent / f"{self._base.name}.log"
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql+psycopg://tester@/{{}}?host={self._base}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._base)
        _when_ready(self.url)

    def stop(self) -> None:
        """End it at once, whoever is connected."""
        if self._server is None or self._server.poll() is not None:
            return
        started = psutil.Process(self._server.pid)
        # where another program has changed the user for it, that one's child
        server = started.children()[0] if started.name() == "runuser" else started
        server.send_signal(signal.SIGINT)
        self._server.wait(20)
        self._server = None

    def fill(self) -> None:
        """Leave no room on the small disk, nor in the segments of the log that it has in store."""
        with self._filling.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(4096))
        if self._small == "log":
            engine = create_engine(self.url.format("postgres"), isolation_level="AUTOCOMMIT")
            with contextlib.suppress(SQLAlchemyError), engine.connect() as connection:
                while True:
                    connection.execute(text("SELECT pg_logical_emit_message(false, 'other', repeat('x', 100000))"))
            engine.dispose()

    def make_room(self) -> None:
        """Take away what fills the disk, and start the server again if it has ended of it, as systemd would."""
        self._filling.unlink()
        deadline = time.monotonic() + 5
        while self._server is not None and self._server.poll() is None and time.monotonic() < deadline:
            # it may be about to end
            time.sleep(0.1)
        if self._server is not None and self._server.poll() is not None:
            self.start()

    @property
    def complaints(self) -> int:
        """How often it has told that there is no room."""
        return self._log.read_text().count("No space left on device")

    @property
    def _filling(self) -> Path:
        assert self._disk is not None
        return self._disk / "filling"

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_about: object) -> None:
        """Remove it with all that it holds."""
        self.stop()
        if self._disk is not None:
            subprocess.run(["umount", str(self._disk)], check=True)
        shutil.rmtree(self._base, ignore_errors=True)
        self._log.unlink(missing_ok=True)


def _small_disk(base: Path) -> Path:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    path = base / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SMALL}", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    return path


def _user_exists(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def _when_ready(url: str) -> None:
    engine = create_engine(url.format("postgres"))
    deadline = time.monotonic() + 30
    while True:
        try:
            with engine.connect():
                engine.dispose()
                return
        except SQLAlchemyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
