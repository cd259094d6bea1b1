"""Jobs on clusters, in Slurm's own words."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from slurmscale.documents import JobDocument, JobOutputDocument
from slurmscale.errors import NotFoundError
from slurmscale.models import JobSpec, SlurmJob
from slurmscale.service.access.authentication import Principal, deny, record, requires
from slurmscale.service.access.permissions import Permission
from slurmscale.service.api.idempotency import RepeatableRoute
from slurmscale.service.api.paging import Cursor, Limit, cursor_after, link_next, place_of
from slurmscale.service.api.schemas import JobPage, NewJob
from slurmscale.service.state import Parts, Service

router = APIRouter(prefix="/api/jobs", tags=["jobs"], route_class=RepeatableRoute)

Reader = Annotated[Principal, Depends(requires(Permission.JOBS_READ))]
Submitter = Annotated[Principal, Depends(requires(Permission.JOBS_SUBMIT))]
Canceller = Annotated[Principal, Depends(requires(Permission.JOBS_CANCEL))]
JobId = Annotated[str, Path(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62}:)?[0-9a-f-]{1,40}$")]


@router.post("/submit", status_code=201)
def submit_job(body: NewJob, principal: Submitter, request: Request, response: Response, parts: Parts) -> JobDocument:
    """Submit a job as the ordinary user that the cluster names for it."""
    cluster = parts.cluster(body.cluster_id, principal)
    if not principal.sees(cluster.name):
        raise deny(request, principal, f"access to the cluster {cluster.name}", cluster=cluster.name)
    script = body.command if body.command.startswith("#!") else f"#!/bin/sh\n{body.command}\n"
    spec = JobSpec(script, body.name or "", body.partition or "", body.nodes or "", body.time or "")
    job = parts.scaling.jobs.submit(cluster, spec, requested_by=principal.name)
    record(request, principal, "success", cluster=cluster.name, details={"job": job.id, "job_id": job.job_id})
    response.headers["Location"] = f"{parts.base}/api/jobs/{job.id}"
    return JobDocument.of(job)


@router.get("")
def jobs(
    principal: Reader,
    parts: Parts,
    request: Request,
    response: Response,
    cluster: Annotated[str | None, Query(max_length=255)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    *,
    refresh: bool = False,
) -> JobPage:
    """List jobs, newest first, as Slurm described them last, or, with `refresh`, as it describes them now."""
    before = place_of(cursor)
    found = parts.scaling.jobs.newest(limit + 1, cluster, clusters=principal.clusters, before=before)
    if refresh:
        for name in dict.fromkeys(job.cluster for job in found[:limit] if not job.ended):
            parts.scaling.jobs.refresh(name)
        found = parts.scaling.jobs.newest(limit + 1, cluster, clusters=principal.clusters, before=before)
    following = cursor_after(found[limit - 1].submitted_at, found[limit - 1].id) if len(found) > limit else None
    link_next(request, response, following)
    return JobPage(items=[JobDocument.of(job) for job in found[:limit]], next_cursor=following)


@router.get("/{job_id}")
def job(job_id: JobId, principal: Reader, parts: Parts) -> JobDocument:
    """Show a job as Slurm described it last; the id is ours, Slurm's, or CLUSTER:JOBID."""
    return JobDocument.of(_job(job_id, principal, parts))


@router.get("/{job_id}/status")
def job_status(job_id: JobId, principal: Reader, parts: Parts) -> JobDocument:
    """Ask Slurm how a job stands."""
    return JobDocument.of(parts.scaling.jobs.show(_job(job_id, principal, parts).id))


@router.get("/{job_id}/output")
def job_output(job_id: JobId, principal: Reader, parts: Parts) -> JobOutputDocument:
    """Read the end of what a job wrote."""
    return JobOutputDocument.of(parts.scaling.jobs.output(_job(job_id, principal, parts).id))


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(job_id: JobId, principal: Canceller, request: Request, parts: Parts) -> JobDocument:
    """Cancel a job."""
    known = _job(job_id, principal, parts)
    ended = parts.scaling.jobs.cancel(known.id, requested_by=principal.name)
    record(request, principal, "success", cluster=known.cluster, details={"job": ended.id, "job_id": ended.job_id})
    return JobDocument.of(ended)


@router.delete("/{job_id}", status_code=202)
def delete_job(job_id: JobId, principal: Canceller, request: Request, parts: Parts) -> JobDocument:
    """Do the same as `cancel`."""
    return cancel_job(job_id, principal, request, parts)


def _job(text: str, principal: Principal, parts: Service) -> SlurmJob:
    """Return a job that the caller may see; a cluster is known by its name, and never by a path."""
    cluster = text.rpartition(":")[0]
    if cluster and cluster not in {one.name for one in parts.scaling.store.clusters() if principal.sees(one.name)}:
        raise NotFoundError(f"There is no cluster {cluster}.")
    return parts.scaling.jobs.find(text, principal.clusters)
