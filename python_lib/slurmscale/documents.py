"""The documents of runs, tasks, logs and clusters that --json prints and the service answers, each with a schema.

`slurmscale schema NAME` prints the schema. Times are ISO 8601 with zone.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, TypeAdapter, WithJsonSchema

from slurmscale.models import (
    Cluster,
    Discovery,
    Failure,
    JobOutput,
    LogLine,
    Notice,
    Run,
    SlurmJob,
    Task,
    TaskChange,
    when,
)
from slurmscale.report import ScalingStatus

if TYPE_CHECKING:
    from slurmscale.errors import SlurmscaleError


Moment = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time, written as everywhere else."""


class Document(BaseModel):
    """What all documents have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def as_json(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return self.model_dump(mode="json")


class Error(Document):
    """Why something failed or was refused."""

    code: str
    """For programs; docs/reference/reasons.md lists all codes."""
    reason: str
    """What is needed and what was found."""
    remedy: str
    """What to do; empty when the reason says it."""

    @classmethod
    def of(cls, failure: Failure | SlurmscaleError | None) -> Error | None:
        """Make it of a failure."""
        return cls(**failure.as_dict()) if failure else None


class Refusal(Document):
    """What a command prints that could not do what was asked."""

    error: Error


class RunDocument(Document):
    """A run."""

    id: str
    type: str
    """The operation, e.g. scale-up."""
    status: str
    """pending, running, completed, failed, cancelled or interrupted."""
    cluster: str
    nodes: list[str]
    success_nodes: int
    failed_nodes: int
    progress: int
    """Whole percent."""
    created_at: Moment | None
    started_at: Moment | None
    completed_at: Moment | None
    retry_of: str | None
    """The run that this one repeats."""
    error: Error | None
    error_message: str | None
    """The reason of the error."""
    warnings: list[str]
    """What was warned of, each as a sentence; nothing failed of it."""

    @classmethod
    def fields_of(cls, run: Run) -> dict[str, Any]:
        """Return its fields, made of a record."""
        counts = run.counts
        return {
            "id": run.id,
            "type": run.operation.value,
            "status": run.status.value,
            "cluster": run.cluster,
            "nodes": list(run.nodes),
            "success_nodes": counts.success,
            "failed_nodes": counts.failed,
            "progress": counts.progress,
            "created_at": when(run.created_at),
            "started_at": when(run.started_at),
            "completed_at": when(run.completed_at),
            "retry_of": run.retry_of,
            "error": Error.of(run.error),
            "error_message": run.error_message,
            "warnings": list(run.warnings),
        }

    @classmethod
    def of_run(cls, run: Run) -> RunDocument:
        """Make it of a record."""
        return RunDocument(**cls.fields_of(run))


class TaskDocument(Document):
    """One node in one run."""

    id: int
    task_id: str
    run_id: str
    node: str
    task_type: str
    status: str
    """pending, running, completed or failed; other programs may write further ones."""
    progress: int
    """Whole percent; 100 only when the node is done."""
    phase: str
    """What the run does with the node, such as checking or packages; empty before it begins and when it is done."""
    step: str
    """What is or was done last."""
    error: Error | None
    error_code: str | None
    error_message: str | None
    error_remedy: str | None
    created_at: Moment | None
    updated_at: Moment | None
    started_at: Moment | None
    completed_at: Moment | None

    @classmethod
    def of(cls, task: Task) -> TaskDocument:
        """Make it of a record."""
        times = ("created_at", "updated_at", "started_at", "completed_at")
        values = {name: getattr(task, name) for name in cls.model_fields}
        return cls(**values | {"error": Error.of(task.error)} | {name: when(values[name]) for name in times})


class ResultDocument(RunDocument):
    """A run that has ended, with its tasks and the report of its playbook."""

    tasks: list[TaskDocument]
    report: dict[str, Any] | None
    """What the playbook reports of itself: of check, repair-*, and check-apphub."""

    @classmethod
    def of(cls, run: Run, tasks: list[Task], report: dict[str, Any] | None) -> ResultDocument:
        """Make it of records."""
        return cls(**cls.fields_of(run), tasks=[TaskDocument.of(task) for task in tasks], report=report)


class LineDocument(Document):
    """One entry of a log: what one Ansible task printed."""

    id: int
    node: str | None
    """None for what belongs to no node, such as the controller's part."""
    counter: int
    created_at: Moment | None
    event: str
    """The event of ansible-runner, e.g. runner_on_failed."""
    task: str
    text: str

    @classmethod
    def of(cls, line: LogLine) -> LineDocument:
        """Make it of a record."""
        plain = {name: getattr(line, name) for name in cls.model_fields if name != "created_at"}
        return cls(**plain, created_at=when(line.created_at))


