# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Proves nodes by real jobs: submits them, follows them to their end, and cancels what is late."""

from __future__ import annotations

import math
import time
from typing import Any, Dict, List, NamedTuple, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm_commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import jobs as slurm_jobs
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import node_states
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import SlurmCommandError

# Enough for a shell under a memory cgroup. A node that states no RealMemory counts as 1 MB and would refuse it.
_MEMORY = 64


class Options(NamedTuple):
    """What the jobs are like; the same names as the module's options."""

    command: str
    partition: Optional[str]
    user: Optional[str]
    account: Optional[str]
    qos: Optional[str]
    time_limit: int
    busy_is_proof: bool
    timeout: float
    interval: float
    conf: Optional[str]


class Submitted(NamedTuple):
    """A job of ours and the nodes that it proves."""

    nodes: List[str]
    begun: float


def outcome(
    *,
    ok: bool,
    message: str,
    job: Optional[slurm_jobs.Job] = None,
    seconds: float = 0.0,
) -> Dict[str, Any]:
    """Describe what became of a node.

    Args:
        ok: Whether it is proven.
        message: What happened.
        job: Our job, if one was submitted.
        seconds: Since its submission.
    """
    return {
        "ok": ok,
        "job_id": job.job_id if job else None,
        "state": (job.state or None) if job else None,
        "exit_code": job.exit_code if job and job.finished and job.exit_code else None,
        "message": message,
        "seconds": round(seconds, 1),
    }


def choose_partition(nodes: List[Dict[str, Any]], partitions: Dict[str, Dict[str, Any]]) -> str:
    """Choose a partition that can run a job on all of some nodes.

    Args:
        nodes: The nodes.
        partitions: All partitions.

    Returns:
        The default partition if it is one of them, else the first by name.

    Raises:
        SlurmCommandError: There is none; the message tells what there is.
    """
    common = set.intersection(*(set(node["partitions"]) for node in nodes))
    usable = [name for name in sorted(common) if partitions.get(name, {}).get("state") == "UP"]
    if not usable:
        there = ["{0} ({1})".format(name, partitions.get(name, {}).get("state", "gone")) for name in sorted(common)]
        raise SlurmCommandError("is in no partition that is UP, only in: {0}".format(", ".join(there) or "none"))
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
        "--job-name={0}-proof".format(node_states.PREFIX),
        "--partition={0}".format(partition),
        "--nodelist={0}".format(",".join(names)),
        "--nodes={0}".format(len(names)),
        "--ntasks={0}".format(len(names)),
        "--ntasks-per-node=1",
        "--time={0}".format(options.time_limit),
        "--deadline=now+{0}".format(deadline),
    ]
    if memory and memory > _MEMORY:
        arguments.append("--mem={0}".format(_MEMORY))
    stated = (("uid", options.user), ("account", options.account), ("qos", options.qos))
    return arguments + ["--{0}={1}".format(key, value) for key, value in stated if value]


