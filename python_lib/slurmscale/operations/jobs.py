"""What is asked of a controller for the jobs of users."""

from __future__ import annotations

from slurmscale.operations.definition import Definition, Option, Result, Scope

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


SUBMIT_JOB = _job(
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
)

QUERY_JOBS = _job(
    "query",
    "Tell how jobs stand; changes nothing.",
    "slurm:jobs:read",
    (
        Option("job_ids", "Slurm's ids, separated by commas.", str, _JOB_IDS),
        Option("job_since", "When the first of them was submitted, in seconds since 1970.", int, r"\d{1,12}"),
    ),
)

CANCEL_JOB = _job(
    "cancel",
    "Cancel a job.",
    "slurm:jobs:cancel",
    (Option("job_ids", "Slurm's id.", str, _JOB_IDS),),
    "The job may be cancelled already.",
)

READ_JOB_OUTPUT = _job(
    "read",
    "Read the end of the output of a job; changes nothing.",
    "slurm:jobs:read",
    (
        Option("job_path", "The file.", str, r"/[^\x00-\x1f]{0,4095}"),
        Option("job_host", "The node on which its script ran.", str, r"[A-Za-z0-9._-]{1,255}"),
        Option("job_limit", "Bytes to read at most.", int, r"[1-9]\d{0,8}"),
    ),
)
