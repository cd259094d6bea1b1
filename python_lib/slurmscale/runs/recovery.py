"""Puts right what earlier processes left: runs whose process is gone, and results that could not be recorded."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from slurmscale import settings
from slurmscale.errors import Code, NotFoundError, RunLostError, StoreError
from slurmscale.inventory.hostlist import fold
from slurmscale.models import CANCELLED, Failure
from slurmscale.runner import processes, run_directories
from slurmscale.runner.ansible import run_as_root
from slurmscale.states import RunStatus

if TYPE_CHECKING:
    from slurmscale.models import Run
    from slurmscale.store.repository import Batch, Store

INTERRUPTED = Failure(
    Code.RUN_INTERRUPTED,
    "The run was interrupted: the process that ran it is gone.",
    "Run it again to continue. What still runs on nodes that can not be reached ends by itself, and the next run"
    " waits for its locks.",
)
_MOST_ATTEMPTS = 3

log = structlog.get_logger(__name__)


def recover(store: Store, data_dir: Path) -> list[Run]:
    """Bring in results that could not be recorded, and give up or hand over runs whose process is gone.

    Args:
        store: The records.
        data_dir: Directory in which results are kept while the database is away.

    Returns:
        The runs that were ended.
    """
    record_kept_results(store, data_dir)
    ended = _recover_abandoned_runs(store)
    # of a process that was killed before it recorded what it had made
    run_directories.remove_abandoned(_end_unrecorded)
    return ended


def give_up(store: Store, run: Run, why: str, *, only_if_expired: bool = False) -> bool:
    """Let another process go on with a run where one may, or end it as interrupted.

    Args:
        store: The records.
        run: The run.
        why: What became of its process, for whoever looks at the run.
        only_if_expired: Leave it alone when its owner has shown itself.

    Returns:
        Whether it has ended.
    """
    if _may_go_on(store, run):
        explanation = why if run.attempt else run.explanation
        if store.hand_over(run, explanation, only_if_expired=only_if_expired):
            log.warning("a run waits for another process", run=run.key, why=why)
        return False
    ended = (RunStatus.CANCELLED, CANCELLED) if run.cancel_requested else (RunStatus.INTERRUPTED, INTERRUPTED)
    if not store.end_run(run, *ended, only_if_expired=only_if_expired):
        return False
    log.warning("a run was interrupted", run=run.key, nodes=len(run.nodes))
    return True


def _may_go_on(store: Store, run: Run) -> bool:
    return (
        run.queued
        and run.operation.definition.repeatable
        and run.attempt < _MOST_ATTEMPTS
        and not run.cancel_requested
        and (not run.request["secret"] or store.run_secret(run.id) is not None)
    )


def _recover_abandoned_runs(store: Store) -> list[Run]:
    """Give up the runs without a process, and end what is left of them on this machine."""
    machine = processes.this_machine()
    ended = []
    for run, expired in store.active_runs():
        if not run.owner_id:
            # it waits for a process
            continue
        alive = processes.is_alive(run.owner_pid, run.owner_ticks) if run.owner_machine == machine else None
        # a command that somebody stopped at a terminal is waited for, unless other machines would not do so either
        may_be_taken = run.queued or store.shared
        silent = alive is None or (alive and may_be_taken and processes.is_stopped(run.owner_pid))
        # of a process that can't be seen, or that stands still, only its lease tells
        if (alive and not silent) or (silent and not expired):
            continue
        if run.owner_machine == machine:
            _end_remains(run, machine)
        worker = run.worker or f"{run.owner_host}/{run.owner_pid}"
        gone = f"{worker} was not heard of for {store.lease_seconds:g} s" if silent else f"{worker} is gone"
        if give_up(store, run, gone, only_if_expired=silent):
            ended.append(run)
    # those that another machine ended
    for run in store.interrupted_runs(processes.owner()["owner_host"]):
        if run.run_dir and Path(run.run_dir).exists():
            _end_remains(run, machine)
    return ended


def _end_remains(run: Run, machine: str) -> None:
    """Ansible lives on until its next write to the dead process; it must not meet the run that follows."""
    if not run.run_dir:
        return
    run_dir = Path(run.run_dir)
    known = run.owner_machine == machine and processes.is_alive(run.ansible_pid, run.ansible_ticks)
    processes.stop_processes(run.ansible_pid if known else None, run_dir)
    if processes.stop_on_nodes(run_dir / "cp", partial(_end_as_root, run, run_dir)):
        log.warning(
            "on nodes whose sudo refused, what root runs there may still be running", run=run.id, nodes=fold(run.nodes)
        )
    run_directories.remove(run_dir)


def _end_unrecorded(run_dir: Path) -> None:
    processes.stop_processes(None, run_dir)
    processes.stop_on_nodes(run_dir / "cp")


def _end_as_root(run: Run, run_dir: Path, program: str) -> None:
    """Run a command on the nodes as root, with the inventory's passwords; those given to the run are lost with it."""
    if run.inventory:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        environment = settings.blanked_environment() | {"PATH": path}
        vault = run.logins.get("vault_password_file")
        run_as_root(program, run_dir, ",".join(run.nodes), [run.inventory], vault, environment, run.forks)


def keep_result(run: Run, batch: Batch, data_dir: Path) -> Path | None:
    """Keep the result of a run in a file until the database is back.

    Args:
        run: The run, with its owner.
        batch: What the database did not take; secrets are masked in it already.
        data_dir: The first place to try.

    Returns:
        The file; None when no place takes it.
    """
    content = json.dumps({"run": run.key, "owner": run.owner_id, **batch._asdict()})
    for directory in _directories(data_dir):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=directory, prefix=".")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            return Path(name).replace(directory / f"{run.key}.json")
        except OSError as exc:
            log.warning("the result can not be kept here", directory=str(directory), error=str(exc))
    return None


def record_kept_results(store: Store, data_dir: Path) -> None:
    """Record the results that were kept while the database was away."""
    for directory in _directories(data_dir):
        for path in sorted(directory.glob("*.json")) if directory.is_dir() else ():
            if path.stat().st_uid == os.geteuid() and _record_kept(store, path):
                path.unlink(missing_ok=True)


def _record_kept(store: Store, path: Path) -> bool:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        run = replace(store.carried(kept["run"]), owner_id=kept["owner"])
        store.record_late(run, kept["changes"], kept["lines"], kept.get("report"), **kept["values"])
    except NotFoundError:
        # it waits for another database
        return False
    except (RunLostError, ValueError, KeyError) as exc:
        log.warning("a kept result belongs to no run that waits for it", file=str(path), error=str(exc))
        path.rename(path.with_suffix(".unusable"))
        return False
    except (StoreError, OSError) as exc:
        log.warning("a kept result can not be recorded yet", file=str(path), error=str(exc))
        return False
    log.warning("the result of a run was recorded late", run=run.id, status=kept["values"].get("status"))
    return True


def _directories(data_dir: Path) -> tuple[Path, Path]:
    """Return where results are kept: a full disk of the one may leave room on the other."""
    return data_dir / "unrecorded", Path("/var/tmp") / f"slurmscale-unrecorded-{os.geteuid()}"  # noqa: S108 - made private
