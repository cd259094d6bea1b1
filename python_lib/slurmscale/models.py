"""The records that the library hands out: frozen, typed, without behaviour beyond small derived values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from slurmscale.errors import Code
from slurmscale.states import ACTIVE, FAILED, JOB_ENDED, RUN_ACTIVE, SUCCEEDED, RunStatus, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurmscale.operations import Operation, Stage


class Failure(NamedTuple):
    """Why something failed, and what to do about it.

    Attributes:
        code: For programs; docs/reference/reasons.md lists all codes.
        reason: What is needed and what was found, as a sentence.
        remedy: What to do, as a sentence; empty when the reason says it.
    """

    code: str
    reason: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """Reason and remedy as one text."""
        return f"{self.reason} {self.remedy}".strip()

    def as_dict(self) -> dict[str, str]:
        """Return the form in which results and reports hold it."""
        return self._asdict()


def failure(code: str | None, reason: str | None, remedy: str | None) -> Failure | None:
    """Make a failure of its three columns; None where nothing failed."""
    return None if reason is None else Failure(code or "task-failed", reason, remedy or "")


CANCELLED = Failure(Code.RUN_CANCELLED, "The run was cancelled.", "Run it again to continue.")
_MOST_NAMED = 5


def nodes_failed(names: Sequence[str], total: int) -> Failure | None:
    """Say why a run as a whole ended badly, by the nodes that failed and how many there are; None when none did."""
    if not names:
        return None
    named = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    reason = f"{len(names)} of {total} nodes failed: {named}"
    return Failure(Code.NODES_FAILED, reason, "Each node has its own reason; run it again for those that failed.")


def doing(phase: str, step: str) -> str:
    """Say what a node does at the moment, as one text."""
    return ": ".join(filter(None, (phase, step)))


def when(epoch: float | None) -> datetime | None:
    """Turn seconds since the epoch, the store's form of a time, into a datetime with zone."""
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to log in to a node; what is None is left to the next wider level.

    Attributes:
        user: Login name.
        password: Login password; never written anywhere.
        private_key_file: Path of a private key that exists already.
        become_password: Password for sudo; never written anywhere.
        port: TCP port of the ssh server.
        private_key: Text of a private key without a passphrase; never written anywhere. Ansible hands it to an
            ssh-agent of the run.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key_file: str | None = None
    become_password: str | None = field(default=None, repr=False)
    port: int | None = None
    private_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node that is not in the inventory, or whose login differs from what the inventory says.

    Attributes:
        name: Name of the node in Slurm and in the inventory.
        host: Address to connect to; the name when None.
        credentials: What differs from the cluster's credentials.
    """

    name: str
    host: str | None = None
    credentials: Credentials = Credentials()


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as the store knows it; holds no secret.

    Attributes:
        name: Name given by the user, or derived from the inventory's path.
        inventory: Path of the Ansible inventory; None for a cluster described by the fields below.
        hosts: The inventory as data, `groups` and `hostvars`, so that any machine can work with it.
        controller: Address of the controller when there is no inventory.
        apphub_urls: AppHub addresses when there is no inventory.
        variables: Further Ansible variables for all hosts; secrets are refused here.
        credentials: Login for nodes that have none of their own; passwords are kept in memory only.
        cluster_type: managed, or external for one that somebody else set up.
        config: What was chosen when it was connected: `max_nodes`, the most nodes that it may have, and
            `reuse_existing_config`, `reuse_existing_munge`, `reuse_existing_database`, which are true: a cluster is
            used as it is. Also `discovered_at` and `original_cluster_name`, Slurm's own name of it, and
            `needs_password` of one that was reached with a password, which is not kept.
        host_keys: The controller's ssh keys that somebody confirmed, as lines of a known_hosts file; no others are
            accepted then.
        health: healthy or unhealthy, as its last look told; empty when nobody looked.
        seen_at: When it answered last, in seconds since the epoch.
        info: What it told then: version, controllers, partitions, nodes.
        created_at: Seconds since the epoch.
    """

    name: str
    inventory: str | None = None
    controller: str | None = None
    apphub_urls: tuple[str, ...] = ()
    hosts: dict[str, Any] | None = field(default=None, repr=False)
    variables: dict[str, Any] = field(default_factory=dict)
    credentials: Credentials = field(default=Credentials(), repr=False)
    cluster_type: str = "managed"
    config: dict[str, Any] = field(default_factory=dict)
    host_keys: tuple[str, ...] = ()
    health: str = ""
    seen_at: float | None = None
    info: dict[str, Any] | None = field(default=None, repr=False)
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a look at a cluster found.

    Attributes:
        success: Whether all stages passed.
        stage: The last one that was tried: resolve, tcp, hostkey, auth, sudo or slurm.
        stages: Of each that was tried `stage`, `ok`, `found` and `error`.
        fingerprint: Of the host key that is trusted, or else of the first one that the controller shows.
        host_keys: The keys that are trusted, as lines of a known_hosts file.
        info: What the cluster is; None unless all stages passed.
        error: Why the last stage failed.
        run_id: The run by which it was found; None when it was not recorded.
    """

    success: bool
    stage: str
    stages: tuple[dict[str, Any], ...] = ()
    fingerprint: str = ""
    host_keys: tuple[str, ...] = ()
    info: dict[str, Any] | None = None
    error: Failure | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a caller may choose for one run.

    Attributes:
        forks: Nodes worked on at the same time; the setting's default when None.
        check: Only show what would be changed.
        timeout: Seconds after which the run is cancelled; no limit when None.
        extra_vars: Ansible extra variables. Values whose name looks secret reach Ansible through memory only.
        credentials: Login for nodes whose inventory and cluster say nothing.
        vault_password: Password of Ansible Vault; reaches Ansible through memory only.
        vault_password_file: Path of a file or program that gives the vault's password.
        verbosity: Number of v's for Ansible.
        diff: Log what changes in files, without what is secret in them.
        credential: Id of a login that is kept, for the nodes that are named; what is stated of a node itself wins.
    """

    forks: int | None = None
    check: bool = False
    timeout: float | None = None
    extra_vars: dict[str, Any] = field(default_factory=dict, repr=False)
    credentials: Credentials = field(default=Credentials(), repr=False)
    vault_password: str | None = field(default=None, repr=False)
    vault_password_file: str | None = None
    verbosity: int = 0
    diff: bool = False
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How a run's tasks stand; kept with the run so that the status never has to count the tasks.

    Attributes:
        active_progress: Sum of the percents of the tasks that are active.
    """

    total: int = 0
    active: int = 0
    success: int = 0
    failed: int = 0
    active_progress: int = 0

    @property
    def progress(self) -> int:
        """The progress of all tasks in whole percent; failures count 0."""
        return (100 * self.success + self.active_progress) // self.total if self.total else 0


class Shard(NamedTuple):
    """The part of a large run that one worker carries.

    Attributes:
        number: Counted over all stages of the run.
        stage: What is done.
    """

    number: int
    stage: Stage


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one playbook over a set of nodes.

    Attributes:
        owner_id: Random; only who knows it may write into the run's records.
        owner_machine: Boot and process namespace of the owner, within which its process id means something.
        owner_ticks: When the owner's process started, in ticks since the boot; likewise `ansible_ticks`.
        lease_until: By the database's clock; the owner moves it on as long as it lives.
        logins: How to log in as far as it is not secret, to repeat the run: `nodes` by name, `run`, and in `secrets`
            what has to be given again.
        claims: The machines, one per node and in the same order; no two active runs have one in common. When empty,
            the nodes' names within the cluster. Of an operation that claims nothing, what no other run has.
        revision: One higher with each batch that is written into the run's records; what `Store.run_changes` goes by.
        queued: Whether any process may take up the work, and another one when the first is lost.
        attempt: How often a process has taken up the run's work; 0 while it waits for the first one.
        worker: The process that works on it, as people name it.
        requested_by: The user of a service who asked for it.
        request: What was asked for, without secrets, so that another process can take it up.
        explanation: What became of earlier attempts, as a sentence.
        warnings: What the collection's modules warned of, each as a sentence; nothing failed of it.
        committed: Whether the part of its operation has begun that is not cut in the middle.
        remaining: Estimated seconds to the end while it is in progress; None when nothing tells.
        shard: The part of the run that this is, for the worker that carries it; nodes, status, attempt and process are
            the part's then. None of the run itself.
    """

    id: str
    cluster: str
    operation: Operation
    status: RunStatus
    nodes: tuple[str, ...]
    counts: Counts
    created_at: float
    started_at: float | None = None
    completed_at: float | None = None
    updated_at: float | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_remedy: str | None = None
    inventory: str | None = None
    forks: int = 0
    check: bool = False
    variables: dict[str, Any] = field(default_factory=dict)
    secret_names: tuple[str, ...] = ()
    logins: dict[str, Any] = field(default_factory=dict)
    retry_of: str | None = None
    owner_id: str = ""
    owner_host: str = ""
    owner_machine: str = ""
    owner_pid: int = 0
    owner_ticks: int = 0
    ansible_pid: int | None = None
    ansible_ticks: int | None = None
    lease_until: float | None = None
    claims: tuple[str, ...] = ()
    run_dir: str | None = None
    cancel_requested: bool = False
    revision: int = 1
    queued: bool = False
    attempt: int = 0
    worker: str | None = None
    requested_by: str | None = None
    request: dict[str, Any] = field(default_factory=dict, repr=False)
    explanation: str | None = None
    warnings: tuple[str, ...] = ()
    committed: bool = False
    remaining: int | None = None
    shard: Shard | None = None

    @property
    def key(self) -> str:
        """What a worker takes it by: the id, and of a shard the number."""
        return f"{self.id}.{self.shard.number}" if self.shard else self.id

    @property
    def stage(self) -> Stage | None:
        """The stage that is carried; None when it is the whole operation."""
        return self.shard.stage if self.shard else None

    @property
    def uncut(self) -> str:
        """How it ends, when it can't be cancelled any more; empty while it can."""
        uncut = self.operation.definition.uncut
        return uncut.end if uncut and self.committed and self.status in RUN_ACTIVE else ""

    @property
    def error(self) -> Failure | None:
        """Why the run as a whole ended badly."""
        return failure(self.error_code, self.error_message, self.error_remedy)


