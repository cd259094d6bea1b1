"""A real PostgreSQL of its own for tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psutil
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

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

    Attributes:
        url: The URL without a database's name.
    """

    def __init__(self) -> None:
        initdb = _initdb()
        self._base = Path(tempfile.mkdtemp(prefix="slurmscale-pg-", dir="/tmp"))
        user: str | None = None
        become: list[str] = []
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root
            user = next((name for name in ("postgres", "nobody") if _user_exists(name)), None)
            shutil.chown(self._base, user)
            become = ["runuser", "-u", user, "--"]
        data = self._base / "data"
        subprocess.run([*become, str(initdb), "-D", str(data), "-U", "tester", "-A", "trust", "-N"], check=True,
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
        if self._server is None:
            return
        started = psutil.Process(self._server.pid)
        # where another program has changed the user for it, that one's child
        server = started.children()[0] if started.name() == "runuser" else started
        server.send_signal(signal.SIGINT)
        self._server.wait(20)
        self._server = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_about: object) -> None:
        """Remove it with all that it holds."""
        self.stop()
        shutil.rmtree(self._base, ignore_errors=True)
        self._log.unlink(missing_ok=True)


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
