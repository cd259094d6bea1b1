"""The operations that runs perform: all that the library, the command and a service have to know of each.

A new option of a playbook is a line here, of which the command, its help and the API are made; a new operation is an
entry here and a command in `cli/operation_commands.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = r"[1-9]\d{0,6}"
_HOSTS = r"[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*"
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
    preview: Operation | None = None
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


class Operation(StrEnum):
    """What a run does."""

    PLAN = "plan"
    SCALE_UP = "scale-up"
    SCALE_DOWN = "scale-down"
    CHECK = "check"
    REPAIR_CHECK = "repair-check"
    REPAIR_FIX = "repair-fix"
    REPAIR_TEST = "repair-test"
    UPGRADE = "upgrade"
    ROTATE_MUNGE_KEY = "rotate-munge-key"
    PUBLISH_APPHUB = "publish-apphub"
    CHECK_APPHUB = "check-apphub"
    SETUP_CONTROLLER = "setup-controller"
    DISCOVER_CLUSTER = "discover-cluster"
    SUBMIT_JOB = "submit-job"
    QUERY_JOBS = "query-jobs"
    CANCEL_JOB = "cancel-job"
    READ_JOB_OUTPUT = "read-job-output"

    @property
    def definition(self) -> Definition:
        """What it is."""
        return DEFINITIONS[self]

    @property
    def playbook(self) -> str:
        """File name of the playbook that does it."""
        return self.definition.playbook

    @property
    def reports(self) -> bool:
        """Whether the playbook writes a report, which tells the result."""
        return self.definition.result is not Result.NODES

    @property
    def task_type(self) -> str:
        """Type of the task records of such a run."""
        return self.definition.task_type


_TAKE_OVER = Option("take_over", "Take also a machine of another cluster, when no job runs on it.", bool)
_JOBS = Option("jobs", "What happens to the jobs on the nodes: wait, requeue or cancel (default: wait).", str,
               "wait|requeue|cancel")  # fmt: skip
_DRAIN_TIMEOUT = Option("drain_timeout", "Seconds until a node that is still busy is kept (default: 300).", int,
                        _SECONDS)  # fmt: skip
_SCALE_TIMEOUT = Option("scale_timeout", "Seconds until a node must be available (default: 120).", int, _SECONDS)
_REPAIR_TIMEOUT = Option("repair_timeout", "Seconds until a fixed node must be available, or a test job must have"
                         " ended (default: 120).", int, _SECONDS)  # fmt: skip
_VERSION = r"\d+\.\d+[0-9A-Za-z.+~-]{0,40}"
_PACKAGES = "A package manager that is ended in the middle is finished by the next run, or by dpkg --configure -a."
_ROTATION_ENDS = "It ends by itself, with the new key on all hosts or with the old one."


def _repair(action: str, summary: str, *, changes: bool, **more: Any) -> Definition:
    return Definition(
        "repair_cluster.yml",
        summary,
        Scope.CLUSTER,
        "slurm-repair",
        "slurm:repair" if changes else "slurm:check:nodes",
        changes=changes,
        # a job that was submitted twice does no harm, a half fixed host wants to be looked at
        repeatable=not changes,
        result=Result.REPAIR,
        options=(_REPAIR_TIMEOUT,),
        variables={"action": action},
        **more,
    )


_JOB_IDS = r"\d{1,12}(,\d{1,12})*"


def _job(action: str, summary: str, permission: str, options: tuple[Option, ...], risk: str = "") -> Definition:
    # what changes something says what a cancel of it may leave behind
    changes = bool(risk)
    return Definition(
        "run_jobs.yml",
        summary,
        Scope.CONTROLLER,
        "slurm-job",
        permission,
        changes=changes,
        repeatable=not changes,
        result=Result.JOBS,
        options=options,
        variables={"action": action},
        risk=risk,
        recorded=changes,
        claims=False,
    )


DEFINITIONS: dict[Operation, Definition] = {
    Operation.PLAN: Definition(
        "scale_up.yml",
        "Show what scaling up would do to each node and to the controller; changes nothing.",
        Scope.NODES,
        "slurm-node-plan",
        "slurm:check:nodes",
        changes=False,
        result=Result.PLAN,
        options=(_TAKE_OVER, Option("slurm_version", "Version to install (default: the controller's).", str, _VERSION)),
        variables={"plan_only": True},
    ),
    Operation.SCALE_UP: Definition(
        "scale_up.yml",
        "Make compute nodes of machines: install, register, verify with a job.",
        Scope.NODES,
        "slurm-node",
        "slurm:scale:nodes",
        options=(
            _TAKE_OVER,
            Option("slurm_version", "Version to install (default: the controller's).", str, _VERSION),
            _SCALE_TIMEOUT,
        ),
        risk=f"Nodes are left half installed, and running it again goes on there. {_PACKAGES}",
        question="Scale {nodes} up in cluster {cluster}?",
        preview=Operation.PLAN,
        stages=(
            Stage("prepare", "prepare_nodes.yml", 0, 70),
            Stage("register", "register_prepared.yml", 70, 80, together=True),
            Stage("start", "start_nodes.yml", 80, _WHOLE),
        ),
    ),
    Operation.SCALE_DOWN: Definition(
        "scale_down.yml",
        "Drain nodes and take them out of the cluster.",
        Scope.NODES,
        "slurm-node-removal",
        "slurm:remove:nodes",
        options=(
            _JOBS,
            _DRAIN_TIMEOUT,
            Option("keep_drained", "Leave a node that is kept because it is busy drained, for a later run.", bool),
            Option("force", "Remove also nodes that don't answer because they are dead.", bool),
            Option("uninstall", "Also remove packages, key and configuration from the nodes.", bool),
        ),
        variables={"confirm": True},
        risk="Nodes may stay drained by it; running it again goes on there.",
        question="Take {nodes} out of cluster {cluster}?",
    ),
    Operation.CHECK: Definition(
        "check_nodes.yml",
        "Check whether nodes are ready to be scaled up; changes nothing.",
        Scope.NODES,
        "slurm-node-check",
        "slurm:check:nodes",
        changes=False,
        result=Result.READINESS,
        options=(_TAKE_OVER,),
    ),
    Operation.REPAIR_CHECK: _repair("check", "List what is wrong with a cluster; changes nothing.", changes=False),
    Operation.REPAIR_FIX: _repair(
        "fix",
        "Fix what is safe to fix, and say what is left.",
        changes=True,
        risk="A fix may be half done; check again afterwards.",
        question="Fix what is safe to fix of that on cluster {cluster}?",
        preview=Operation.REPAIR_CHECK,
    ),
    Operation.REPAIR_TEST: _repair(
        "test",
        "Run a job in each partition.",
        changes=False,
        risk="A test job may be left in the queue.",
    ),
    Operation.UPGRADE: Definition(
        "upgrade_nodes.yml",
        "Upgrade Slurm on nodes, batch by batch: drain, upgrade, resume, verify with a job.",
        Scope.NODES_OR_ALL,
        "slurm-node-upgrade",
        "slurm:repair",
        repeatable=False,
        options=(
            Option(
                "slurm_version",
                "Version to upgrade to, e.g. 24.11.5-4; `slurmscale apphub check` shows which ones there are.",
                str,
                _VERSION,
                required=True,
            ),
            Option("batch", "Nodes at once, a number or a percentage (default: 10%).", str, r"[1-9]\d{0,4}%?"),
            _JOBS,
            _DRAIN_TIMEOUT,
            _SCALE_TIMEOUT,
        ),
        risk=f"Nodes of the batch in progress may stay drained; running it again goes on there. {_PACKAGES}",
        question="Upgrade {nodes} of cluster {cluster} to Slurm {slurm_version}, batch by batch?",
    ),
    Operation.ROTATE_MUNGE_KEY: Definition(
        "rotate_munge_key.yml",
        "Give the whole cluster a new munge key.",
        Scope.WHOLE_CLUSTER,
        "munge-key-rotation",
        "slurm:repair",
        repeatable=False,
        options=(
            Option("skip_unreachable", "Leave out hosts that can't be reached; they keep the old key.", bool),
            Option("also", "Further hosts with the cluster's key, e.g. login1,login2.", str, _HOSTS),
            Option("lead", "Seconds until the hosts switch (default: 20 and a quarter per host).", int, _SECONDS),
            Option(
                "hold",
                "Seconds after which the old key returns unless all are verified (default: 120 and one per host).",
                int,
                _SECONDS,
            ),
        ),
        whole=True,
        risk=f"Nothing is changed while the hosts are checked. From then on it cannot be cancelled. {_ROTATION_ENDS}",
        uncut=Uncut("Stage a new key on the controller", _ROTATION_ENDS),
        question="Give all hosts of cluster {cluster} a new munge key?",
    ),
    Operation.PUBLISH_APPHUB: Definition(
        "publish_apphub.yml",
        "Publish the packages of the AppHub's folders, signed.",
        Scope.APPHUB,
        "apphub-publication",
        "slurm:repair",
        risk="What was published before stays published; running it again goes on there.",
    ),
    Operation.CHECK_APPHUB: Definition(
        "check_apphub.yml",
        "Check the AppHubs; changes nothing.",
        Scope.APPHUB,
        "apphub-check",
        "slurm:check:nodes",
        changes=False,
        result=Result.APPHUB,
    ),
    Operation.SETUP_CONTROLLER: Definition(
        "setup_controller.yml",
        "Make a Slurm controller of a bare machine.",
        Scope.CONTROLLER,
        "slurm-controller",
        "slurm:repair",
        options=(
            Option("slurmctld_cluster_name", "Name of the new cluster.", str, r"[a-z0-9_-]{1,40}", "--cluster-name"),
            Option("slurm_version", "Version to install.", str, _VERSION),
        ),
        risk=f"The controller is left half set up, and running it again goes on there. {_PACKAGES}",
        question="Install Slurm on the first controller of cluster {cluster}, write slurm.conf and start slurmctld?",
    ),
    Operation.DISCOVER_CLUSTER: Definition(
        "discover_cluster.yml",
        "Find out whether a cluster can be worked with, and what it is; changes nothing.",
        Scope.CONTROLLER,
        "slurm-cluster",
        "slurm:clusters:write",
        changes=False,
        result=Result.CLUSTER,
        options=(
            Option(
                "discover_fingerprint",
                "Fingerprint of the controller's ssh key, as somebody compared it.",
                str,
                r"SHA256:[A-Za-z0-9+/]{43}",
                "--fingerprint",
            ),
        ),
        claims=False,
    ),
    Operation.SUBMIT_JOB: _job(
        "submit",
        "Submit a job, as the ordinary user that job_user names.",
        "slurm:jobs:submit",
        (
            Option("job_script", "Text of its script.", str, r"[^\x00]{1,1048576}", "--script", private=True),
            Option("job_name", "Its name.", str, r"[A-Za-z0-9_][\w.:+-]{0,127}", "--name"),
            Option("job_partition", "Partition (default: Slurm's).", str, r"\w[\w.-]*(,\w[\w.-]*)*", "--partition"),
            Option(
                "job_nodes",
                "Number of nodes, or from and to, e.g. 2-4 (default: Slurm's).",
                str,
                r"[1-9]\d{0,5}(-[1-9]\d{0,5})?",
                "--nodes",
            ),
            Option(
                "job_time",
                "Limit of its run time, e.g. 30 (minutes) or 1-12:00:00 (default: the partition's).",
                str,
                r"\d{1,6}(:\d{1,2}){0,2}|\d{1,4}-\d{1,2}(:\d{1,2}){0,2}",
                "--time",
            ),
            Option(
                "job_chdir",
                "Directory in which it runs (default: the user's home directory).",
                str,
                r"/[^\x00-\x1f]{0,4095}",
                "--chdir",
            ),
            Option(
                "job_output",
                "File for its output, on the node (default: slurm-%j.out in that directory).",
                str,
                r"[^\x00-\x1f]{1,4096}",
                "--output",
            ),
        ),
        "Slurm may have the job already: see squeue on the cluster.",
    ),
    Operation.QUERY_JOBS: _job(
        "query",
        "Tell how jobs stand; changes nothing.",
        "slurm:jobs:read",
        (
            Option("job_ids", "Slurm's ids, separated by commas.", str, _JOB_IDS),
            Option("job_since", "When the first of them was submitted, in seconds since 1970.", int, r"\d{1,12}"),
        ),
    ),
    Operation.CANCEL_JOB: _job(
        "cancel",
        "Cancel a job.",
        "slurm:jobs:cancel",
        (Option("job_ids", "Slurm's id.", str, _JOB_IDS),),
        "The job may be cancelled already.",
    ),
    Operation.READ_JOB_OUTPUT: _job(
        "read",
        "Read the end of the output of a job; changes nothing.",
        "slurm:jobs:read",
        (
            Option("job_path", "The file.", str, r"/[^\x00-\x1f]{0,4095}"),
            Option("job_host", "The node on which its script ran.", str, r"[A-Za-z0-9._-]{1,255}"),
            Option("job_limit", "Bytes to read at most.", int, r"[1-9]\d{0,8}"),
        ),
    ),
}


def of_playbook(playbook: str, variables: Mapping[str, Any]) -> Operation | None:
    """Say which operation a call of a playbook is.

    Args:
        playbook: File name of the playbook.
        variables: Its extra variables.

    Returns:
        The one whose own variables are stated, else the one that needs none of them; None when it is none.
    """
    found = [operation for operation, definition in DEFINITIONS.items() if definition.playbook == playbook]

    def stated(operation: Operation) -> int:
        own = operation.definition.variables
        same = [str(variables.get(name)).lower() == str(value).lower() for name, value in own.items()]
        return len(own) if all(same) else -1

    return max(found, key=stated, default=None)
