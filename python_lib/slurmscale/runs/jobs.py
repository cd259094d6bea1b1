"""Jobs on clusters: submitted as an ordinary user, followed in Slurm's own words, cancelled, and their output read.

Each call is one playbook on the controller, whatever the number of jobs. What was submitted from here is remembered:
Slurm forgets a job some minutes after its end (MinJobAge), and without accounting nobody else knows it then. Where
there is none, `refresh` has to be called more often than that for the end of a job to be seen.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from typing import TYPE_CHECKING, Any

from slurmscale.clean_text import clean
from slurmscale.errors import NotFoundError, RefusedError
from slurmscale.models import JobOutput, RunOptions, SlurmJob
from slurmscale.operations import Operation
from slurmscale.runs.request import Request
from slurmscale.runs.wait_for_report import queried_report, recorded_report
from slurmscale.store.jobs import JobRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from slurmscale.models import Cluster, JobSpec
    from slurmscale.runner.protocol import Job, Launch
    from slurmscale.runs.handle import RunHandle
    from slurmscale.settings import Settings
    from slurmscale.store.engine import Database

_CLOCKS = 3600
"""Seconds by which the clocks of this machine and of a controller may differ."""
_ACCOUNTING_LAG = 300.0
"""Seconds after which the accounting must know a job that left the queue."""
_OUTPUT_LIMIT = 1_048_576
_MOST_NAMED = 5
_DESCRIBED = ("state", "reason", "exit_code", "nodes", "user", "partition", "batch_host", "name", "output")


class Jobs:
    """The jobs of all clusters.

    Args:
        config: Settings.
        database: Where they are remembered.
        find_cluster: Returns the cluster of a name, or of the path of an inventory.
        make_job: Makes the job that runs a playbook without a record.
        start: Begins a run.
    """

    def __init__(
        self,
        config: Settings,
        database: Database,
        find_cluster: Callable[[str], Cluster],
        make_job: Callable[[Launch], Job],
        start: Callable[[Request], RunHandle],
    ) -> None:
        self._config = config
        self._records = JobRecords(database)
        self._find_cluster = find_cluster
        self._make_job = make_job
        self._start = start

    def submit(
        self,
        cluster: Cluster | str,
        spec: JobSpec,
        options: RunOptions | None = None,
        *,
        requested_by: str | None = None,
    ) -> SlurmJob:
        """Submit a job as the user that the variable job_user of the cluster names.

        Args:
            cluster: A cluster, the name of a known one, or the path of an inventory.
            spec: The job.
            options: Login and variables, as for a run.
            requested_by: The user of a service who asks.

        Returns:
            The job as Slurm describes it right after.

        Raises:
            RefusedError: It was not submitted; the text says why.
            StoreError: It was submitted, and could not be remembered.
        """
        cluster = self._find_cluster(cluster) if isinstance(cluster, str) else cluster
        wanted = {f"job_{name}": getattr(spec, name) for name in spec.__dataclass_fields__ if getattr(spec, name)}
        report = self._ask(Operation.SUBMIT_JOB, cluster, options, requested_by=requested_by, **wanted)
        now = time.time()
        job = SlurmJob(
            f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(3)}",
            cluster.name,
            report["job_id"],
            inventory=cluster.inventory,
            name=spec.name,
            partition=spec.partition,
            state="PENDING",
            submitted_at=now,
            seen_at=now,
            asked_at=now,
        )
        job = _described(job, report, now)
        self._records.add(job)
        return job

    def newest(
        self,
        limit: int | None = 20,
        cluster: str | None = None,
        *,
        clusters: Collection[str] | None = None,
        before: tuple[float, str] | None = None,
    ) -> list[SlurmJob]:
        """Return the newest jobs as they were seen last, see `refresh`; parameters as of `JobRecords.newest`."""
        return self._records.newest(limit, cluster, clusters=clusters, before=before)

    def refresh(self, cluster: str, options: RunOptions | None = None) -> list[SlurmJob]:
        """Ask a cluster how all of its jobs stand that have not ended, once for each user who has any.

        Args:
            cluster: Name of the cluster.
            options: Login and variables, as for a run.

        Returns:
            These jobs; none, and no question, when all have ended.

        Raises:
            RefusedError: The cluster gave no answer; nothing is known anew.
        """
        live = self._records.live(cluster)
        return self._query(live, options) if live else []

    def find(self, text: str, clusters: Collection[str] | None = None) -> SlurmJob:
        """Return the job of an id as it was seen last.

        Args:
            text: Our id or its beginning, Slurm's id, or CLUSTER:JOBID, which need not have been submitted from here.
            clusters: Only jobs of these clusters; of all when None.

        Raises:
            NotFoundError: There is none, or more than one.
        """
        cluster, separator, job_id = text.rpartition(":")
        if separator:
            if not job_id.isdigit() or not cluster or (clusters is not None and cluster not in clusters):
                raise NotFoundError(f"{clean(text)} is no job.", "Write CLUSTER:JOBID.")
            known = self._records.like(job_id, cluster)
            # ids are used again after a reset
            return known[0] if known else SlurmJob(text, self._find_cluster(cluster).name, job_id)
        found = [job for job in self._records.like(text) if clusters is None or job.cluster in clusters]
        names = dict.fromkeys(f"{job.cluster}:{job.job_id}" if text.isdigit() else job.id for job in found)
        if len(names) > 1:
            more = ", ..." if len(names) > _MOST_NAMED else ""
            raise NotFoundError(f"{text} may be {', '.join(list(names)[:_MOST_NAMED])}{more}.", "Write one of them.")
        if not found:
            raise NotFoundError(
                f"No job {clean(text)} was submitted from here.",
                "List them: slurmscale job list. Or write CLUSTER:JOBID.",
            )
        return found[0]

    def show(self, text: str, options: RunOptions | None = None) -> SlurmJob:
        """Return a job as Slurm describes it now; parameters as in `find` and `refresh`.

        Raises:
            NotFoundError: There is no such job.
            RefusedError: The cluster gave no answer.
        """
        job = self.find(text)
        if job.ended:
            return job
        (job,) = self._query([job], options)
        if not job.state:
            raise NotFoundError(
                f"Cluster {job.cluster} knows no job {job.job_id} of this user.",
                "A job that has ended is known for some minutes, and after that only by an accounting.",
            )
        return job

    def cancel(self, text: str, options: RunOptions | None = None, *, requested_by: str | None = None) -> SlurmJob:
        """Cancel a job; parameters as in `find` and `submit`.

        Returns:
            The job as Slurm describes it right after; what it ran may take a moment to end.

        Raises:
            RefusedError: It has ended already, or Slurm did not cancel it.
        """
        job = self.show(text, options)
        if job.ended:
            raise RefusedError(f"Job {job.id} has ended already: {job.state}. {job.note}".strip())
        report = self._ask(
            Operation.CANCEL_JOB, self._cluster(job), options, user=job.user, requested_by=requested_by,
            job_ids=job.job_id,
        )  # fmt: skip
        return self._remember([job], report)[0]

    def output(self, text: str, options: RunOptions | None = None, *, limit: int = _OUTPUT_LIMIT) -> JobOutput:
        """Read the end of what a job wrote; parameters as in `find` and `refresh`.

        It is read where the job ran when the inventory has this node, else on the controller, where it is when both
        share their file system.

        Args:
            text: The job.
            options: Login and variables, as for a run.
            limit: Bytes to read at most.

        Raises:
            RefusedError: There is no such file, or nobody knows where it is.
        """
        job = self.find(text)
        if not job.ended and not (job.output and job.batch_host):
            job = self.show(text, options)
        if not job.output.startswith("/"):
            raise RefusedError(
                f"Slurm did not say where the output of job {job.id} is.",
                "It is asked for while a job is in the queue: use `job show` before it has left it.",
                code="job-output-missing",
            )
        wanted: dict[str, Any] = {"job_path": job.output, "job_limit": limit}
        if job.batch_host:
            wanted["job_host"] = job.batch_host
        report = self._ask(Operation.READ_JOB_OUTPUT, self._cluster(job), options, user=job.user, **wanted)
        if not report["found"]:
            raise RefusedError(
                f"The output of job {job.id} can't be read on {report['host']}: {report['problem']}.",
                "A job that has not started has none. Else add the node on which it ran to the inventory, or let it"
                " write to a file system that the controller shares.",
                code="job-output-missing",
            )
        return JobOutput(job, report["host"], job.output, report["text"], report["size"])

    def _cluster(self, job: SlurmJob) -> Cluster:
        return dataclasses.replace(self._find_cluster(job.inventory or job.cluster), name=job.cluster)

    def _query(self, jobs: list[SlurmJob], options: RunOptions | None) -> list[SlurmJob]:
        found = []
        # others may not see a user's jobs
        for user in dict.fromkeys(job.user for job in jobs):
            own = [job for job in jobs if job.user == user]
            since = min(job.submitted_at for job in own) - _CLOCKS
            wanted: dict[str, Any] = {"job_ids": ",".join(job.job_id for job in own), "job_since": max(0, int(since))}
            report = self._ask(Operation.QUERY_JOBS, self._cluster(own[0]), options, user=user, **wanted)
            found += self._remember(own, report)
        return found

    def _remember(self, jobs: Iterable[SlurmJob], report: dict[str, Any]) -> list[SlurmJob]:
        now = time.time()
        described = [_described(job, report, now) for job in jobs]
        self._records.update(described)
        return described

    def _ask(
        self,
        operation: Operation,
        cluster: Cluster,
        options: RunOptions | None,
        *,
        user: str = "",
        requested_by: str | None = None,
        **wanted: Any,
    ) -> dict[str, Any]:
        """Return what a playbook reports; of jobs whose user Slurm told, nobody has to say it again."""
        options = options or RunOptions()
        known = {"job_user": user} if user else {}
        options = dataclasses.replace(options, extra_vars=known | options.extra_vars | wanted)
        request = Request(operation, cluster, {}, options, requested_by=requested_by)
        if operation.definition.recorded:
            return recorded_report(request, self._start)[1]
        return queried_report(self._config, request, self._make_job)


def _described(job: SlurmJob, report: dict[str, Any], now: float) -> SlurmJob:
    """Return a job with what Slurm says of it; what it doesn't say any more stays."""
    found = report["jobs"].get(job.job_id)
    if found:
        said: dict[str, Any] = {name: clean(str(found[name])) for name in _DESCRIBED if found[name]}
        known = {"reason": "", **said, "lost": False, "seen_at": now, "asked_at": now}
        return dataclasses.replace(job, **known)
    # an accounting may be some seconds behind the queue, and may be silent
    silent = now - job.seen_at > _ACCOUNTING_LAG if report["accounting"] == "kept" else False
    return dataclasses.replace(job, lost=report["accounting"] == "none" or silent, asked_at=now)
