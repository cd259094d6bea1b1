"""Whether the service is alive and ready; for supervisors, without a login."""

from __future__ import annotations

from fastapi import APIRouter, Response

from slurmscale.errors import StoreError
from slurmscale.service.schemas import Health, Readiness
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
    except StoreError:
        database = False
    response.status_code = 200 if database else 503
    return Readiness(ready=database, database=database)
