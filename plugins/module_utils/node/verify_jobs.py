# Apache License 2.0 (see LICENSE)
"""Verifies nodes by real jobs: submits them, follows them to their end, and cancels what is late."""

from __future__ import annotations

import math
import time
from typing import Any, Dict, List, NamedTuple, Optional, Set

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands, jobs, node_states, partition_rules
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import SlurmCommandError

# Enough for a shell under a memory cgroup. A node that states no RealMemory counts as 1 MB and would refuse it.
_MEMORY = 64
# With this reason Slurm drains a node to which it sent a job twice, as a controller does that has just started or is
# very busy, and cancels the job. Nothing is wrong with the node.
_SENT_TWICE = "Duplicate jobid"
# Seconds; each further pause between two checks is half as long again, up to the interval.
_FIRST_PAUSE = 0.1


class Options(NamedTuple):
    """What the jobs are like; the same names as the module's options."""

    command: str
    partition: Optional[str]
    user: Optional[str]
    account: Optional[str]
    qos: Optional[str]
    time_limit: int
    accept_busy: bool
    timeout: float
    interval: float
    conf: Optional[str]


class Submitted(NamedTuple):
    """A job of ours and the nodes that it verifies."""

    nodes: List[str]
    begun: float


def outcome(
    message: str,
    failure: Optional[Failure] = None,
    job: Optional[jobs.Job] = None,
    seconds: float = 0.0,
) -> Dict[str, Any]:
    """Describe the result of a node.

    Args:
        message: What happened.
        failure: Why the node is not verified; without it, it is.
        job: Our job, if one was submitted.
        seconds: Since its submission.
    """
    return {
        "ok": failure is None,
        "job_id": job.job_id if job else None,
        "state": (job.state or None) if job else None,
        "exit_code": job.exit_code if job and job.finished and job.exit_code else None,
        "message": message,
        "failure": failure.as_dict() if failure else None,
        "seconds": round(seconds, 1),
    }


def failed(name: str, code: Code, message: str, remedy: str = "") -> Dict[str, Any]:
    """Describe the result of a node for which no job was submitted."""
    return outcome(message, Failure(code, f"{name} {message}.", remedy))


class PartitionError(FailureError):
    """No partition can run a job on all of the nodes."""


def choose_partition(nodes: List[Dict[str, Any]], partitions: Dict[str, Dict[str, Any]]) -> str:
    """Choose a partition that can run a job on all of some nodes.

    Args:
        nodes: The nodes.
        partitions: All partitions.

    Returns:
        The default partition if it is one of them, else the first by name.

    Raises:
        PartitionError: There is none; the message tells what there is.
    """
    common: Set[str] = set.intersection(*(set(node["partitions"]) for node in nodes))
    usable = [name for name in sorted(common) if partitions.get(name, {}).get("state") == "UP"]
    if not usable:
        there = [f"{name} ({partitions.get(name, {}).get('state', 'gone')})" for name in sorted(common)]
        raise PartitionError(
            Code.PARTITION_UNAVAILABLE,
            f"is in no partition that is UP, only in: {', '.join(there) or 'none'}",
            "Add it to a partition that is UP, or set one UP: scontrol show partition",
        )
    return next((name for name in usable if partitions[name]["default"]), usable[0])


def sbatch_arguments(names: List[str], partition: str, options: Options, memory: Optional[int]) -> List[str]:
    """Make the options of sbatch.

    Args:
        names: Nodes of the job.
        partition: Where it runs.
        options: What it is like.
        memory: The smallest RealMemory among the nodes.
    """
    # Slurm itself drops the job if nobody is left to cancel it.
    deadline = math.ceil(options.timeout) + 60 * (options.time_limit + 1)
    arguments = [
        f"--job-name={node_states.PREFIX}-verify",
        f"--partition={partition}",
        f"--nodelist={','.join(names)}",
        f"--nodes={len(names)}",
        f"--ntasks={len(names)}",
        "--ntasks-per-node=1",
        f"--time={options.time_limit}",
        f"--deadline=now+{deadline}",
    ]
    if memory and memory > _MEMORY:
        arguments.append(f"--mem={_MEMORY}")
    stated = (("uid", options.user), ("account", options.account), ("qos", options.qos))
    return arguments + [f"--{key}={value}" for key, value in stated if value]


