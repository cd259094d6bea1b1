"""Finds runs whose process is gone, ends what is left of them, and says so in their records."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from slurmscale.errors import Code
from slurmscale.models import Failure
from slurmscale.runner import processes
from slurmscale.states import RunStatus
from slurmscale.store.engine import owner

if TYPE_CHECKING:
    from slurmscale.models import Run
    from slurmscale.store.repository import Store

INTERRUPTED = Failure(
    Code.RUN_INTERRUPTED, "The run was interrupted: the process that ran it is gone.", "Run it again to continue."
)
_SILENT_OWNER = 300.0
"""Seconds after which the owner of a run on another machine counts as gone; it shows itself every half minute."""

log = structlog.get_logger(__name__)


def end_abandoned_runs(store: Store) -> list[Run]:
    """Mark runs without a process as interrupted.

    Args:
        store: The records.

    Returns:
        The runs that were marked.
    """
    here = owner()["owner_host"]
    gone = [run for run in store.runs(active=True) if _abandoned(run, here)]
    for run in gone:
        if run.owner_host == here:
            _end_remains(run)
        store.end_run(run.id, RunStatus.INTERRUPTED, INTERRUPTED)
        log.warning("a run was interrupted", run=run.id, nodes=len(run.nodes))
    return gone


def _abandoned(run: Run, here: str) -> bool:
    if run.owner_host == here:
        return not processes.is_alive(run.owner_pid, run.owner_started)
    return time.time() - (run.updated_at or run.created_at) > _SILENT_OWNER


def _end_remains(run: Run) -> None:
    """Ansible lives on until its next write to the dead process; it must not meet the run that follows."""
    if not run.run_dir:
        return
    run_dir = Path(run.run_dir)
    pid = run.ansible_pid if processes.is_alive(run.ansible_pid, run.ansible_started) else None
    processes.stop_processes(pid, run_dir)
    processes.stop_on_nodes(run_dir / "cp")
    processes.remove_run_dir(run_dir)
