"""A PostgreSQL, workers in processes of their own, and the library as who asks."""

from __future__ import annotations

import base64
import math
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fakes.postgresql import Postgresql
from fakes.waiting import wait_for
from slurmscale.scaling import Scaling
from slurmscale.store.run_queue import RunQueue
from sqlalchemy import create_engine, text

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from library_fixtures import settings
from testing import ROOT, ctl1, node_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurmscale.settings import Settings

__all__ = ["ctl1", "settings"]

# One for each worker, and some that wait.
SHARDS = 4


def shard_size() -> int:
    return math.ceil(len(node_names()) / SHARDS)


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """An empty database."""
    with Postgresql() as server:
        admin = create_engine(server.url.format("postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE lab"))
        admin.dispose()
        yield server.url.format("lab")


@pytest.fixture(scope="session")
def environment(settings: Settings, url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)) + b"\n")
    keys.chmod(0o600)
    return {
        "SLURMSCALE_DATABASE_URL": url,
        "SLURMSCALE_SECRET_KEY_FILE": str(keys),
        "SLURMSCALE_DATA_DIR": str(settings.data_dir),
        "SLURMSCALE_PROJECT_DIR": str(ROOT),
        "SLURMSCALE_LEASE_SECONDS": "20",
        "SLURMSCALE_SHARD_SIZE": str(shard_size()),
    }


@pytest.fixture(scope="session")
def scaling(settings: Settings, url: str) -> Iterator[Scaling]:
    config = settings.model_copy(update={"database_url": url, "shard_size": shard_size(), "lease_seconds": 20.0})
    with Scaling(config, make_queue=RunQueue) as scaling:
        yield scaling


@pytest.fixture
def start_worker(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        path = tmp_path / f"worker-{len(started)}.log"
        with path.open("wb") as log:
            command = [sys.executable, "-c", "from slurmscale.cli import main; main()", "worker", "--concurrency", "1"]
            started.append(subprocess.Popen(command, env=os.environ | environment, stderr=log, start_new_session=True))
        wait_for(lambda: '"working"' in path.read_text())
        return started[-1]

    yield start
    for worker in started:
        worker.terminate()
    for worker in started:
        worker.wait(60)