class JobRun:
    """Jobs that verify some nodes.

    Args:
        names: The nodes.
        options: What the jobs are like.
    """

    def __init__(self, names: List[str], options: Options) -> None:
        self.names, self.options = names, options
        self.outcomes: Dict[str, Dict[str, Any]] = {}
        self._jobs: Dict[str, Submitted] = {}
        self._submitted_again: Set[str] = set()
        #: Jobs of this run that verify the same nodes otherwise.
        self.beside: Set[str] = set()
        self._problem = ""

    @property
    def job_ids(self) -> Set[str]:
        """Jobs that have not ended."""
        return set(self._jobs)

    def submit(self, *, per_node: bool) -> None:
        """Submit what is needed.

        Args:
            per_node: One job for each node, else one over all.

        Raises:
            SlurmCommandError: The controller gives no answer.
        """
        nodes = commands.show_nodes(conf=self.options.conf)
        partitions = commands.show_partitions(conf=self.options.conf)
        for name in self.names:
            if name not in nodes:
                self.outcomes[name] = failed(name, Code.NODE_NOT_REGISTERED, "is not known to the controller")
            elif not node_states.is_available(nodes[name]["state"]):
                reason = node_states.held_reason(nodes[name])
                message = f"takes no jobs: {node_states.state_text(nodes[name])}" + (f" ({reason})" if reason else "")
                self.outcomes[name] = failed(
                    name, Code.NODE_NOT_AVAILABLE, message, f"Find out why: scontrol show node {name}"
                )
        if per_node:
            self._accept_busy()
            batches = [[name] for name in self._pending()]
        else:
            batches = self._batch_of_all()
        for batch in batches:
            self.submit_one(batch, nodes, partitions)

    def _batch_of_all(self) -> List[List[str]]:
        if self.outcomes:
            bad = ", ".join(sorted(self.outcomes))
            for name in self._pending():
                message = f"no job over all nodes is possible: see {bad}"
                failure = Failure(Code.JOB_NOT_SUBMITTED, f"No job over all nodes is possible: see {bad}.")
                self.outcomes[name] = outcome(message, failure)
        return [self._pending()] if self._pending() else []

    def _pending(self) -> List[str]:
        return [name for name in self.names if name not in self.outcomes]

    def _accept_busy(self, ours: Optional[Dict[str, str]] = None) -> None:
        """Count nodes as verified on which a job of somebody else runs."""
        waiting = list(ours or self._pending())
        if not (self.options.accept_busy and waiting):
            return
        for name, ids in jobs.jobs_on(waiting, self.options.conf, states=("RUNNING",)).items():
            others = [job_id for job_id in ids if job_id not in self.job_ids | self.beside]
            if others:
                self.outcomes[name] = outcome(f"runs jobs {','.join(others)} already, so no job of ours had to run")
                self._drop((ours or {}).get(name))

    def _drop(self, job_id: Optional[str]) -> None:
        if job_id and self._jobs.pop(job_id, None):
            jobs.cancel([job_id], self.options.conf)

    def drop(self, batches: List[List[str]]) -> None:
        """Cancel the jobs over these nodes, of which nobody wants to know the end."""
        for job_id in [job_id for job_id, submitted in self._jobs.items() if submitted.nodes in batches]:
            self._drop(job_id)

    def submit_one(self, batch: List[str], nodes: Dict[str, Any], partitions: Dict[str, Any]) -> None:
        """Submit one job.

        Args:
            batch: Its nodes.
            nodes: All nodes of the cluster.
            partitions: All partitions.
        """
        described = [nodes[name] for name in batch]
        command = self.options.command
        if len(batch) > 1:
            quoted = command.replace("'", "'\\''")
            command = f"srun --mpi=none sh -c '{quoted}'"
        try:
            partition = self.options.partition or choose_partition(described, partitions)
            memory = min(node["real_memory"] or 0 for node in described)
            arguments = sbatch_arguments(batch, partition, self.options, memory)
            job_id = jobs.submit(arguments, command, self.options.conf)
        except PartitionError as problem:
            self.outcomes.update({name: failed(name, *problem.failure) for name in batch})
        except SlurmCommandError as problem:
            remedy = "State a user, account, partition or QOS with which jobs may be submitted."
            failure = Failure(Code.JOB_NOT_SUBMITTED, f"The job was not accepted: {problem}", remedy)
            self.outcomes.update({name: outcome(str(problem), failure) for name in batch})
        else:
            self._jobs[job_id] = Submitted(batch, time.monotonic())

    def follow(self) -> None:
        """Follow all jobs, at each interval in one call, until they have ended or the time is over."""
        deadline = time.monotonic() + self.options.timeout
        # On idle nodes they end within a second or two, and all that follows waits for them.
        pause = min(_FIRST_PAUSE, self.options.interval)
        missing: Dict[str, float] = {}
        last: Dict[str, jobs.Job] = {}
        while self._jobs:
            try:
                found = jobs.find(list(self._jobs), self.options.conf)
                self._problem = ""
            except SlurmCommandError as problem:
                # The controller may be restarting; the jobs don't care.
                found, self._problem = {}, str(problem)
            last.update(found)
            for job_id in list(self._jobs):
                if job_id in found and found[job_id].finished:
                    self._finish(found[job_id])
                elif job_id in found or self._problem:
                    continue
                # The accounting may lag behind the queue for a few seconds.
                elif time.monotonic() - missing.setdefault(job_id, time.monotonic()) > 10:  # noqa: PLR2004 # seconds
                    self._lose(job_id)
            self._accept_waiting(found)
            if not self._jobs or time.monotonic() >= deadline:
                break
            time.sleep(min(pause, max(0.1, deadline - time.monotonic())))
            pause = min(1.5 * pause, self.options.interval)
        self._time_out(last)

    def _accept_waiting(self, found: Dict[str, jobs.Job]) -> None:
        waiting = {
            submitted.nodes[0]: job_id
            for job_id, submitted in self._jobs.items()
            if len(submitted.nodes) == 1 and job_id in found and found[job_id].state == "PENDING"
        }
        if waiting and not self._problem:
            try:
                self._accept_busy(waiting)
            except SlurmCommandError as problem:
                self._problem = str(problem)

    def _record(self, job: jobs.Job, message: str, code: Optional[Code] = None, remedy: str = "") -> None:
        """Record the end of a job for all of its nodes; with a code it is a failure."""
        submitted = self._jobs.pop(job.job_id)
        seconds = time.monotonic() - submitted.begun
        failure = Failure(code, f"{message[:1].upper()}{message[1:]}.", remedy) if code else None
        for name in submitted.nodes:
            self.outcomes[name] = outcome(message, failure, job, seconds)

    def _finish(self, job: jobs.Job) -> None:
        if job.state == jobs.SUCCESS:
            self._record(job, f"job {job.job_id} {job.state}")
            return
        if self._submit_again(job.job_id):
            return
        nodes = ",".join(self._jobs[job.job_id].nodes)
        why = "" if job.reason in ("", "None") else f" ({job.reason})"
        message = f"job {job.job_id} {job.state}{why} with exit code {job.exit_code or '?'} on {nodes}"
        self._record(job, message, Code.JOB_FAILED, f"See slurmd's log on {nodes}: journalctl -u slurmd")

    def _submit_again(self, job_id: str) -> bool:
        """Resume nodes that Slurm drained because it sent them our job twice, and submit another one, once per node."""
        batch = self._jobs[job_id].nodes
        try:
            nodes = commands.show_nodes(conf=self.options.conf)
            # They were available when the job was submitted, so that the drain is nobody else's.
            drained = [name for name in batch if name in nodes and nodes[name]["reason"] == _SENT_TWICE]
            if not drained or self._submitted_again & set(batch):
                return False
            self._submitted_again.update(batch)
            commands.scontrol(["update", f"NodeName={','.join(drained)}", "State=RESUME"], conf=self.options.conf)
            partitions = commands.show_partitions(conf=self.options.conf)
        except SlurmCommandError:
            return False
        del self._jobs[job_id]
        self.submit_one(batch, nodes, partitions)
        return True

    def _lose(self, job_id: str) -> None:
        message = f"job {job_id} left the queue and no accounting tells how it ended"
        remedy = "See slurmd's log on its nodes: journalctl -u slurmd"
        self._record(jobs.Job(job_id, "", "", "", ""), message, Code.JOB_LOST, remedy)

    def _time_out(self, last: Dict[str, jobs.Job]) -> None:
        late = list(self._jobs)
        if not late:
            return
        jobs.cancel(late, self.options.conf)
        for job_id in late:
            job = last.get(job_id, jobs.Job(job_id, "", "", "", ""))
            reason = "" if job.reason in ("", "None") else f", reason {job.reason}"
            state = self._problem or f"{job.state or 'never seen'}{reason}"
            message = f"job {job_id} has not ended after {self.options.timeout:g} s and was cancelled: {state}"
            self._record(
                job, message, Code.JOB_TIMED_OUT, "Give it longer, or see why it does not start: squeue --long"
            )


