"""Whether the AppHubs of the clusters answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from slurmscale.service.access.authentication import Principal, requires
from slurmscale.service.access.permissions import Permission
from slurmscale.service.api.schemas import ApphubHealth, ApphubList
from slurmscale.service.monitoring import apphubs
from slurmscale.service.state import Parts

router = APIRouter(prefix="/api/apphub", tags=["apphub"])

Reader = Annotated[Principal, Depends(requires(Permission.READ))]


@router.get("/health")
def apphub_health(principal: Reader, parts: Parts) -> ApphubList:
    """Ask each AppHub whether it answers."""
    mine = [one for one in parts.scaling.store.clusters() if principal.sees(one.name)]
    answers = apphubs.ask(url for cluster in mine for url in cluster.apphub_urls)
    users = {one.url: sorted(cluster.name for cluster in mine if one.url in cluster.apphub_urls) for one in answers}
    return ApphubList(
        items=[ApphubHealth(url=one.url, up=one.up, detail=one.detail, clusters=users[one.url]) for one in answers]
    )
