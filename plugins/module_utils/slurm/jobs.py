# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Submits jobs, follows them and cancels them, with the commands that all supported versions of Slurm have."""

from __future__ import annotations

import re
from typing import Dict, Iterable, List, NamedTuple, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands, hostlist

SUCCESS = "COMPLETED"
#: States from which a job does not come back, other than success.
FAILURES = frozenset(
    (
        *("BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
    )
)
# What sbatch says of rules; of nodes and resources, which may be missing at the moment, it says other things.
_FORBIDS = re.compile(
    r"permission denied|invalid (account|qos|partition|user)|not permitted|violates|expired|disabled", re.IGNORECASE
)
_QUEUE_FIELDS = "--Format=JobID:|,State:|,Reason:|,exit_code:|,NodeList:|"


class Job(NamedTuple):
    """A job as Slurm shows it; the exit code is written as code:signal."""

    job_id: str
    state: str
    reason: str
    exit_code: str
    nodes: str

    @property
    def finished(self) -> bool:
        """Whether the job has come to its end."""
        return self.state == SUCCESS or self.state in FAILURES


def exit_code(text: str) -> str:
    """Read an exit code.

    Args:
        text: `3:0` from newer versions, or the raw wait status 768 from 22.05.

    Returns:
        code:signal, or nothing when there is none.
    """
    if ":" in text or not text.isdigit():
        return text if ":" in text else ""
    status = int(text)
    return f"{status >> 8}:{status & 0x7F}"


def parse_queue(text: str) -> Dict[str, Job]:
    """Read what squeue prints with our format.

    Args:
        text: Lines of fields, each ended by `|`.

    Returns:
        The jobs by id.
    """
    jobs = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) > 5 and fields[0]:  # noqa: PLR2004 # five fields, each ended by |
            jobs[fields[0]] = Job(fields[0], fields[1], fields[2], exit_code(fields[3]), fields[4])
    return jobs


def parse_accounting(text: str) -> Dict[str, Job]:
    """Read what sacct prints.

    Args:
        text: Lines of job id, state, exit code and nodes, separated by `|`.

    Returns:
        The jobs by id; `CANCELLED by 0` becomes CANCELLED.
    """
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 3]  # noqa: PLR2004 # four columns
    return {job_id: Job(job_id, state.split()[0], "", code, nodes) for job_id, state, code, nodes in rows if state}


def _squeue(arguments: List[str], conf: Optional[str]) -> Dict[str, Job]:
    result = commands.run(["squeue", "--noheader", "--all", *arguments, _QUEUE_FIELDS], conf=conf)
    if result.rc == 0:
        return parse_queue(result.stdout)
    # Asked for a single job that has left the queue, squeue fails; asked for many, it leaves it out.
    if "Invalid job id" in result.message:
        return {}
    raise commands.SlurmCommandError(f"squeue: {result.message}")


def jobs_on(
    nodes: Iterable[str], conf: Optional[str] = None, states: Optional[Iterable[str]] = None
) -> Dict[str, List[str]]:
    """Tell which jobs are on nodes.

    Args:
        nodes: Nodes that the controller knows.
        conf: A slurm.conf in place of Slurm's default.
        states: States of jobs that count; by default all but pending, so also suspended and those being cleaned up.

    Returns:
        For each node the ids of its jobs.

    Raises:
        SlurmCommandError: squeue failed.
    """
    found: Dict[str, List[str]] = {name: [] for name in nodes}
    expanded: Dict[str, List[str]] = {}
    for job in _squeue(["--nodelist=" + ",".join(found)], conf).values():
        counts = job.state != "PENDING" if states is None else job.state in states
        if not (counts and job.nodes):
            continue
        if job.nodes not in expanded:
            expanded[job.nodes] = hostlist.expand(job.nodes, conf)
        for name in expanded[job.nodes]:
            if name in found:
                found[name].append(job.job_id)
    return found


