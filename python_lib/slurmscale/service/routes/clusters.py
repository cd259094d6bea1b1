"""The clusters that are known."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response

from slurmscale.documents import DiscoveryDocument
from slurmscale.errors import NotFoundError, OverlapError, RefusedError
from slurmscale.models import Cluster, Credentials, RunOptions, when
from slurmscale.runs import known_clusters
from slurmscale.service.access.authentication import Principal, deny, record, require_all_clusters, requires
from slurmscale.service.access.permissions import Permission
from slurmscale.service.api.idempotency import RepeatableRoute
from slurmscale.service.api.schemas import (
    ClusterInfo,
    ClusterList,
    ClusterNode,
    ClusterNodes,
    ClusterView,
    Connect,
    Connection,
    LoginView,
    NewCluster,
    NewLogin,
    Refresh,
    RunView,
    fingerprint_of,
)
from slurmscale.service.state import Parts, Service

router = APIRouter(prefix="/api/slurm/clusters", tags=["clusters"], route_class=RepeatableRoute)

Reader = Annotated[Principal, Depends(requires(Permission.READ))]
Writer = Annotated[Principal, Depends(requires(Permission.CLUSTERS_WRITE))]
Keeper = Annotated[Principal, Depends(requires(Permission.CREDENTIALS_WRITE))]
ClusterId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
IfNoneMatch = Annotated[str | None, Header(max_length=200)]
_RECENT = 5


@router.get("", responses={304: {"description": "It is as it was."}}, response_model=ClusterList)
def clusters(principal: Reader, parts: Parts, if_none_match: IfNoneMatch = None) -> Response:
    """List the clusters."""
    found = [one for one in parts.scaling.store.clusters() if principal.sees(one.name)]
    return _tagged(ClusterList(items=[ClusterView.of(cluster) for cluster in found]), if_none_match)


@router.get("/{cluster_id}/info", responses={304: {"description": "It is as it was."}}, response_model=ClusterInfo)
def cluster_info(cluster_id: ClusterId, principal: Reader, parts: Parts, if_none_match: IfNoneMatch = None) -> Response:
    """Show a cluster and its newest runs."""
    found = _cluster(cluster_id, principal, parts)
    runs = parts.scaling.store.runs(cluster=found.name, limit=_RECENT)
    info = ClusterInfo(
        **ClusterView.of(found).model_dump(), info=found.info, recent_runs=[RunView.of(run, parts.base) for run in runs]
    )
    return _tagged(info, if_none_match)


@router.get("/{cluster_id}/nodes")
def cluster_nodes(cluster_id: ClusterId, principal: Reader, parts: Parts) -> ClusterNodes:
    """List the nodes of a cluster as it described them when it answered last; refresh it to ask again."""
    found = _cluster(cluster_id, principal, parts)
    known = (found.info or {}).get("nodes") or {}
    described = known if isinstance(known, dict) else {name: {} for name in known}
    return ClusterNodes(items=[_node(name, one) for name, one in described.items()], seen_at=when(found.seen_at))


@router.post("", status_code=201)
def add_cluster(body: NewCluster, principal: Writer, request: Request, response: Response, parts: Parts) -> ClusterView:
    """Remember a cluster that is described by the address of its controller; nothing is changed on it."""
    require_all_clusters(request, principal)
    _check_new(body.name, parts)
    known_clusters.add(
        parts.scaling.store, Cluster(body.name, controller=body.controller, apphub_urls=tuple(body.apphub_urls))
    )
    record(request, principal, "success", cluster=body.name, details={"controller": body.controller})
    response.headers["Location"] = f"{parts.base}/api/slurm/clusters/{body.name}/info"
    return ClusterView.of(parts.scaling.store.cluster(body.name))


@router.post("/test-connection")
def look_at_cluster(body: Connection, principal: Writer, request: Request, parts: Parts) -> DiscoveryDocument:
    """Look stage by stage whether a cluster can be worked with; a stage that failed is an answer, too."""
    require_all_clusters(request, principal)
    fingerprint = body.fingerprint or ""
    return DiscoveryDocument.of(
        parts.scaling.clusters.test(_described(body), fingerprint=fingerprint, requested_by=principal.name)
    )


@router.post("/connect", status_code=201)
def connect(body: Connect, principal: Writer, request: Request, response: Response, parts: Parts) -> ClusterView:
    """Look at a cluster that somebody else set up, and remember it; nothing is changed on it."""
    require_all_clusters(request, principal)
    cluster = _described(body)
    _check_new(cluster.name, parts)
    if body.keep_login:
        needed = Permission.CREDENTIALS_WRITE
        if not principal.may(needed):
            raise deny(request, principal, f"the permission {needed.value}", permission=needed.value)
        parts.scaling.logins.check(cluster.credentials)
    fingerprint = body.fingerprint or ""
    found = parts.scaling.clusters.test(cluster, fingerprint=fingerprint, requested_by=principal.name)
    made = parts.scaling.clusters.connect(cluster, found, **body.config.model_dump())
    details = {"controller": made.controller, "fingerprint": found.fingerprint}
    record(request, principal, "success", "connect_cluster", cluster=made.name, details=details)
    if body.keep_login:
        _keep(made, cluster.credentials, request, principal, parts)
    response.headers["Location"] = f"{parts.base}/api/slurm/clusters/{made.name}/info"
    return ClusterView.of(made)


@router.post("/{cluster_id}/refresh")
def refresh(
    cluster_id: ClusterId, body: Refresh, principal: Writer, request: Request, parts: Parts
) -> DiscoveryDocument:
    """Look at a known cluster again."""
    known = _cluster(cluster_id, principal, parts)
    options = RunOptions(credentials=Credentials(user=body.username, password=body.password, private_key=body.key))
    found = parts.scaling.clusters.refresh(known.name, options, requested_by=principal.name)
    record(request, principal, "success" if found.success else "failed", cluster=known.name)
    return DiscoveryDocument.of(found)


@router.get("/{cluster_id}/login")
def kept_login(cluster_id: ClusterId, principal: Keeper, parts: Parts) -> LoginView:
    """Show what is kept of how to log in to a cluster; nothing of it is secret."""
    return _login_of(_cluster(cluster_id, principal, parts).name, parts)


@router.put("/{cluster_id}/login")
def keep_login(cluster_id: ClusterId, body: NewLogin, principal: Keeper, request: Request, parts: Parts) -> LoginView:
    """Keep a login for all that is asked of a cluster from now on."""
    found = _cluster(cluster_id, principal, parts)
    _keep(found, body.credentials(), request, principal, parts)
    return _login_of(found.name, parts)


@router.delete("/{cluster_id}/login", status_code=204)
def forget_login(cluster_id: ClusterId, principal: Keeper, request: Request, parts: Parts) -> None:
    """Forget the login that is kept of a cluster."""
    found = _cluster(cluster_id, principal, parts)
    kept = parts.scaling.logins.about(found.name)
    if kept is None or not parts.scaling.logins.remove(kept):
        raise NotFoundError(f"No login of cluster {found.name} is kept.")
    record(request, principal, "success", cluster=found.name)


@router.delete("/{cluster_id}", status_code=204)
def forget_cluster(cluster_id: ClusterId, principal: Writer, request: Request, parts: Parts) -> None:
    """Forget a cluster; nothing is changed on it, and the records of its runs stay."""
    found = _cluster(cluster_id, principal, parts)
    for run in parts.scaling.store.runs(cluster=found.name, active=True, limit=1):
        raise OverlapError(run.id, run.nodes)
    parts.scaling.store.remove_cluster(found.name)
    record(request, principal, "success", cluster=found.name)


def _keep(cluster: Cluster, given: Credentials, request: Request, principal: Principal, parts: Service) -> None:
    kept = parts.scaling.logins.keep(cluster.name, given, fingerprint_of(given.private_key))
    details = {"kind": kept.kind, "fingerprint": kept.fingerprint}
    record(request, principal, "success", "keep-login", cluster=cluster.name, details=details)


def _login_of(name: str, parts: Service) -> LoginView:
    kept = parts.scaling.logins.about(name)
    if kept is None:
        raise NotFoundError(f"No login of cluster {name} is kept.")
    return LoginView.of(kept)


def _described(body: Connection) -> Cluster:
    login = body.master_ssh
    return Cluster(
        body.name,
        controller=login.host,
        credentials=Credentials(user=login.username, password=login.password, port=login.port, private_key=login.key),
    )


def _check_new(name: str, parts: Service) -> None:
    if any(one.name == name for one in parts.scaling.store.clusters()):
        raise RefusedError(f"There is a cluster {name} already.", "Choose another name, or forget it first.")


def _node(name: str, found: dict[str, Any]) -> ClusterNode:
    return ClusterNode(
        name=name,
        state=found.get("state", []),
        reason=found.get("reason", ""),
        partitions=found.get("partitions", []),
        version=found.get("version", ""),
        cpus=found.get("cpus"),
        real_memory=found.get("real_memory"),
        managed=found.get("managed"),
    )


def _cluster(name: str, principal: Principal, parts: Service) -> Cluster:
    if not principal.sees(name):
        raise NotFoundError(f"There is no cluster {name}.")
    return parts.scaling.store.cluster(name)


def _tagged(document: ClusterList | ClusterInfo, known: str | None) -> Response:
    content = document.model_dump_json()
    tag = f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if known is not None and tag in known:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")
