"""Every state a run or a task can be in, which states count as what, and the phases that a task goes through."""

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
    """ansible-playbook runs."""
    COMPLETED = "completed"
    """Every node is done."""
    FAILED = "failed"
    """At least one node failed, or the playbook could not be run."""
    CANCELLED = "cancelled"
    """Stopped because somebody asked for it."""
    INTERRUPTED = "interrupted"
    """The process that ran it is gone."""


RUN_ACTIVE = frozenset({RunStatus.PENDING, RunStatus.RUNNING})

JOB_ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
    }
)
"""States of a job, in Slurm's words, from which it does not come back."""


class Phase(StrEnum):
    """What a run does with a node at the moment.

    The playbooks say it in the variable `scale_phase` of a play, a block or a task; the library shows it. Not every run
    has all of them, nor in this order.
    """

    CHECKING = "checking"
    """What was asked for, the controller, AppHub and the machines are looked at; nothing is changed."""
    REPOSITORY = "repository"
    """AppHub becomes the source of packages."""
    PACKAGES = "packages"
    """Packages are installed."""
    KEY = "key"
    """The munge key and the accounts it belongs to are deployed."""
    CONFIGURATION = "configuration"
    """Configuration files are written."""
    REGISTERING = "registering"
    """The controller is told of the nodes."""
    STARTING = "starting"
    """Services are started."""
    PROVING = "proving"
    """A job or a credential proves that it works."""
    DRAINING = "draining"
    """Nodes get no new jobs, and running ones are waited for."""
    REMOVING = "removing"
    """Nodes leave the controller, and what made them nodes is stopped or uninstalled."""
    SWITCHING = "switching"
    """All hosts change to the new munge key, or back."""
    REPAIRING = "repairing"
    """What was found wrong is fixed."""
    PUBLISHING = "publishing"
    """AppHub gets packages."""
    REPORTING = "reporting"
    """Results are collected."""


LOOKING = frozenset({Phase.CHECKING, Phase.REPORTING})
"""The phases that change nothing."""
