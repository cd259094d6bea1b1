"""The tables, the records made of their rows, and the rows made of records: field by field, under the same name.

Times are seconds since the epoch: the same in every database, and fast to read.
`runs` carries the counts of its tasks, written in the same transaction as the tasks themselves: the scaling status
reads a handful of runs instead of counting a million tasks. Each batch that is written raises the run's `revision`, and
the tasks it changes carry the new one: what changed since a revision is one query. `claims` is what keeps two runs off
the same node.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    text,
)

from slurmscale.models import Cluster, Counts, Credentials, Failure, LogLine, Run, SlurmJob, Task, TaskChange
from slurmscale.operations import Operation
from slurmscale.states import RunStatus, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import ColumnElement, RowMapping

metadata = MetaData()

BigId = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only for INTEGER."""

ACTIVE_SQL = "status IN ('pending', 'running', 'in_progress', 'processing')"
FAILED_SQL = "status IN ('failed', 'error')"
"""Literal, because a partial index is only used by a query with the same condition."""

NOBODY: dict[str, Any] = {"owner_id": "", "owner_machine": "", "owner_pid": 0, "owner_ticks": 0}
"""The owner of a run, or of a shard, that waits for any process."""


def _owner_columns() -> list[Column[Any]]:
    """Return the columns of what one process carries: who it is, its Ansible, and until when it holds it."""
    return [
        Column("owner_id", String(64), nullable=False),
        Column("owner_host", String(255), nullable=False),
        Column("owner_machine", String(128), nullable=False),
        Column("owner_pid", Integer, nullable=False),
        Column("owner_ticks", BigInteger, nullable=False),
        Column("ansible_pid", Integer),
        Column("ansible_ticks", BigInteger),
        Column("lease_until", Float),
        Column("run_dir", Text),
    ]


clusters = Table(
    "clusters",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("inventory", Text),
    Column("controller", String(255)),
    Column("apphub_urls", JSON, nullable=False),
    Column("variables", JSON, nullable=False),
    Column("hosts", JSON),
    Column("login", JSON, nullable=False),
    Column("cluster_type", String(16), nullable=False),
    Column("config", JSON, nullable=False),
    Column("host_keys", JSON, nullable=False),
    Column("health", String(16), nullable=False),
    Column("seen_at", Float),
    Column("info", JSON),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
)

