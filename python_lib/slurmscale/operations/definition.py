"""What there is to say of an operation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_WHOLE = 100
_SWITCH = r"(?i)true|false|yes|no|1|0"


class Scope(StrEnum):
    """What an operation works on, and so whose progress a run of it records."""

    NODES = "nodes"
    """The nodes that are named."""
    NODES_OR_ALL = "nodes or all"
    """The nodes that are named, or the group slurm_nodes."""
    CLUSTER = "cluster"
    """The first controller, and the nodes that are named or the group slurm_nodes."""
    WHOLE_CLUSTER = "whole cluster"
    """All hosts of the groups slurm_controllers and slurm_nodes; it can't be a part of them."""
    CONTROLLER = "controller"
    """The first controller."""
    APPHUB = "apphub"
    """The group apphub."""

    @property
    def takes_nodes(self) -> bool:
        """Whether nodes may be named."""
        return self in (Scope.NODES, Scope.NODES_OR_ALL, Scope.CLUSTER)

    @property
    def hosts(self) -> str:
        """What those are called that it works on."""
        return "nodes" if self in (Scope.NODES, Scope.NODES_OR_ALL) else "hosts"


class Result(StrEnum):
    """What a run leaves besides the result of each node: the kind of the report that its playbook writes."""

    NODES = "nodes"
    """Nothing."""
    READINESS = "readiness"
    REPAIR = "repair"
    APPHUB = "apphub"
    PLAN = "plan"
    JOBS = "jobs"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Option:
    """An option of an operation: a variable of its playbook.

    Attributes:
        name: The variable.
        help: What it does, and what applies when it is left out.
        kind: str, int or bool.
        pattern: What a text has to look like as a whole; other kinds have their own.
        flag: The option of the command; made of the name when empty.
        required: Somebody has to state it, with the run or in the inventory.
        private: Its value reaches Ansible through memory only, and is in no record and no log, as a password.
    """

    name: str
    help: str
    kind: type[str | int] = str
    pattern: str = r"[^\x00-\x1f]+"
    flag: str = ""
    required: bool = False
    private: bool = False

    @property
    def option(self) -> str:
        """The option of the command."""
        return self.flag or f"--{self.name.replace('_', '-')}"

    def problem(self, value: Any) -> str | None:
        """Say what is wrong with a value; None when it can be used."""
        wanted = _SWITCH if self.kind is bool else self.pattern
        if not isinstance(value, str | int) or not re.fullmatch(wanted, str(value)):
            return f"{self.name} must match {wanted}, and does not."
        return None


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of an operation that a worker carries by itself, for some of the nodes of a run or for all.

    Attributes:
        name: What it is called.
        playbook: File name of its playbook.
        begins: Percent of the progress of a node at its beginning.
        ends: Likewise at its end; 100 of the last one.
        together: All nodes are worked on in one step.
    """

    name: str
    playbook: str
    begins: int
    ends: int
    together: bool = False

    @property
    def is_last(self) -> bool:
        """Whether a node is finished after it."""
        return self.ends == _WHOLE


@dataclass(frozen=True, slots=True)
class Uncut:
    """The part of an operation that is not cut in the middle.

    Attributes:
        play: Name of the play from which on it can't be cancelled.
        end: How it ends then, as a sentence.
    """

    play: str
    end: str


@dataclass(frozen=True, slots=True)
class Definition:
    """What an operation is.

    Attributes:
        playbook: File name of its playbook.
        summary: What it does, as a sentence.
        scope: What it works on.
        task_type: Type of the task records of its runs.
        permission: What a user of a service needs.
        changes: Whether anything is changed; a run that only looks does not count in the scaling status.
        repeatable: Whether it may be started again by itself when its process was lost.
        result: What it leaves besides the result of each node.
        options: Its options.
        variables: Variables that it always has.
        whole: It succeeds on all hosts or on none.
        risk: What a cancel may leave behind, told before it begins.
        uncut: From where on it can't be cancelled; None when it always can.
        question: What a person confirms before it begins, with `{cluster}`, `{nodes}` and the options; empty where
            nothing has to be confirmed.
        preview: The operation that shows beforehand what it would do.
        recorded: It is a run, with a record, tasks and logs, and can be cancelled. A query of jobs is none: it comes
            again and again, and what it tells is kept with the job; what a job wrote is not for everybody who may see
            runs. Nor is the look that a service takes at each external cluster every minute, kept with the cluster.
        claims: While it is at work, no other run may work on its hosts. Without it, many may ask a controller, or give
            it jobs, at the same time, whatever else is done to it.
        stages: How workers share a large run, in order; what the first one reports of the nodes, the others are told.
            Empty when it is never shared.
    """

    playbook: str
    summary: str
    scope: Scope
    task_type: str
    permission: str
    changes: bool = True
    repeatable: bool = True
    result: Result = Result.NODES
    options: tuple[Option, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    risk: str = ""
    uncut: Uncut | None = None
    question: str = ""
    preview: Definition | None = None
    recorded: bool = True
    claims: bool = True
    stages: tuple[Stage, ...] = ()

    @property
    def changes_nodes(self) -> bool:
        """Whether its hosts count as nodes in the scaling status and in the figures over many runs."""
        return self.changes and self.scope not in (Scope.CONTROLLER, Scope.APPHUB)

    @property
    def private(self) -> frozenset[str]:
        """Names of the options whose values are not written down."""
        return frozenset(option.name for option in self.options if option.private)