@dataclass(frozen=True, slots=True)
class Task:
    """One node in one run.

    Attributes:
        phase: What the run does with the node, one of `states.Phase`; empty before the first one and after the last.
        step: The same more closely, in the words of the playbook.
        revision: The run's revision that changed the task last.
    """

    id: int
    task_id: str
    run_id: str
    node: str
    task_type: str
    status: TaskStatus
    progress: int
    phase: str
    step: str
    error_code: str | None
    error_message: str | None
    error_remedy: str | None
    created_at: float
    updated_at: float
    started_at: float | None = None
    completed_at: float | None = None
    revision: int = 1

    @property
    def error(self) -> Failure | None:
        """Why the node failed."""
        return failure(self.error_code, self.error_message, self.error_remedy)

    @property
    def active(self) -> bool:
        """Whether work on the node is still to be done."""
        return self.status in ACTIVE

    @property
    def succeeded(self) -> bool:
        """Whether the node is done."""
        return self.status in SUCCEEDED

    @property
    def failed(self) -> bool:
        """Whether the node failed."""
        return self.status in FAILED


@dataclass(frozen=True, slots=True)
class LogLine:
    """One entry of a node's log: what one Ansible task printed for it; the database gives it its number."""

    node: str | None
    counter: int
    created_at: float
    event: str
    task: str
    text: str
    id: int = 0


