"""A real PostgreSQL of its own for tests."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def serve() -> Iterator[str]:
    """Start a PostgreSQL on a socket in a directory of its own; yields the URL without a database's name."""
    initdb = _initdb()
    base = Path(tempfile.mkdtemp(prefix="slurmscale-pg-", dir="/tmp"))
    user: str | None = None
    become: list[str] = []
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root
        user = next((name for name in ("postgres", "nobody") if _user_exists(name)), None)
        shutil.chown(base, user)
        become = ["runuser", "-u", user, "--"]
    data = base / "data"
    subprocess.run([*become, str(initdb), "-D", str(data), "-U", "tester", "-A", "trust", "-N"], check=True,
                   capture_output=True, cwd=base)  # fmt: skip
    command = [*become, str(initdb.parent / "postgres"), "-D", str(data), "-k", str(base), "-c", "listen_addresses="]
    with (base.parent / f"{base.name}.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=base)
        try:
            yield _when_ready(f"postgresql+psycopg://tester@/{{}}?host={base}")
        finally:
            server.terminate()
            server.wait(20)
            shutil.rmtree(base, ignore_errors=True)
            Path(log.name).unlink()


def _user_exists(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def _when_ready(url: str) -> str:
    engine = create_engine(url.format("postgres"))
    deadline = time.monotonic() + 30
    while True:
        try:
            with engine.connect():
                engine.dispose()
                return url
        except SQLAlchemyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
