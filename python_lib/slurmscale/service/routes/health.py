"""Whether the service is alive and ready; for supervisors, without a login."""

from __future__ import annotations

from fastapi import APIRouter, Response

from slurmscale.errors import StoreError
from slurmscale.service.api.schemas import Health, Readiness
from slurmscale.service.state import Parts

router = APIRouter(tags=["service"])


@router.get("/healthz")
async def health() -> Health:
    """Say that the service answers."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Readiness}})
def readiness(parts: Parts, response: Response) -> Readiness:
    """Say whether the service can do its work; 503 when it can't."""
    try:
        parts.scaling.store.check()
        database = True
        queue = parts.scaling.queue
        worker = queue is None or queue.workers() > 0
    except StoreError:
        database = worker = False
    response.status_code = 200 if database and worker else 503
    return Readiness(ready=database and worker, database=database, worker=worker)