def policy_failure(options: Options) -> Optional[Failure]:
    """Say which rule of the cluster would refuse jobs that verify nodes, before there are nodes; None when none would.

    Args:
        options: What the jobs would be like.

    Raises:
        SlurmCommandError: The controller gives no answer.
    """
    remedy = (
        'State who may submit jobs, and where, by scale_job, e.g. -e \'{"scale_job": {"user": "ops",'
        ' "account": "ops", "partition": "batch"}}\'.'
    )
    root = options.user in (None, "", "root", "0")
    if root and commands.show_config(conf=options.conf).get("DisableRootJobs", "").lower() in ("yes", "1"):
        reason = "The cluster allows root no jobs (DisableRootJobs), and the test job would be root's."
        return Failure(Code.JOB_NOT_SUBMITTED, reason, remedy)
    stated = (
        ("partition", options.partition),
        ("uid", options.user),
        ("account", options.account),
        ("qos", options.qos),
    )
    arguments = [f"--{key}={value}" for key, value in stated if value]
    partition = options.partition
    if not partition:
        partitions = commands.show_partitions(conf=options.conf)
        usable = sorted((not one["default"], name) for name, one in partitions.items() if one["state"] == "UP")
        partition = usable[0][1] if usable else None
        arguments += [f"--partition={partition}"] if partition else []
    said = jobs.refusal([*arguments, f"--time={options.time_limit}"], options.conf)
    if not said and partition:
        who = options.user or "root"
        said = partition_rules.refusal(partition, who, options.account, options.qos, options.conf)
    return Failure(Code.JOB_NOT_SUBMITTED, f"The cluster would not run the test job: {said}", remedy) if said else None
