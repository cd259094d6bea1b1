"""The documents of runs, tasks, logs and clusters that --json prints and the service answers, each with a schema.

`slurmscale schema NAME` prints the schema. Times are ISO 8601 with zone.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, TypeAdapter, WithJsonSchema

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
from slurmscale.scaling_status import ScalingStatus

if TYPE_CHECKING:
    from typing import Self

    from slurmscale.errors import SlurmscaleError


Moment = Annotated[
    datetime,
    BeforeValidator(lambda found: when(found) if isinstance(found, int | float) else found),
    PlainSerializer(datetime.isoformat, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time, written as everywhere else; made of the seconds since the epoch that records hold, too."""


class Document(BaseModel):
    """What all documents have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True, use_attribute_docstrings=True)

    @classmethod
    def of_record(cls, record: Any, **other: Any) -> Self:
        """Make it of a record: of its attributes with the names of the fields, but for those that are given."""
        return cls(**{name: getattr(record, name) for name in cls.model_fields if name not in other}, **other)

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


class RunFields(Document):
    """What each document of a run holds, under the names of its record."""

    id: str
    status: str
    """pending, running, completed, failed, cancelled or interrupted."""
    cluster: str
    nodes: list[str]
    progress: int
    """Whole percent."""
    created_at: Moment | None
    started_at: Moment | None
    completed_at: Moment | None
    retry_of: str | None
    """The run that this one repeats."""
    error: Error | None
    warnings: list[str]
    """What was warned of, each as a sentence; nothing failed of it."""


class RunDocument(RunFields):
    """A run."""

    type: str
    """The operation, e.g. scale-up."""
    success_nodes: int
    failed_nodes: int
    error_message: str | None
    """The reason of the error."""

    @classmethod
    def of_run(cls, run: Run, **other: Any) -> Self:
        """Make it of a record."""
        counts = run.counts
        return cls.of_record(
            run, progress=counts.progress, type=run.operation, success_nodes=counts.success,
            failed_nodes=counts.failed, **other,
        )  # fmt: skip


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
        return cls.of_record(task)


class ResultDocument(RunDocument):
    """A run that has ended, with its tasks and the report of its playbook."""

    tasks: list[TaskDocument]
    report: dict[str, Any] | None
    """What the playbook reports of itself: of check, repair-*, and check-apphub."""

    @classmethod
    def of(cls, run: Run, tasks: list[Task], report: dict[str, Any] | None) -> ResultDocument:
        """Make it of records."""
        return cls.of_run(run, tasks=[TaskDocument.of(task) for task in tasks], report=report)


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
        return cls.of_record(line)


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
    def of(cls, cluster: Cluster, **other: Any) -> Self:
        """Make it of a record."""
        login = {name: getattr(cluster.credentials, name) for name in ("user", "port", "private_key_file")}
        return cls.of_record(cluster, login=login, **other)


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
        return cls.of(cluster, recent_runs=recent)


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
        return cls.of_record(found)


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
        return cls.of_record(change)


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
        return cls.of_record(job, submitted_at=job.submitted_at or None, seen_at=job.seen_at or None)


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
        return cls.of_record(output, job=JobDocument.of(output.job))


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
