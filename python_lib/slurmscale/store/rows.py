"""Between database rows and records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurmscale.models import Cluster, Counts, LogLine, Run, Task
from slurmscale.states import Operation, RunStatus, TaskStatus

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

_COUNTS = ("total", "active", "success", "failed", "active_progress")


def as_run(row: RowMapping) -> Run:
    """Make a run of its row."""
    values = dict(row)
    counts = Counts(**{name: values.pop(name) for name in _COUNTS})
    return Run(
        **values
        | {
            "counts": counts,
            "operation": Operation(values["operation"]),
            "status": RunStatus(values["status"]),
            # a line each: ten thousand names as JSON take longer to read than all else of a status
            "nodes": tuple(values["nodes"].split("\n")),
            "secret_names": tuple(values["secret_names"]),
            "check": values.pop("check_mode"),
        }
    )


def run_row(run: Run) -> dict[str, Any]:
    """Make the row of a run."""
    row = {name: getattr(run, name) for name in Run.__dataclass_fields__ if name not in ("counts", "check")}
    return row | {name: getattr(run.counts, name) for name in _COUNTS} | {
        "nodes": "\n".join(run.nodes),
        "secret_names": list(run.secret_names),
        "check_mode": run.check,
        "updated_at": run.updated_at or run.created_at,
    }  # fmt: skip


def as_task(row: RowMapping) -> Task:
    """Make a task of its row."""
    return Task(**dict(row) | {"status": TaskStatus(row["status"])})


def as_log_line(row: RowMapping) -> LogLine:
    """Make a log line of its row."""
    return LogLine(**{name: value for name, value in row.items() if name != "run_id"})


def as_cluster(row: RowMapping) -> Cluster:
    """Make a cluster of its row."""
    return Cluster(
        name=row["name"],
        inventory=row["inventory"],
        controller=row["controller"],
        apphub_urls=tuple(row["apphub_urls"]),
        variables=dict(row["variables"]),
        created_at=row["created_at"],
    )
