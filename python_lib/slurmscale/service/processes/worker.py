"""Carries the runs that services on any machine ask for, until the process is told to stop."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import structlog

from slurmscale.errors import RefusedError
from slurmscale.runner import processes
from slurmscale.runs.discovery import look_after_clusters
from slurmscale.runs.queue_executor import QueueWorker
from slurmscale.service.access.keys import derive, read_keys
from slurmscale.service.access.run_audit import auditing_ends
from slurmscale.service.processes.open_library import opened
from slurmscale.store.audit import AuditTrail

if TYPE_CHECKING:
    from slurmscale.service.settings import ServiceSettings
    from slurmscale.settings import Settings

log = structlog.get_logger(__name__)


def work(library: Settings, config: ServiceSettings, max_runs: int | None = None) -> None:
    """Carry runs until SIGTERM or SIGINT; then wait for the active ones, and leave to others what takes too long.

    Args:
        library: Settings of the library.
        config: Settings of the service.
        max_runs: Runs in progress at the same time; the setting when None.

    Raises:
        RefusedError: The database is none that services on other machines use.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with opened(library, config) as scaling:
        if scaling.queue is None:
            raise RefusedError(
                "A worker needs a database that services on other machines reach.",
                "Set SLURMSCALE_DATABASE_URL to one of PostgreSQL; with SQLite, slurmscale serve needs no worker.",
            )
        trail = AuditTrail(scaling.store, derive(read_keys(config.secret_key_file, library.data_dir), "audit"))
        with auditing_ends(trail), look_after_clusters(scaling.clusters):
            worker = QueueWorker(scaling, scaling.queue, max_runs or library.max_runs)
            log.info("working", worker=processes.worker_name())
            stop.wait()
            log.info("stopping")
            worker.close(config.stop_seconds)
    log.info("stopped")