class Timing(NamedTuple):
    """What earlier runs teach of one Ansible task.

    Attributes:
        seconds: How long nodes stay at it that run it or wait for it.
        share: Part of the nodes that do; the others skip it, as Ubuntu does what is for Rocky.
    """

    seconds: float
    share: float = 1.0


@dataclass(slots=True)
class TaskChange:
    """The new state of one node; what trackers hand to the store and to subscribers.

    Each field is recorded in the column of the same name.
    """

    node: str
    status: TaskStatus = TaskStatus.PENDING
    progress: int = 0
    phase: str = ""
    step: str = ""
    error: Failure | None = None
    updated_at: float = 0.0
    started_at: float | None = None
    completed_at: float | None = None

    @property
    def error_message(self) -> str | None:
        """Why the node failed, as a sentence."""
        return self.error.reason if self.error else None


@dataclass(frozen=True, slots=True)
class Notice:
    """What subscribers receive: the changes since the last notice of the run.

    Attributes:
        run_id: The run.
        status: Its state.
        counts: How the run's tasks stand.
        tasks: Nodes that changed.
        remaining: Estimated seconds to the end, known from the second run of a kind on.
        error: Why the run ended badly.
    """

    run_id: str
    status: RunStatus
    counts: Counts
    tasks: tuple[TaskChange, ...] = ()
    remaining: float | None = None
    error: Failure | None = None

    @property
    def progress(self) -> int:
        """The progress of the run in whole percent."""
        return self.counts.progress


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job that is to be submitted; what is empty is left to Slurm, or to the lines `#SBATCH` of the script.

    Attributes:
        script: Text of its script, beginning with `#!`.
        name: Its name.
        partition: Where it runs.
        nodes: Number of nodes, or from and to, such as 2-4.
        time: Limit of its run time, such as 30 (minutes) or 1-12:00:00.
        chdir: Directory in which it runs.
        output: File for its output, on the node.
    """

    script: str = field(repr=False)
    name: str = ""
    partition: str = ""
    nodes: str = ""
    time: str = ""
    chdir: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """A job on a cluster, as Slurm described it when it was asked last.

    Attributes:
        id: Ours; `CLUSTER:JOBID` for a job that was not submitted from here.
        cluster: Name of the cluster.
        job_id: Slurm's.
        inventory: Path of the cluster's inventory, by which one without a name is found again.
        name: Name of the job.
        user: The user it belongs to, on the cluster.
        partition: Where it is or was.
        state: As Slurm says it, such as PENDING or COMPLETED.
        reason: Why it is in that state, as Slurm says it.
        exit_code: code:signal; empty until it has ended.
        nodes: Where it runs or ran, in Slurm's syntax.
        batch_host: The node on which its script runs or ran.
        output: Path of its output, on that node.
        lost: It left the queue and no accounting knows it: `state` is what was seen last, and its end is unknown.
        submitted_at: Seconds since the epoch; likewise the following ones.
        seen_at: When Slurm described it last.
        asked_at: When Slurm was asked for it last.
    """

    id: str
    cluster: str
    job_id: str
    inventory: str | None = None
    name: str = ""
    user: str = ""
    partition: str = ""
    state: str = ""
    reason: str = ""
    exit_code: str = ""
    nodes: str = ""
    batch_host: str = ""
    output: str = ""
    lost: bool = False
    submitted_at: float = 0.0
    seen_at: float = 0.0
    asked_at: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be learned of it."""
        return self.lost or self.state in JOB_ENDED

    @property
    def note(self) -> str:
        """What `state` does not say, as a sentence; empty when it says all."""
        if self.lost:
            return "It left the queue, and no accounting tells how it ended; the state is the last one seen."
        if not self.ended and self.asked_at > self.seen_at:
            return "It left the queue, and the accounting has not told its end yet; the state is the last one seen."
        return ""


@dataclass(frozen=True, slots=True)
class JobOutput:
    """What a job wrote.

    Attributes:
        job: The job.
        host: Where the file was read.
        path: The file.
        text: Its end, as far as it was asked for.
        size: Its size in bytes; more than the text has when only the end was read.
    """

    job: SlurmJob
    host: str
    path: str
    text: str
    size: int
