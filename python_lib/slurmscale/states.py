"""Every state a run or a task can be in, and which states count as what."""

from __future__ import annotations

from enum import StrEnum


class TaskStatus(StrEnum):
    """State of one node in one run.

    The library itself writes pending, running, completed and failed; the others are what services that share the
    database may write, and they are counted the same way.
    """

    PENDING = "pending"
    RUNNING = "running"
    IN_PROGRESS = "in_progress"
    PROCESSING = "processing"
    COMPLETED = "completed"
    SUCCESS = "success"
    FAILED = "failed"
    ERROR = "error"


ACTIVE = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.IN_PROGRESS, TaskStatus.PROCESSING})
SUCCEEDED = frozenset({TaskStatus.COMPLETED, TaskStatus.SUCCESS})
FAILED = frozenset({TaskStatus.FAILED, TaskStatus.ERROR})


class RunStatus(StrEnum):
    """State of one run of a playbook over a set of nodes."""

    PENDING = "pending"
    """Claimed its nodes; ansible-playbook has not been started yet."""
    RUNNING = "running"
    """ansible-playbook is at work."""
    COMPLETED = "completed"
    """Every node is done."""
    FAILED = "failed"
    """At least one node failed, or the playbook could not be run."""
    CANCELLED = "cancelled"
    """Stopped because somebody asked for it."""
    INTERRUPTED = "interrupted"
    """The process that ran it is gone."""


RUN_ACTIVE = frozenset({RunStatus.PENDING, RunStatus.RUNNING})
