"""Shards: the parts of a large run, each carried by one worker under a lease of its own.

All of this happens inside a transaction that holds the row of the run. So of all that end shards, one sees that a
stage is over, and makes the shards of the next one or ends the run.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, func, insert, select, update

from slurmscale.models import Shard
from slurmscale.states import ACTIVE, RUN_ACTIVE, RunStatus
from slurmscale.store.tables import NOBODY, run_shards, runs, tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, RowMapping

    from slurmscale.models import Run
    from slurmscale.operations import Stage

OWN_COLUMNS = frozenset(run_shards.c.keys()) & frozenset(runs.c.keys())
"""What a shard has in the place of its run."""


def is_shared(run: Run, size: int) -> bool:
    """Say whether workers share a run, by the largest number of nodes that one of them takes."""
    stages = run.operation.definition.stages
    return bool(stages) and run.queued and not run.owner_id and not run.check and len(run.nodes) > size


def has_shards() -> ColumnElement[bool]:
    """Return the condition for runs that are shared."""
    return exists().where(run_shards.c.run_id == runs.c.id)


def key_of(run_id: str, number: int) -> str:
    """Return what a worker takes a shard by; see `Run.key`."""
    return f"{run_id}.{number}"


def split_key(key: str) -> tuple[str, int | None]:
    """Return the run and the number of a shard; None for a run itself."""
    run_id, point, number = key.partition(".")
    return run_id, int(number) if point and number.isdecimal() else None


def shard_of_row(run: Run, row: RowMapping) -> Run:
    """Make a shard of its row, and of the run that it is part of."""
    stage = next(stage for stage in run.operation.definition.stages if stage.name == row["stage"])
    own: dict[str, Any] = {name: row[name] for name in OWN_COLUMNS}
    own |= {"status": RunStatus(row["status"]), "nodes": tuple(row["nodes"].split("\n"))}
    return dataclasses.replace(run, **own, shard=Shard(row["number"], stage))


def of(run: Run) -> ColumnElement[bool]:
    """Return the condition for the row of a shard, in the hands of the owner that it was read with."""
    number = run.shard.number if run.shard else None
    return and_(run_shards.c.run_id == run.id, run_shards.c.number == number, run_shards.c.owner_id == run.owner_id)


def add_stage(connection: Connection, run: Run, stage: Stage, nodes: Sequence[str], size: int) -> list[str]:
    """Make the shards of a stage, as equal in size as may be.

    Args:
        connection: The transaction.
        run: The run.
        stage: The stage.
        nodes: The nodes that it works on.
        size: Nodes of one shard at most.

    Returns:
        Their keys.
    """
    count = 1 if stage.together else math.ceil(len(nodes) / size)
    highest = select(func.coalesce(func.max(run_shards.c.number), 0)).where(run_shards.c.run_id == run.id)
    first = connection.execute(highest).scalar_one() + 1
    rows = [
        {
            "run_id": run.id,
            "number": first + part,
            "stage": stage.name,
            "status": RunStatus.PENDING,
            "nodes": "\n".join(nodes[part * len(nodes) // count : (part + 1) * len(nodes) // count]),
            "attempt": 0,
            "owner_host": "",
            **NOBODY,
        }
        for part in range(count)
    ]
    connection.execute(insert(run_shards), rows)
    return [key_of(run.id, row["number"]) for row in rows]


def end_waiting(connection: Connection, run_id: str, status: RunStatus) -> None:
    """End the shards of a run that have not ended."""
    left = (run_shards.c.run_id == run_id, run_shards.c.status.in_(RUN_ACTIVE))
    connection.execute(update(run_shards).where(*left).values(status=status))


def statuses(connection: Connection, run_id: str) -> set[RunStatus]:
    """Return how the shards of a run stand; empty when it has none."""
    found = select(run_shards.c.status).where(run_shards.c.run_id == run_id).distinct()
    return {RunStatus(status) for status in connection.scalars(found)}


def next_stage(connection: Connection, run: Run) -> Stage | None:
    """Return the stage that follows the last one that was begun; None when there is none."""
    begun = set(connection.scalars(select(run_shards.c.stage).where(run_shards.c.run_id == run.id).distinct()))
    return next((stage for stage in run.operation.definition.stages if stage.name not in begun), None)


def write_remaining(connection: Connection, run_id: str) -> None:
    """Write how many seconds are left of a run: of its slowest shard, when all of them are at work and know it."""
    left = (run_shards.c.run_id == run_id, run_shards.c.status.in_(RUN_ACTIVE))
    found = list(connection.scalars(select(run_shards.c.remaining).where(*left)))
    slowest = max(found) if found and None not in found else None
    connection.execute(update(runs).where(runs.c.id == run_id).values(remaining=slowest))


def unfinished_nodes(connection: Connection, run_id: str) -> list[str]:
    """Return the nodes of a run that have neither succeeded nor failed, in their order."""
    left = select(tasks.c.node).where(tasks.c.run_id == run_id, tasks.c.status.in_(ACTIVE)).order_by(tasks.c.id)
    return list(connection.scalars(left))


def prepared_nodes(connection: Connection, run_id: str, nodes: Iterable[str]) -> dict[str, Any]:
    """Return what the shards of a run reported of some of its nodes, in the key `prepared` of their reports."""
    found: dict[str, Any] = {}
    for report in connection.scalars(
        select(run_shards.c.report).where(run_shards.c.run_id == run_id, run_shards.c.report.is_not(None))
    ):
        found |= report.get("prepared") or {}
    return {node: found[node] for node in nodes if node in found}


def row_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those columns of a run that a shard has, too."""
    return {name: value for name, value in values.items() if name in OWN_COLUMNS}