credentials = Table(
    "credentials",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("cluster", String(255), ForeignKey("clusters.name", ondelete="CASCADE"), nullable=False),
    Column("user", String(64)),
    Column("kind", String(64), nullable=False),
    Column("sealed", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("for_cluster", Boolean, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index(
        "ix_credentials_for_cluster",
        "cluster",
        unique=True,
        sqlite_where=text("for_cluster"),
        postgresql_where=text("for_cluster"),
    ),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("cluster", String(255), nullable=False),
    Column("operation", String(64), nullable=False),
    Column("status", String(32), nullable=False),
    Column("total", Integer, nullable=False),
    Column("active", Integer, nullable=False),
    Column("success", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("active_progress", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("completed_at", Float),
    Column("updated_at", Float, nullable=False),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("error_remedy", Text),
    Column("inventory", Text),
    Column("forks", Integer, nullable=False),
    Column("check_mode", Boolean, nullable=False),
    Column("variables", JSON, nullable=False),
    Column("secret_names", JSON, nullable=False),
    Column("logins", JSON, nullable=False),
    Column("retry_of", String(64)),
    *_owner_columns(),
    Column("cancel_requested", Boolean, nullable=False),
    # SQLite reads all pages of a long text to find what stands behind it: what a status counts stands before
    Column("nodes", Text, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    Column("queued", Boolean, nullable=False, server_default=false()),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("worker", String(255)),
    Column("requested_by", String(255)),
    Column("request", JSON, nullable=False, server_default="{}"),
    Column("explanation", Text),
    Column("warnings", JSON, nullable=False, server_default="[]"),
    Column("committed", Boolean, nullable=False, server_default=false()),
    Column("remaining", Integer),
    Index("ix_runs_created_at", "created_at"),
    Index("ix_runs_status", "status"),
)

run_shards = Table(
    "run_shards",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("stage", String(32), nullable=False),
    Column("status", String(32), nullable=False),
    Column("nodes", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("worker", String(255)),
    Column("explanation", Text),
    *_owner_columns(),
    Column("report", JSON(none_as_null=True)),
    Column("remaining", Integer),
    Index("ix_run_shards_status", "status"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("task_id", String(320), nullable=False),
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("node", String(255), nullable=False),
    Column("task_type", String(64), nullable=False),
    Column("status", String(32), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("phase", String(32), nullable=False),
    Column("step", Text, nullable=False),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("error_remedy", Text),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("started_at", Float),
    Column("completed_at", Float),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    Index("ix_tasks_run_node", "run_id", "node", unique=True),
    Index("ix_tasks_run_revision", "run_id", "revision"),
    Index("ix_tasks_node", "node"),
    Index("ix_tasks_active", "updated_at", sqlite_where=text(ACTIVE_SQL), postgresql_where=text(ACTIVE_SQL)),
    Index("ix_tasks_failed", "run_id", sqlite_where=text(FAILED_SQL), postgresql_where=text(FAILED_SQL)),
)

claims = Table(
    "claims",
    metadata,
    Column("claim", String(512), primary_key=True),
    Column("node", String(255), nullable=False),
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Index("ix_claims_run", "run_id"),
)

log_lines = Table(
    "log_lines",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("node", String(255)),
    Column("counter", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("event", String(64), nullable=False),
    Column("task", Text, nullable=False),
    Column("text", Text, nullable=False),
    Index("ix_log_lines_run_node", "run_id", "node"),
)

run_secrets = Table(
    "run_secrets",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("report", JSON, nullable=False),
)

timings = Table(
    "timings",
    metadata,
    Column("kind", String(128), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("key", String(512), primary_key=True),
    Column("seconds", Float, nullable=False),
    Column("share", Float, nullable=False),
    Column("created_at", Float, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("cluster", String(255), nullable=False),
    Column("job_id", String(64), nullable=False),
    Column("inventory", Text),
    Column("name", Text, nullable=False),
    Column("user", String(255), nullable=False),
    Column("partition", Text, nullable=False),
    Column("state", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("exit_code", String(32), nullable=False),
    Column("nodes", Text, nullable=False),
    Column("batch_host", String(255), nullable=False),
    Column("output", Text, nullable=False),
    Column("lost", Boolean, nullable=False),
    Column("submitted_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("asked_at", Float, nullable=False),
    Index("ix_jobs_submitted_at", "submitted_at"),
    Index("ix_jobs_cluster_job", "cluster", "job_id"),
)

users = Table(
    "users",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(32), nullable=False),
    Column("clusters", JSON(none_as_null=True)),
    Column("password_hash", Text),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("user_id", String(32), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(255), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("permissions", JSON(none_as_null=True)),
    Column("clusters", JSON(none_as_null=True)),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("last_used_at", Float),
    Index("ix_tokens_user", "user_id"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("timestamp", Float, nullable=False),
    Column("user_id", String(64)),
    Column("user_name", String(255)),
    Column("token_id", String(32)),
    Column("source", String(255), nullable=False),
    Column("action", String(64), nullable=False),
    Column("resource", String(512), nullable=False),
    Column("cluster", String(255)),
    Column("nodes", Text),
    Column("status", String(16), nullable=False),
    Column("run_id", String(64)),
    Column("request_id", String(64)),
    Column("details", JSON, nullable=False),
    Column("mac", String(64), nullable=False),
    Index("ix_audit_timestamp", "timestamp"),
    Index("ix_audit_action", "action", "timestamp"),
)

unaudited_ends = Table(
    "unaudited_ends",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("user_id", String(32), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("answer", Text),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", JSON, nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("webhook_id", String(32), ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event", String(64), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("body", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("answered_at", Float),
    Column("answer", Integer),
    Column("error", Text),
    UniqueConstraint("webhook_id", "event", "subject", name="uq_webhook_deliveries_subject"),
    Index("ix_webhook_deliveries_due", "status", "next_at"),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("cluster", String(255), primary_key=True),
    Column("operation", String(64), primary_key=True),
    Column("detail", String(32), primary_key=True),
    Column("value", Float, nullable=False),
)

COUNTS = tuple(Counts.__dataclass_fields__)
"""Columns of runs that hold the counts of its tasks."""


def _fields(
    record: Cluster | Counts | LogLine | Run | SlurmJob | TaskChange, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__ if name not in leave_out}


@lru_cache(maxsize=16)
def _names(lines: str) -> tuple[str, ...]:
    """Return the names of nodes, a line each; those of the runs that a status shows are read again and again."""
    # not as JSON, of which ten thousand names take longer to read than all else of a status
    return tuple(lines.split("\n"))


def run_of_row(row: RowMapping | Mapping[Any, Any]) -> Run:
    """Make a run of its row."""
    values = dict(row)
    counts = Counts(**{name: values.pop(name) for name in COUNTS})
    return Run(
        **values
        | {
            "counts": counts,
            "operation": Operation(values["operation"]),
            "status": RunStatus(values["status"]),
            "nodes": _names(values["nodes"]),
            "secret_names": tuple(values["secret_names"]),
            "warnings": tuple(values["warnings"]),
            "check": values.pop("check_mode"),
        }
    )


def changed_run(run: Run, revision: int, values: Mapping[str, Any]) -> Run:
    """Return a run after some of its columns were written."""
    values = dict(values)
    counts = {name: values.pop(name) for name in COUNTS if name in values}
    if "status" in values:
        values["status"] = RunStatus(values["status"])
    if "warnings" in values:
        values["warnings"] = tuple(values["warnings"])
    return replace(run, **values, revision=revision, counts=replace(run.counts, **counts))


def changed_task(task: Task, revision: int, values: Mapping[str, Any]) -> Task:
    """Return a task after some of its columns were written."""
    return replace(task, **{**values, "status": TaskStatus(values["status"]), "revision": revision})


def row_of_run(run: Run) -> dict[str, Any]:
    """Make the row of a run."""
    return _fields(run, leave_out={"counts", "check", "claims", "shard"}) | row_of_counts(run.counts) | {
        "nodes": "\n".join(run.nodes),
        "secret_names": list(run.secret_names),
        "warnings": list(run.warnings),
        "check_mode": run.check,
        "updated_at": run.updated_at or run.created_at,
    }  # fmt: skip


def row_of_counts(counts: Counts) -> dict[str, Any]:
    """Make the columns of a run that hold the counts of its tasks."""
    return _fields(counts)


def error_columns(error: Failure | None) -> dict[str, Any]:
    """Return the columns of runs and tasks that hold an error."""
    code, reason, remedy = error or (None, None, None)
    return {"error_code": code, "error_message": reason, "error_remedy": remedy}


def task_of_row(row: RowMapping) -> Task:
    """Make a task of its row."""
    return Task(**dict(row) | {"status": TaskStatus(row["status"])})


def row_of_change(change: TaskChange) -> dict[str, Any]:
    """Make the columns of a task that change while the run works on its node."""
    return _fields(change, leave_out={"node", "error"}) | error_columns(change.error)


def row_of_task(run: Run, change: TaskChange) -> dict[str, Any]:
    """Make the row of a run's task; the database numbers it."""
    return row_of_change(change) | {
        "task_id": f"{run.id}:{change.node}",
        "run_id": run.id,
        "node": change.node,
        "task_type": run.operation.task_type,
        "created_at": run.created_at,
    }


CHANGING_COLUMNS = tuple(row_of_change(TaskChange("")))
"""Columns of tasks that change while a run is in progress."""


def is_failed() -> ColumnElement[bool]:
    """Return the condition for failed tasks, which the index on failed tasks finds."""
    return and_(text(f"tasks.{FAILED_SQL}"))


def is_silent_since(moment: float) -> ColumnElement[bool]:
    """Return the condition for tasks in progress without activity since then, which the index on active tasks finds."""
    return and_(text(f"tasks.{ACTIVE_SQL}"), tasks.c.status != TaskStatus.PENDING, tasks.c.updated_at < moment)


def log_line_of_row(row: RowMapping) -> LogLine:
    """Make a log line of its row."""
    return LogLine(**{name: value for name, value in row.items() if name != "run_id"})


def row_of_log_line(line: LogLine, run_id: str) -> dict[str, Any]:
    """Make the row of a log line of a run; the database numbers it."""
    return _fields(line, leave_out={"id"}) | {"run_id": run_id}


def cluster_of_row(row: RowMapping) -> Cluster:
    """Make a cluster of its row."""
    values = {name: value for name, value in row.items() if name not in {"updated_at", "login"}}
    lists = {name: tuple(row[name]) for name in ("apphub_urls", "host_keys")}
    return Cluster(**values | lists | {"credentials": Credentials(**row["login"])})


def row_of_cluster(cluster: Cluster) -> dict[str, Any]:
    """Make the columns of a cluster, but for its name, what is secret, and when it was added."""
    row = _fields(cluster, leave_out={"name", "credentials", "created_at"})
    lists = {name: list(row[name]) for name in ("apphub_urls", "host_keys")}
    login = {name: getattr(cluster.credentials, name) for name in ("user", "port", "private_key_file")}
    return row | lists | {"login": login}


def job_of_row(row: RowMapping) -> SlurmJob:
    """Make a job of its row."""
    return SlurmJob(**dict(row))


def row_of_job(job: SlurmJob) -> dict[str, Any]:
    """Make the row of a job."""
    return _fields(job)