class Proof:
    """One proof of some nodes.

    Args:
        names: The nodes.
        options: What the jobs are like.
    """

    def __init__(self, names: List[str], options: Options) -> None:
        self.names, self.options = names, options
        self.outcomes: Dict[str, Dict[str, Any]] = {}
        self._jobs: Dict[str, Submitted] = {}
        self._problem = ""

    def submit(self, *, per_node: bool) -> None:
        """Submit what is needed.

        Args:
            per_node: One job for each node, else one over all.

        Raises:
            SlurmCommandError: The controller gives no answer.
        """
        nodes = slurm_commands.show_nodes(conf=self.options.conf)
        partitions = slurm_commands.show_partitions(conf=self.options.conf)
        for name in self.names:
            if name not in nodes:
                self.outcomes[name] = outcome(ok=False, message="the controller does not know this node")
            elif not node_states.is_available(nodes[name]["state"]):
                message = "takes no jobs: {0}".format(node_states.state_text(nodes[name]))
                reason = node_states.held_reason(nodes[name])
                self.outcomes[name] = outcome(ok=False, message=message + (" ({0})".format(reason) if reason else ""))
        if per_node:
            self._accept_busy()
            batches = [[name] for name in self._open()]
        else:
            batches = self._whole_batch()
        for batch in batches:
            self._submit_one(batch, nodes, partitions)

    def _whole_batch(self) -> List[List[str]]:
        if self.outcomes:
            bad = ", ".join(sorted(self.outcomes))
            for name in self._open():
                self.outcomes[name] = outcome(
                    ok=False, message="no job over all nodes is possible: see {0}".format(bad)
                )
        return [self._open()] if self._open() else []

    def _open(self) -> List[str]:
        return [name for name in self.names if name not in self.outcomes]

    def _accept_busy(self, ours: Optional[Dict[str, str]] = None) -> None:
        """Take nodes as proven on which a job of somebody else runs."""
        waiting = list(ours or self._open())
        if not (self.options.busy_is_proof and waiting):
            return
        for name, ids in slurm_jobs.jobs_on(waiting, self.options.conf, states=("RUNNING",)).items():
            others = [job_id for job_id in ids if job_id not in self._jobs]
            if others:
                message = "runs jobs {0} already, so no job of ours had to run".format(",".join(others))
                self.outcomes[name] = outcome(ok=True, message=message)
                self._drop((ours or {}).get(name))

    def _drop(self, job_id: Optional[str]) -> None:
        if job_id and self._jobs.pop(job_id, None):
            slurm_jobs.cancel([job_id], self.options.conf)

    def _submit_one(self, batch: List[str], nodes: Dict[str, Any], partitions: Dict[str, Any]) -> None:
        described = [nodes[name] for name in batch]
        command = self.options.command
        if len(batch) > 1:
            command = "srun --mpi=none sh -c {0}".format("'" + command.replace("'", "'\\''") + "'")
        try:
            partition = self.options.partition or choose_partition(described, partitions)
            memory = min(node["real_memory"] or 0 for node in described)
            arguments = sbatch_arguments(batch, partition, self.options, memory)
            job_id = slurm_jobs.submit(arguments, command, self.options.conf)
        except SlurmCommandError as problem:
            self.outcomes.update({name: outcome(ok=False, message=str(problem)) for name in batch})
        else:
            self._jobs[job_id] = Submitted(batch, time.monotonic())

    def follow(self) -> None:
        """Look at all jobs, at each interval in one call, until they have ended or the time is over."""
        deadline = time.monotonic() + self.options.timeout
        missing: Dict[str, int] = {}
        last: Dict[str, slurm_jobs.Job] = {}
        while self._jobs:
            try:
                seen = slurm_jobs.find(list(self._jobs), self.options.conf)
                self._problem = ""
            except SlurmCommandError as problem:
                # The controller may be restarting; the jobs don't care.
                seen, self._problem = {}, str(problem)
            last.update(seen)
            for job_id in list(self._jobs):
                if job_id in seen and seen[job_id].finished:
                    self._finish(seen[job_id])
                elif job_id not in seen and not self._problem:
                    missing[job_id] = missing.get(job_id, 0) + 1
                    # The accounting may lag behind the queue for a few seconds.
                    if missing[job_id] * self.options.interval > 10:  # noqa: PLR2004 # seconds
                        self._lose(job_id)
            self._accept_waiting(seen)
            if not self._jobs or time.monotonic() >= deadline:
                break
            time.sleep(min(self.options.interval, max(0.1, deadline - time.monotonic())))
        self._give_up(last)

    def _accept_waiting(self, seen: Dict[str, slurm_jobs.Job]) -> None:
        waiting = {
            submitted.nodes[0]: job_id
            for job_id, submitted in self._jobs.items()
            if len(submitted.nodes) == 1 and job_id in seen and seen[job_id].state == "PENDING"
        }
        if waiting and not self._problem:
            try:
                self._accept_busy(waiting)
            except SlurmCommandError as problem:
                self._problem = str(problem)

    def _settle(self, job: slurm_jobs.Job, message: str, *, ok: bool) -> None:
        submitted = self._jobs.pop(job.job_id)
        seconds = time.monotonic() - submitted.begun
        for name in submitted.nodes:
            self.outcomes[name] = outcome(ok=ok, message=message, job=job, seconds=seconds)

    def _finish(self, job: slurm_jobs.Job) -> None:
        ok = job.state == slurm_jobs.SUCCESS
        message = "job {0} {1}".format(job.job_id, job.state)
        if not ok:
            nodes = ",".join(self._jobs[job.job_id].nodes)
            why = "" if job.reason in ("", "None") else " ({0})".format(job.reason)
            message += "{0} with exit code {1}: look into slurmd's log on {2}".format(why, job.exit_code or "?", nodes)
        self._settle(job, message, ok=ok)

    def _lose(self, job_id: str) -> None:
        message = "job {0} left the queue and no accounting tells how it ended".format(job_id)
        self._settle(slurm_jobs.Job(job_id, "", "", "", ""), message, ok=False)

    def _give_up(self, last: Dict[str, slurm_jobs.Job]) -> None:
        late = list(self._jobs)
        if not late:
            return
        slurm_jobs.cancel(late, self.options.conf)
        for job_id in late:
            job = last.get(job_id, slurm_jobs.Job(job_id, "", "", "", ""))
            why = self._problem or "{0}{1}".format(
                job.state or "never seen", "" if job.reason in ("", "None") else ", reason {0}".format(job.reason)
            )
            message = "job {0} has not ended after {1:g} s and was cancelled: {2}".format(
                job_id, self.options.timeout, why
            )
            self._settle(job, message, ok=False)


def prove(names: List[str], options: Options, *, per_node: bool) -> Dict[str, Dict[str, Any]]:
    """Prove nodes by jobs.

    Args:
        names: The nodes.
        options: What the jobs are like.
        per_node: One job for each node, else one over all.

    Returns:
        What became of each node.

    Raises:
        SlurmCommandError: The controller gives no answer.
    """
    if not names:
        return {}
    proof = Proof(names, options)
    proof.submit(per_node=per_node)
    proof.follow()
    return {name: proof.outcomes[name] for name in names}
