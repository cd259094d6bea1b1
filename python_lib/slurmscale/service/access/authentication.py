"""Who makes a request, and whether he may: the one dependency that all routes with a permission have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotations

from slurmscale.errors import Code, NotFoundError
from slurmscale.service.access.permissions import Permission, Role, permissions_of
from slurmscale.service.access.request_limits import CHANGING
from slurmscale.service.problems import ProblemError
from slurmscale.store.audit import AuditEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from slurmscale.models import Run
    from slurmscale.service.access.accounts import Accounts
    from slurmscale.store.accounts import Token, User

COOKIE = "__Host-slurmscale"
SUBPROTOCOL = "bearer."
_SIGN_IN = "Sign in, or send a token: Authorization: Bearer slsc_..."


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request.

    Attributes:
        permissions: What he may do: what his role may, and his token is not kept from.
        clusters: The clusters he is limited to; None for all.
        token_id: The token or the session that he uses.
        expires_at: Until when it is valid, in seconds since the epoch.
    """

    user_id: str
    name: str
    role: Role
    permissions: frozenset[Permission]
    clusters: frozenset[str] | None
    token_id: str
    expires_at: float

    def may(self, permission: Permission) -> bool:
        """Say whether he has a permission."""
        return permission in self.permissions

    def sees(self, cluster: str) -> bool:
        """Say whether he may see a cluster."""
        return self.clusters is None or cluster in self.clusters

    def covers(self, clusters: Collection[str] | None) -> bool:
        """Say whether he may see all that who is limited to some clusters may see; None for all clusters."""
        return self.clusters is None or (clusters is not None and self.clusters.issuperset(clusters))


def principal_of(connection: HTTPConnection, accounts: Accounts) -> Principal:
    """Return who makes a request or opens a socket: by `Authorization`, cookie, or the subprotocol `bearer.TOKEN`.

    Args:
        connection: The request or the socket.
        accounts: The users.

    Raises:
        ProblemError: He has no valid token, or the cookie comes from another page.
    """
    text, from_cookie = _token_of(connection)
    if text is None:
        raise _not_signed_in("This needs a login or a token, and there is none.")
    found = accounts.holder(text)
    if found is None:
        raise _not_signed_in("The token or the login is not valid: it is wrong, has expired, or was revoked.")
    if from_cookie:
        _check_origin(connection)
    accounts.tokens.record_use(found[0])
    return holder_of(*found)


def holder_of(token: Token, user: User) -> Principal:
    """Return who a user is with one of his tokens."""
    role = Role(user.role)
    limits = [frozenset(one) for one in (user.clusters, token.clusters) if one is not None]
    clusters = frozenset.intersection(*limits) if limits else None
    permissions = permissions_of(role, limited=clusters is not None)
    if token.permissions is not None:
        permissions &= {Permission(one) for one in token.permissions}
    return Principal(user.id, user.name, role, permissions, clusters, token.id, token.expires_at)


def _token_of(connection: HTTPConnection) -> tuple[str | None, bool]:
    scheme, _, text = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and text:
        return text.strip(), False
    if connection.scope["type"] == "websocket":
        for protocol in connection.scope.get("subprotocols", ()):
            if protocol.startswith(SUBPROTOCOL):
                return protocol.removeprefix(SUBPROTOCOL), False
    cookie = connection.cookies.get(COOKIE)
    return (cookie, True) if cookie else (None, False)


def _not_signed_in(detail: str) -> ProblemError:
    return ProblemError(401, Code.NOT_SIGNED_IN, detail, _SIGN_IN, headers={"WWW-Authenticate": "Bearer"})


def _check_origin(connection: HTTPConnection) -> None:
    """Refuse changes, and sockets, for which a page of somebody else's used the cookie of the user."""
    socket = connection.scope["type"] == "websocket"
    if not socket and connection.scope["method"] not in CHANGING:
        return
    headers = connection.headers
    if headers.get("sec-fetch-site") == "same-origin" and not socket:
        return
    origin = headers.get("origin", "")
    if origin.partition("://")[2] != headers.get("host"):
        raise ProblemError(
            403,
            Code.ORIGIN_NOT_ALLOWED,
            "The request comes from a page of another origin.",
            "Use the service's own page, or a token in place of the cookie.",
        )


def signed_in(request: Request) -> Principal:
    """Return who makes a request; the dependency of routes that need a login and no permission.

    A token or a login that is not valid is audited. That there is none is not: each page begins so.
    """
    try:
        return principal_of(request, request.app.state.accounts)
    except ProblemError as exc:
        if _token_of(request)[0] is not None:
            record(request, None, "denied", details={"code": exc.code})
        raise


SignedIn = Annotated[Principal, Depends(signed_in)]


def requires(permission: Permission) -> Callable[..., Principal]:
    """Return a dependency that gives who makes a request and has a permission; a denied one is audited."""

    def checked(request: Request, principal: SignedIn) -> Principal:
        if principal.may(permission):
            return principal
        raise deny(request, principal, f"the permission {permission.value}", permission=permission.value)

    checked.permission = permission  # type: ignore[attr-defined] # for the list of routes and their permissions
    return checked


def deny(request: Request, principal: Principal, what: str, **details: str) -> ProblemError:
    """Write into the audit trail that something was denied, and return the problem to raise.

    Args:
        request: The request.
        principal: Who makes it.
        what: What he would need, as a part of a sentence.
        details: The same for programs.
    """
    record(request, principal, status="denied", details=details)
    return ProblemError(
        403,
        Code.PERMISSION_MISSING,
        f"This needs {what}, which {principal.name} does not have.",
        "Ask an administrator of the service.",
    )


def require_all_clusters(request: Request, principal: Principal, **details: str) -> None:
    """Refuse who is limited to some clusters; parameters as of `deny`."""
    if principal.clusters is not None:
        raise deny(request, principal, "access to all clusters", **details)


def record(request: Request, principal: Principal | None, status: str, action: str | None = None, **more: Any) -> None:
    """Write into the audit trail what a request asked for.

    Args:
        request: The request.
        principal: Who makes it, as far as it is known.
        status: success, failed or denied.
        action: What was asked for; the name of the route when None.
        more: Further columns of the trail.
    """
    route = request.scope.get("route")
    values: dict[str, Any] = {
        "action": action or getattr(route, "name", request.method.lower()).replace("_", "-"),
        "status": status,
        "resource": f"{request.method} {request.url.path}",
        "source": source_of(request),
        "request_id": request.scope.get("request_id"),
    }
    if principal is not None:
        values |= {"user_id": principal.user_id, "user_name": principal.name, "token_id": principal.token_id}
    request.app.state.audit.add(AuditEntry(**values | more))


def source_of(connection: HTTPConnection) -> str:
    """Return the address of the caller."""
    return connection.client.host if connection.client else "unknown"


def visible(run: Run, principal: Principal) -> Run:
    """Return a run, unless it is of a cluster that its viewer may not see.

    Raises:
        NotFoundError: He may not; nothing tells that there is such a run.
    """
    if not principal.sees(run.cluster):
        raise NotFoundError(f"There is no run {run.id}.")
    return run