class ClusterDocument(Document):
    """A known cluster, without what is secret."""

    name: str
    cluster_type: str
    """managed, or external for one that somebody else set up."""
    inventory: str | None
    controller: str | None
    login: dict[str, Any]
    """user, port and private_key_file, where the inventory does not say them."""
    apphub_urls: list[str]
    variables: dict[str, Any]
    config: dict[str, Any]
    """max_nodes, reuse_existing_config, reuse_existing_munge, reuse_existing_database, discovered_at and
    original_cluster_name of an external cluster."""
    health: str
    """healthy or unhealthy, as its last look told; empty when nobody looked."""
    seen_at: Moment | None
    """When it answered last."""
    created_at: Moment | None

    @classmethod
    def fields_of(cls, cluster: Cluster) -> dict[str, Any]:
        """Return its fields, made of a record."""
        names = ("name", "cluster_type", "inventory", "controller", "variables", "config", "health")
        plain = {name: getattr(cluster, name) for name in names}
        login = {name: getattr(cluster.credentials, name) for name in ("user", "port", "private_key_file")}
        times = {name: when(getattr(cluster, name)) for name in ("seen_at", "created_at")}
        return plain | times | {"login": login, "apphub_urls": list(cluster.apphub_urls)}

    @classmethod
    def of(cls, cluster: Cluster) -> ClusterDocument:
        """Make it of a record."""
        return ClusterDocument(**cls.fields_of(cluster))


class ClusterInfoDocument(ClusterDocument):
    """A known cluster with what it told of itself when it answered last, and its newest runs."""

    info: dict[str, Any] | None
    """cluster_name, version, conf_file, configless, port, slurm_user, controllers, partitions, nodes, states,
    accounting, auth and munge_key; null when nobody looked."""
    recent_runs: list[str]

    @classmethod
    def of_cluster(cls, cluster: Cluster, runs: list[Run]) -> ClusterInfoDocument:
        """Make it of records."""
        recent = [f"{run.id} {run.status.value}" for run in runs]
        return cls(**cls.fields_of(cluster), info=cluster.info, recent_runs=recent)


class DiscoveryDocument(Document):
    """What a look at a cluster found, stage by stage."""

    success: bool
    stage: str
    """The last one that was tried: resolve, tcp, hostkey, auth, sudo or slurm."""
    stages: list[dict[str, Any]]
    """Of each that was tried stage, ok, found and error."""
    fingerprint: str
    """Of the host key that is trusted, or else of the first one that the controller shows."""
    info: dict[str, Any] | None
    """What the cluster is: cluster_name, version, conf_file, configless, port, slurm_user, controllers, partitions,
    nodes, states, accounting, auth, munge_key, and os of the controller with id, version_id and pretty."""
    error: Error | None
    run_id: str | None
    """The run by which it was found, which has the log."""

    @classmethod
    def of(cls, found: Discovery) -> DiscoveryDocument:
        """Make it of what was found."""
        plain = {name: getattr(found, name) for name in ("success", "stage", "fingerprint", "info", "run_id")}
        return cls(**plain, stages=list(found.stages), error=Error.of(found.error))


