"""The logins that are kept: what there is, without what is secret of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from slurmscale.errors import NotFoundError
from slurmscale.service.access.authentication import Principal, deny, record, requires
from slurmscale.service.access.permissions import Permission
from slurmscale.service.api.idempotency import RepeatableRoute
from slurmscale.service.api.schemas import CredentialList, CredentialView, NewCredential, fingerprint_of
from slurmscale.service.state import Parts

router = APIRouter(prefix="/api/slurm/credentials", tags=["credentials"], route_class=RepeatableRoute)

Keeper = Annotated[Principal, Depends(requires(Permission.CREDENTIALS_WRITE))]
CredentialId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,32}$")]


@router.get("")
def credentials(principal: Keeper, parts: Parts) -> CredentialList:
    """List the logins that are kept; nothing of them is secret."""
    kept = [one for one in parts.scaling.logins.all() if principal.sees(one.cluster)]
    return CredentialList(items=[CredentialView.of(one) for one in kept])


@router.post("", status_code=201)
def keep_credential(
    body: NewCredential, principal: Keeper, request: Request, response: Response, parts: Parts
) -> CredentialView:
    """Keep a login, sealed, which requests of its cluster may name as `credential`, for the nodes that they name."""
    cluster = parts.cluster(body.cluster, principal).name
    if not principal.sees(cluster):
        raise deny(request, principal, f"access to the cluster {cluster}", cluster=cluster)
    made = parts.scaling.logins.add(cluster, body.credentials(), fingerprint_of(body.key))
    details = {"credential": made.id, "kind": made.kind, "fingerprint": made.fingerprint}
    record(request, principal, "success", cluster=cluster, details=details)
    response.headers["Location"] = f"{parts.base}/api/slurm/credentials"
    return CredentialView.of(made)


@router.delete("/{credential_id}", status_code=204)
def delete_credential(credential_id: CredentialId, principal: Keeper, request: Request, parts: Parts) -> None:
    """Delete a login that is kept; runs that name it and have not begun fail."""
    kept = parts.scaling.logins.named(credential_id)
    if kept is None or not principal.sees(kept.cluster) or not parts.scaling.logins.remove(kept):
        raise NotFoundError("There is no such credential.")
    record(request, principal, "success", cluster=kept.cluster, details={"credential": kept.id, "kind": kept.kind})