def jobs_requesting(nodes: Iterable[str], conf: Optional[str] = None) -> Dict[str, List[str]]:
    """Tell which pending jobs ask for nodes by name (--nodelist); Slurm ends them when such a node is removed.

    Args:
        nodes: Nodes that the controller knows.
        conf: A slurm.conf in place of Slurm's default.

    Returns:
        For each node the ids of the jobs; those of an array have one id.

    Raises:
        SlurmCommandError: squeue failed.
    """
    found: Dict[str, List[str]] = {name: [] for name in nodes}
    # squeue's own filter by nodes knows only the nodes that jobs already have.
    fields = "--Format=JobID:|,ReqNodes:|"
    result = commands.run(["squeue", "--noheader", "--all", "--states=PENDING", fields], conf=conf)
    if result.rc != 0:
        raise commands.SlurmCommandError(f"squeue: {result.message}")
    expanded: Dict[str, List[str]] = {}
    for line in result.stdout.splitlines():
        job_id, requested = [field.strip() for field in line.split("|")][:2]
        if requested and requested not in expanded:
            expanded[requested] = hostlist.expand(requested, conf)
        for name in expanded.get(requested, []):
            if name in found and job_id not in found[name]:
                found[name].append(job_id)
    return found


def find(ids: List[str], conf: Optional[str] = None) -> Dict[str, Job]:
    """Find jobs, in one call, and in the accounting those that have left the queue.

    Args:
        ids: Job ids.
        conf: A slurm.conf in place of Slurm's default.

    Returns:
        The jobs that are still known.

    Raises:
        SlurmCommandError: squeue failed.
    """
    jobs = _squeue(["--states=all", "--jobs=" + ",".join(ids)], conf)
    gone = [job_id for job_id in ids if job_id not in jobs]
    if gone:
        fields = ["--format=JobIDRaw,State,ExitCode,NodeList", "--jobs=" + ",".join(gone)]
        result = commands.run(["sacct", "--noheader", "--allocations", "--parsable2", *fields], conf=conf)
        jobs.update(parse_accounting(result.stdout) if result.rc == 0 else {})
    return jobs


def submit(arguments: List[str], command: str, conf: Optional[str] = None) -> str:
    """Submit a batch job that leaves no files behind.

    Args:
        arguments: Options of sbatch.
        command: What the job runs, by a shell on the node.
        conf: A slurm.conf in place of Slurm's default.

    Returns:
        The job's id.

    Raises:
        SlurmCommandError: Slurm refused the job; the message holds what it said.
    """
    if conf:
        # sbatch hands its environment on, and the node has its configuration elsewhere.
        command = "unset SLURM_CONF; " + command
    fixed = ["--parsable", "--chdir=/", "--output=/dev/null", "--error=/dev/null", "--no-requeue"]
    result = commands.run(["sbatch", *fixed, *arguments, "--wrap=" + command], conf=conf)
    found = re.match(r"^(\d+)", result.stdout.strip())
    if result.rc != 0 or not found:
        raise commands.SlurmCommandError(result.message)
    return found.group(1)


def refusal(arguments: List[str], conf: Optional[str] = None) -> str:
    """Ask whether a batch job may be submitted, without submitting it.

    Args:
        arguments: Options of sbatch.
        conf: A slurm.conf in place of Slurm's default.

    Returns:
        What Slurm said when a rule for users, accounts, QOS or partitions forbids it, else nothing.
    """
    result = commands.run(["sbatch", "--test-only", "--chdir=/", *arguments, "--wrap=true"], conf=conf)
    return result.message if result.rc != 0 and _FORBIDS.search(result.message) else ""


def cancel(ids: List[str], conf: Optional[str] = None) -> None:
    """Cancel jobs; one that has ended meanwhile is no error.

    Args:
        ids: Job ids.
        conf: A slurm.conf in place of Slurm's default.
    """
    commands.run(["scancel", "--quiet", *ids], conf=conf)


def requeue(ids: List[str], conf: Optional[str] = None) -> Dict[str, str]:
    """Send jobs back to the queue, so that they start again elsewhere.

    Args:
        ids: Job ids.
        conf: A slurm.conf in place of Slurm's default.

    Returns:
        What Slurm said about jobs that it did not take back: interactive ones, and those that forbid it.
    """
    refused = {}
    for job_id in ids:
        result = commands.run(["scontrol", "requeue", job_id], conf=conf)
        if result.rc != 0:
            refused[job_id] = result.message
    return refused