class NodeChange(Document):
    """The new state of one node."""

    node: str
    status: str
    progress: int
    phase: str
    step: str
    error: Error | None

    @classmethod
    def of(cls, change: TaskChange) -> NodeChange:
        """Make it of a change."""
        return cls(
            node=change.node, status=change.status.value, progress=change.progress, phase=change.phase,
            step=change.step, error=Error.of(change.error),
        )  # fmt: skip


class EventDocument(Document):
    """One line of `--json --follow`: begin once, progress while it is in progress, end once."""

    event: str
    """begin, progress or end."""
    run_id: str
    status: str | None = None
    progress: int | None = None
    """Whole percent over all nodes."""
    remaining: float | None = None
    """Estimated seconds to the end; known from the second run of a kind on."""
    tasks: list[NodeChange] | None = None
    """Nodes that changed."""
    run: ResultDocument | None = None
    """Of end: the run as recorded."""

    @classmethod
    def of_notice(cls, notice: Notice) -> EventDocument:
        """Make it of a notice."""
        return cls(
            event="progress", run_id=notice.run_id, status=notice.status.value, progress=notice.progress,
            remaining=notice.remaining, tasks=[NodeChange.of(change) for change in notice.tasks],
        )  # fmt: skip


class JobDocument(Document):
    """A job on a cluster, as Slurm described it last."""

    id: str
    """Ours; CLUSTER:JOBID for a job that was not submitted from here."""
    cluster: str
    job_id: str
    """Slurm's."""
    name: str
    user: str
    partition: str
    state: str
    """As Slurm says it, such as PENDING or COMPLETED."""
    reason: str
    exit_code: str
    """code:signal."""
    nodes: str
    batch_host: str
    output: str
    """Path of its output, on that node."""
    ended: bool
    """Whether nothing more is to be learned of it."""
    lost: bool
    """It left the queue, and no accounting tells how it ended: the state is the last one seen."""
    note: str
    """The same as a sentence."""
    submitted_at: Moment | None
    seen_at: Moment | None
    """When Slurm described it last."""

    @classmethod
    def of(cls, job: SlurmJob) -> JobDocument:
        """Make it of a record."""
        plain = {name: getattr(job, name) for name in cls.model_fields}
        return cls(**plain | {name: when(plain[name] or None) for name in ("submitted_at", "seen_at")})


class JobOutputDocument(Document):
    """The end of what a job wrote."""

    job: JobDocument
    host: str
    """Where the file was read."""
    path: str
    text: str
    size: int
    """Size of the file in bytes; more than the text has when only its end was read."""

    @classmethod
    def of(cls, output: JobOutput) -> JobOutputDocument:
        """Make it of what was read."""
        plain = {name: getattr(output, name) for name in ("host", "path", "text", "size")}
        return cls(**plain, job=JobDocument.of(output.job))


class CheckDocument(Document):
    """One check of `slurmscale doctor`."""

    check: str
    state: str
    """ok, warning or failed."""
    code: str
    reason: str
    remedy: str


SCHEMAS: dict[str, Any] = {
    "cluster": ClusterDocument,
    "cluster-info": ClusterInfoDocument,
    "cluster-test": DiscoveryDocument,
    "clusters": list[ClusterDocument],
    "doctor": list[CheckDocument],
    "error": Refusal,
    "event": EventDocument,
    "job": JobDocument,
    "job-output": JobOutputDocument,
    "jobs": list[JobDocument],
    "log": list[LineDocument],
    "result": ResultDocument,
    "run": RunDocument,
    "runs": list[RunDocument],
    "status": ScalingStatus,
    "tasks": list[TaskDocument],
}
"""The documents by name."""


def schema(document: Any) -> dict[str, Any]:
    """Return the JSON schema of a document, or of a list of them."""
    return TypeAdapter(document).json_schema(mode="serialization")
