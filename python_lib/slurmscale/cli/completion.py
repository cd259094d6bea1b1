"""Completes ids and names on a command line from what is recorded; what is not known is left out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from slurmscale import settings
from slurmscale.errors import SlurmscaleError
from slurmscale.store.jobs import JobRecords
from slurmscale.store.logins import Logins
from slurmscale.store.repository import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECENT = 20
"""Runs that are offered when a command line is completed."""
_UNSEEN: dict[str, Any] = {"nodes": (), "partitions": ()}
"""What is known of a cluster at which nobody has looked."""


@contextlib.contextmanager
def _store() -> Iterator[Store | None]:
    try:
        store = Store(settings.load().url)
    except SlurmscaleError:
        # a command line is completed without what is not known
        yield None
        return
    try:
        yield store
    finally:
        store.close()


def cluster(incomplete: str) -> list[str]:
    """Return the known clusters that begin so."""
    with _store() as store:
        return [one.name for one in (store.clusters() if store else ()) if one.name.startswith(incomplete)]


def run(incomplete: str) -> list[tuple[str, str]]:
    """Return the newest runs that begin so, each with what it was."""
    with _store() as store:
        runs = store.runs(limit=_RECENT) if store else []
    return [(run.id, f"{run.operation.value} {run.status.value}") for run in runs if run.id.startswith(incomplete)]


def credential(incomplete: str) -> list[tuple[str, str]]:
    """Return the logins that are kept and begin so, each with what it is for."""
    with _store() as store:
        kept = [one for one in (Logins(store).all() if store else ()) if not one.for_cluster]
    return [(one.id, f"{one.cluster} {one.user or ''}".strip()) for one in kept if one.id.startswith(incomplete)]


def job(incomplete: str) -> list[tuple[str, str]]:
    """Return the newest jobs that begin so, each with what it is."""
    with _store() as store:
        jobs = JobRecords(store).newest(_RECENT) if store else []
    return [(job.id, f"{job.name} {job.state}") for job in jobs if job.id.startswith(incomplete)]


def nodes(incomplete: str) -> list[str]:
    """Return the nodes of the newest runs, and of clusters as they told them, that continue a list of nodes."""
    given, separator, last = incomplete.rpartition(",")
    with _store() as store:
        names = [node for run in store.runs(limit=_RECENT) for node in run.nodes] if store else []
        names += [node for cluster in store.clusters() for node in (cluster.info or _UNSEEN)["nodes"]] if store else []
    return [f"{given}{separator}{name}" for name in dict.fromkeys(names) if name.startswith(last)]


def partition(incomplete: str) -> list[str]:
    """Return the partitions that begin so, of all clusters that told them."""
    with _store() as store:
        known = [name for one in (store.clusters() if store else ()) for name in (one.info or _UNSEEN)["partitions"]]
    return [name for name in dict.fromkeys(known) if name.startswith(incomplete)]
