# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Batch jobs of an unprivileged user: submitted, described, cancelled, and their output read."""

from __future__ import annotations

import os
import pwd
import re
import stat
import time
from typing import Dict, List, NamedTuple, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.jobs import exit_code, parse_accounting

# What a user may have named comes last, as it may hold the separator.
_FIELDS = ("JobID", "State", "Reason", "exit_code", "NodeList", "UserName", "Partition", "BatchHost", "Name", "StdOut")
_FORMAT = "--Format=" + ",".join(f"{field}:|" for field in _FIELDS)
_NOTHING = ("(null)", "n/a", "N/A")
_NEVER = {
    "--uid": "it would make the job another user's",
    "--gid": "it would give the job another group",
    "--array": "an array is many jobs, and is asked for by many ids",
    "--clusters": "the job would go to another cluster",
    "--wait": "sbatch would not return before the job has ended",
}
_SHORT = {"a": "--array", "M": "--clusters", "W": "--wait"}
_WITHOUT_VALUE = "HhkOQsVvI"
"""Letters that may stand before another one; after all others follows their value, as in -Jmy-array."""
_SHORTEST = 3
"""So much of an option's name may be enough for sbatch; what is not, it refuses itself."""


class Description(NamedTuple):
    """A job as Slurm describes it; what the accounting does not tell is empty."""

    job_id: str
    state: str
    reason: str
    exit_code: str
    nodes: str
    user: str = ""
    partition: str = ""
    batch_host: str = ""
    name: str = ""
    output: str = ""


class Found(NamedTuple):
    """The jobs that are still known, by id, and what the accounting could tell of the others.

    Attributes:
        jobs: The jobs.
        accounting: kept, none (the cluster has none), failed (it gave no answer), or empty when nobody had to ask.
        problem: Why it gave no answer.
    """

    jobs: Dict[str, Description]
    accounting: str = ""
    problem: str = ""


def require_plain_user(wanted: str) -> pwd.struct_passwd:
    """Return the user who runs this process.

    Args:
        wanted: Name of the user who is to submit jobs.

    Raises:
        FailureError: It is somebody else, or root.
    """
    remedy = "Set job_user to an ordinary user of the cluster, and let the login become this user by sudo."
    user = pwd.getpwuid(os.geteuid())
    if user.pw_uid == 0 or os.getuid() == 0:
        raise FailureError(Code.JOB_USER_UNSUITABLE, "Jobs are never submitted, read or cancelled as root.", remedy)
    if user.pw_name != wanted:
        reason = f"Jobs are to be {wanted}'s, and this is {user.pw_name}."
        raise FailureError(Code.JOB_USER_UNSUITABLE, reason, remedy)
    return user


def require_no_operator(user: pwd.struct_passwd, conf: Optional[str] = None) -> None:
    """Refuse the user as whom slurmctld runs, who may do everything in Slurm.

    Args:
        user: Who is to submit a job.
        conf: A slurm.conf in place of Slurm's default.

    Raises:
        FailureError: It is this user.
        SlurmCommandError: The controller does not answer.
    """
    if commands.show_config(conf=conf).get("SlurmUser", "").partition("(")[0] == user.pw_name:
        reason = f"{user.pw_name} is the SlurmUser of this cluster, and may do everything in it."
        raise FailureError(Code.JOB_USER_UNSUITABLE, reason, "Set job_user to an ordinary user of the cluster.")


def refused_option(script: str) -> str:
    """Return the first option of a script that is never allowed; empty when there is none.

    Slurm reads quotes and backslashes like a shell. Here they are dropped: what is then an option may have been part of
    a text, and is refused as well.
    """
    for line in script.splitlines():
        if not line.lstrip().upper().startswith("#SBATCH"):
            continue
        for word in re.sub(r"[\"'\\]", "", line.lstrip()[len("#SBATCH") :]).split():
            name = word.partition("=")[0]
            short = re.match(f"-[{_WITHOUT_VALUE}]*([{''.join(_SHORT)}])", word)
            if short:
                return _SHORT[short.group(1)]
            found = [option for option in _NEVER if len(name) >= _SHORTEST and option.startswith(name)]
            if found:
                return found[0]
    return ""


def submit(script: str, options: Dict[str, Optional[str]], user: pwd.struct_passwd, conf: Optional[str] = None) -> str:
    """Submit a script.

    Args:
        script: Its text.
        options: Long options of sbatch without their dashes; those without a value are left away.
        user: Who submits it. The job inherits nothing but who that is.
        conf: A slurm.conf in place of Slurm's default. slurmd puts that of its node in its place for the job.

    Returns:
        The job's id.

    Raises:
        FailureError: The script has an option that is not allowed.
        SlurmCommandError: Slurm refused the job; the message holds what it said.
    """
    refused = refused_option(script)
    if refused:
        reason = f"The script has {refused} in a line #SBATCH: {_NEVER[refused]}."
        raise FailureError(Code.JOB_SCRIPT_REFUSED, reason, "Remove it.")
    environment = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": user.pw_shell}
    arguments = [f"--{name}={value}" for name, value in options.items() if value]
    command = ["sbatch", "--parsable", "--ignore-pbs", *arguments]
    result = commands.run(command, conf=conf, stdin=script, environment=environment)
    found = re.match(r"^(\d+)", result.stdout.strip())
    if result.rc != 0 or not found:
        remedy = "Change the job as Slurm says. A user may need an account: sacctmgr show associations"
        raise commands.SlurmCommandError(
            f"Slurm did not take the job: {result.message}", remedy, Code.JOB_NOT_SUBMITTED
        )
    return found.group(1)


