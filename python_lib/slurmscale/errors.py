"""Every error of the library.

- SlurmscaleError: the base; has a code, a reason and a remedy, and both sentences as its text

  - RefusedError: the request was refused, nothing has been changed

    - NodesError: node list empty, malformed, or not in the inventory
    - OverlapError: another run works on some of these nodes; has `run_id` and `nodes`
    - NoRoomError: as many runs of the cluster are in progress as may be
    - ClusterError: cluster unknown, or its inventory can't be used
    - ProjectError: the playbooks can't be found

  - NotFoundError: no such run, task or log
  - StoreError: the database can't be opened, read or written

    - StoreUnavailableError: it does not answer, is locked, or its disk is full
    - ResultNotRecordedError: a run has ended, and its result could not be recorded

  - RunLostError: another process ended the run
  - RunnerError: ansible-playbook could not be started
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The codes of the library's own failures; the collection's list holds them all, and what each means."""

    TASK_FAILED = "task-failed"
    HOST_UNREACHABLE = "host-unreachable"
    HOST_KEY_UNKNOWN = "host-key-unknown"
    NODES_FAILED = "nodes-failed"
    NODE_NOT_IN_PLAYBOOK = "node-not-in-playbook"
    NODE_NOT_READY = "node-not-ready"
    RUN_STOPPED = "run-stopped"
    RUN_CANCELLED = "run-cancelled"
    RUN_INTERRUPTED = "run-interrupted"
    RUN_LOST = "run-lost"
    TIME_LIMIT_REACHED = "time-limit-reached"
    ANSIBLE_FAILED = "ansible-failed"
    INTERNAL_ERROR = "internal-error"
    REQUEST_INVALID = "request-invalid"
    CLUSTER_UNUSABLE = "cluster-unusable"
    NOT_FOUND = "not-found"
    NOT_SIGNED_IN = "not-signed-in"
    PERMISSION_MISSING = "permission-missing"
    ORIGIN_NOT_ALLOWED = "origin-not-allowed"
    HOST_NOT_ALLOWED = "host-not-allowed"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    REQUEST_TOO_LARGE = "request-too-large"
    CONTENT_TYPE_UNSUPPORTED = "content-type-unsupported"
    TOO_MANY_REQUESTS = "too-many-requests"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    REQUEST_AT_WORK = "request-at-work"
    TASK_IS_PART_OF_RUN = "task-is-part-of-run"
    PLAN_DIFFERS = "plan-differs"


class SlurmscaleError(Exception):
    """Base of all errors that the library raises on purpose.

    Args:
        reason: What is needed and what was found, as a sentence.
        remedy: What to do, as a sentence; empty when the reason says it.
        code: For programs; that of the class when None. docs/reference/reasons.md lists all codes.
    """

    code = "task-failed"

    def __init__(self, reason: str, remedy: str = "", *, code: str | None = None) -> None:
        super().__init__(f"{reason} {remedy}".strip())
        self.reason = reason
        self.remedy = remedy
        self.code = code or self.code

    def as_dict(self) -> dict[str, str]:
        """Return the form in which results and reports hold it."""
        return {"code": self.code, "reason": self.reason, "remedy": self.remedy}


class RefusedError(SlurmscaleError):
    """The request was refused before anything was changed."""

    code = "request-invalid"


class NodesError(RefusedError):
    """The list of nodes is empty, malformed, or names nodes that the inventory does not have."""


class OverlapError(RefusedError):
    """Another run works on some of the nodes.

    Args:
        run_id: The run that holds the nodes.
        nodes: The nodes both want.
    """

    code = "nodes-in-use"

    def __init__(self, run_id: str, nodes: tuple[str, ...]) -> None:
        self.run_id = run_id
        self.nodes = nodes
        shown = ", ".join(nodes[:5]) + (f" and {len(nodes) - 5} more" if len(nodes) > 5 else "")  # noqa: PLR2004 - a readable list
        super().__init__(
            f"Run {run_id} is still in progress on {shown}.",
            f"Wait for it (slurmscale status --watch) or cancel it (slurmscale cancel {run_id}).",
        )


class NoRoomError(RefusedError):
    """As many runs of the cluster are in progress as may be; the run goes on waiting."""


class ClusterError(RefusedError):
    """The cluster is not known, or its inventory can't be used."""

    code = "cluster-unusable"


class ProjectError(RefusedError):
    """The playbooks can't be found."""

    code = "playbooks-missing"


class NotFoundError(SlurmscaleError):
    """There is no such run, task or log."""

    code = "not-found"


class StoreError(SlurmscaleError):
    """The database can't be opened, read or written."""

    code = "database-unavailable"


class StoreUnavailableError(StoreError):
    """The database does not answer, is locked, or its disk is full; trying again later may help."""


class RunLostError(SlurmscaleError):
    """The run is no longer this process's own: it was ended by another one."""

    code = "run-lost"


class ResultNotRecordedError(StoreError):
    """The run has ended, and its result could neither be recorded nor kept in a file."""

    code = "result-not-recorded"


class RunnerError(SlurmscaleError):
    """ansible-playbook could not be started."""

    code = "ansible-not-started"
