"""What is counted for ever, and what stands at the moment: figures for those who watch over many runs.

Counters change in the transaction that ends a node or a run, whichever process it is of. They outlive restarts and
deleted runs, and are the same whoever reads them.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, select, text

from slurmscale.states import ACTIVE, RUN_ACTIVE, SUCCEEDED, RunStatus, TaskStatus
from slurmscale.store.tables import audit, clusters, counters, is_silent_since, runs, tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

    from slurmscale.models import Run
    from slurmscale.store.engine import Database

DURATIONS = (10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
"""Upper ends of the ranges in which the durations of nodes are counted, in seconds."""
CONTACTS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0)
"""Likewise of the first contacts with hosts; the last one is about the time after which Ansible gives up to connect."""
MORE = "+Inf"

_ADD = text(
    "INSERT INTO counters (name, cluster, operation, detail, value)"
    " VALUES (:name, :cluster, :operation, :detail, :value)"
    " ON CONFLICT (name, cluster, operation, detail) DO UPDATE SET value = counters.value + excluded.value"
)


class CounterName(StrEnum):
    """What is counted."""

    NODES_DONE = "nodes_done"
    NODES_FAILED = "nodes_failed"
    NODE_SECONDS = "node_seconds"
    """How long nodes took, all together."""
    NODE_DURATION = "node_duration"
    """Nodes by how long they took; the detail is the upper end of the range."""
    CONTACT_SECONDS = "contact_seconds"
    """How long the first contacts with hosts took, all together."""
    CONTACT_DURATION = "contact_duration"
    """First contacts by how long they took; the detail is the upper end of the range."""
    RUNS = "runs"
    """Runs that have ended; the detail is how."""


class CounterKey(NamedTuple):
    """What a counter counts."""

    name: CounterName
    cluster: str
    operation: str
    detail: str = ""


class Group(NamedTuple):
    """A cluster and an operation."""

    cluster: str
    operation: str


@dataclass(frozen=True, slots=True)
class Gauges:
    """How things stand.

    Attributes:
        clusters: The known clusters, and those with active runs.
        active: Nodes that are worked on or wait, by cluster and operation.
        stalled: Those of them without recent activity.
        waiting: Runs that no process has taken up yet.
        waiting_seconds: How long the oldest of them has waited.
        failed_logins: All there have been.
        external: The health of the external clusters: healthy, unhealthy, or empty when nobody looked.
    """

    clusters: frozenset[str]
    active: dict[Group, int]
    stalled: dict[Group, int]
    waiting: int
    waiting_seconds: float
    failed_logins: int
    external: dict[str, str]


# -- counting, inside the transaction that ends something


def count_ended_tasks(connection: Connection, run: Run, changes: Iterable[Mapping[str, Any]]) -> None:
    """Count the nodes that a batch is about to end.

    Args:
        connection: A transaction in which the run is locked, and its tasks are not written yet.
        run: The run.
        changes: Rows of tasks as they will be, each with its id in `b_id`.
    """
    ended = {change["b_id"]: change for change in changes if change["status"] not in ACTIVE}
    if not ended or not _is_counted(run):
        return
    still = select(tasks.c.id).where(tasks.c.id.in_(ended), tasks.c.status.in_(ACTIVE))
    now = [ended[number] for number in connection.scalars(still)]
    _add(connection, run, [(row["status"], row["started_at"], row["completed_at"]) for row in now])


def count_unfinished_tasks(connection: Connection, run: Run, which: Iterable[ColumnElement[bool]], now: float) -> None:
    """Count the nodes of a run that are about to fail because it is ended from outside.

    Args:
        connection: A transaction in which the run is locked.
        run: The run.
        which: The condition for their tasks.
        now: Seconds since the epoch.
    """
    if not _is_counted(run):
        return
    unfinished = select(tasks.c.started_at).where(*which)
    _add(connection, run, [(TaskStatus.FAILED, started, now) for started in connection.scalars(unfinished)])


def count_ended_run(connection: Connection, run: Run, status: RunStatus) -> None:
    """Count a run that ends."""
    key = CounterKey(CounterName.RUNS, run.cluster, run.operation.value, status.value)
    connection.execute(_ADD, [{**key._asdict(), "value": 1.0}])


def count_contacts(database: Database, run: Run, contacts: Iterable[float]) -> None:
    """Count the first contacts of a run with its hosts, in a transaction of its own.

    Args:
        database: The database.
        run: The run.
        contacts: How many seconds each took.
    """
    added: Counter[CounterKey] = Counter()
    for seconds in contacts:
        added[CounterKey(CounterName.CONTACT_DURATION, run.cluster, "", _range(CONTACTS, seconds))] += 1
        added[CounterKey(CounterName.CONTACT_SECONDS, run.cluster, "")] += seconds  # type: ignore[assignment] # a float
    if added:
        with database.explained("write"), database.begin() as connection:
            _write(connection, added)


def _range(ends: Iterable[float], seconds: float) -> str:
    return next((f"{end:g}" for end in ends if seconds <= end), MORE)


def _is_counted(run: Run) -> bool:
    # one that only looks fails when a node is not ready, which is what it is for
    return run.operation.definition.changes_nodes and not run.check


def _add(connection: Connection, run: Run, ended: Sequence[tuple[str, float | None, float | None]]) -> None:
    added: Counter[CounterKey] = Counter()
    cluster, operation = run.cluster, run.operation.value
    for status, started, completed in ended:
        name = CounterName.NODES_DONE if status in SUCCEEDED else CounterName.NODES_FAILED
        added[CounterKey(name, cluster, operation)] += 1
        if started is not None and completed is not None:
            seconds = max(0.0, completed - started)
            detail = _range(DURATIONS, seconds)
            added[CounterKey(CounterName.NODE_DURATION, cluster, operation, detail)] += 1
            added[CounterKey(CounterName.NODE_SECONDS, cluster, operation)] += seconds  # type: ignore[assignment] # a float
    if added:
        _write(connection, added)


def _write(connection: Connection, added: Mapping[CounterKey, float]) -> None:
    # in one order, so that two runs that end nodes at the same moment never wait for each other
    connection.execute(_ADD, [{**key._asdict(), "value": float(added[key])} for key in sorted(added)])


# -- reading


def read_counters(database: Database) -> dict[CounterKey, float]:
    """Return all counters."""
    with database.explained("read"), database.engine.connect() as connection:
        rows = connection.execute(select(counters)).all()
    return {CounterKey(CounterName(row.name), row.cluster, row.operation, row.detail): row.value for row in rows}


def read_gauges(database: Database, stalled_after: float) -> Gauges:
    """Return how things stand.

    Args:
        database: The database.
        stalled_after: Seconds without recent activity after which a node counts as stalled.
    """
    now = time.time()
    at_work = select(runs.c.cluster, runs.c.operation, func.sum(runs.c.active)).where(runs.c.status.in_(RUN_ACTIVE))
    silent = (
        select(runs.c.cluster, runs.c.operation, func.count())
        .select_from(tasks.join(runs, tasks.c.run_id == runs.c.id))
        .where(is_silent_since(now - stalled_after))
    )
    waiting = select(func.count(), func.min(runs.c.created_at)).where(runs.c.status == RunStatus.PENDING)
    failed = select(func.count()).where(audit.c.action == "login", audit.c.status == "failed")
    external = select(clusters.c.name, clusters.c.health).where(clusters.c.cluster_type == "external")
    by_group = (runs.c.cluster, runs.c.operation)
    with database.explained("read"), database.engine.connect() as connection:
        active = {Group(*row[:2]): int(row[2]) for row in connection.execute(at_work.group_by(*by_group))}
        stalled = {Group(*row[:2]): int(row[2]) for row in connection.execute(silent.group_by(*by_group))}
        known = frozenset(connection.scalars(select(clusters.c.name))) | {group.cluster for group in active}
        count, oldest = connection.execute(waiting).one()
        health = {row.name: row.health for row in connection.execute(external)}
        failures = connection.execute(failed).scalar() or 0
    seconds = max(0.0, now - oldest) if oldest is not None else 0.0
    return Gauges(known, active, stalled, count, seconds, failures, health)