def parse_queue(text: str) -> Dict[str, Description]:
    """Read what squeue prints with our format: a line per job, each field ended by `|`."""
    found = {}
    for line in text.splitlines():
        fields = ["" if field.strip() in _NOTHING else field.strip() for field in line.split("|")]
        if len(fields) > len(_FIELDS) and fields[0]:
            job_id, state, reason, code, nodes, user, partition, batch_host, *name, output, _end = fields
            job = Description(
                job_id, state, reason, exit_code(code), nodes, user, partition, batch_host, "|".join(name), output
            )
            found[job.job_id] = job._replace(output=_expand(job))
    return found


def _expand(job: Description) -> str:
    """Return the file of a job's output without the patterns of sbatch, which newer versions of Slurm leave in it."""
    known = {
        "%": "%",
        "j": job.job_id,
        "A": job.job_id,
        "J": job.job_id,
        "u": job.user,
        "x": job.name,
        "N": job.batch_host,
    }
    known.update({"s": "batch", "n": "0", "t": "0"})

    def value(found: "re.Match[str]") -> str:
        text = known.get(found[2], found[0])
        return text.zfill(min(int(found[1]), 10)) if found[1] and text.isdigit() else text

    return re.sub(r"%(\d*)([%A-Za-z])", value, job.output)


def find(ids: List[str], since: float, conf: Optional[str] = None) -> Found:
    """Describe jobs: one call for those in the queue, and one to the accounting when some have left it.

    Args:
        ids: Their ids.
        since: When the first of them was submitted, in seconds since the epoch; ids are used again after a reset.
        conf: A slurm.conf in place of Slurm's default.

    Raises:
        SlurmCommandError: The controller does not answer.
    """
    wanted = ["--noheader", "--all", "--states=all", "--jobs=" + ",".join(ids), _FORMAT]
    result = commands.run(["squeue", *wanted], conf=conf)
    # Asked for a single job that has left the queue, squeue fails; asked for many, it leaves it out.
    if result.rc != 0 and "Invalid job id" not in result.message:
        remedy = "The controller must answer: scontrol ping"
        raise commands.SlurmCommandError(f"squeue: {result.message}", remedy, Code.CONTROLLER_NOT_ANSWERING)
    found = parse_queue(result.stdout) if result.rc == 0 else {}
    gone = [job_id for job_id in ids if job_id not in found]
    if not gone:
        return Found(found)
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
    wanted = [f"--jobs={','.join(gone)}", f"--starttime={start}", "--format=JobIDRaw,State,ExitCode,NodeList"]
    result = commands.run(["sacct", "--noheader", "--allocations", "--parsable2", *wanted], conf=conf)
    if result.rc == 0:
        found.update({job_id: Description(*job) for job_id, job in parse_accounting(result.stdout).items()})
        return Found(found, "kept")
    # sacct says so itself where AccountingStorageType is none.
    disabled = result.rc == commands.NOT_FOUND or "storage is disabled" in result.message
    return Found(found, "none" if disabled else "failed", "" if disabled else result.message)


def cancel(job_id: str, conf: Optional[str] = None) -> None:
    """Cancel a job.

    Args:
        job_id: Its id.
        conf: A slurm.conf in place of Slurm's default.

    Raises:
        SlurmCommandError: Slurm did not do it.
    """
    result = commands.run(["scancel", job_id], conf=conf)
    if result.rc != 0:
        raise commands.SlurmCommandError(
            f"Slurm did not cancel job {job_id}: {result.message}",
            "Only the user it belongs to, and administrators, can cancel it.",
            Code.JOB_NOT_CANCELLED,
        )


def read_output(path: str, limit: int) -> Dict[str, object]:
    """Read the end of a file.

    Args:
        path: The file.
        limit: Bytes to read at most.

    Returns:
        found, problem (why it was not), text and size.
    """
    try:
        # A pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as problem:
        return _not_read(f"{path}: {getattr(problem, 'strerror', None) or problem}")
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return _not_read(f"{path} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as source:
            source.seek(max(0, about.st_size - limit))
            text = source.read(limit).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
    return {"found": True, "problem": "", "text": text, "size": about.st_size}


def _not_read(problem: str) -> Dict[str, object]:
    return {"found": False, "problem": problem, "text": "", "size": 0}
