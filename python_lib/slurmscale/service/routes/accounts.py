"""Users and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Path, Request

from slurmscale.errors import Code, NotFoundError, RefusedError
from slurmscale.inventory.names import shown
from slurmscale.service.access.authentication import (
    Principal,
    SignedIn,
    deny,
    record,
    require_all_clusters,
    requires,
)
from slurmscale.service.access.permissions import Permission, Role, permissions_of
from slurmscale.service.api.idempotency import RepeatableRoute
from slurmscale.service.api.schemas import (
    MadeToken,
    NewToken,
    NewUser,
    TokenList,
    TokenView,
    UserAccount,
    UserChange,
    UserList,
)
from slurmscale.service.problems import ProblemError
from slurmscale.service.state import Parts, Service
from slurmscale.store.accounts import User

if TYPE_CHECKING:
    from collections.abc import Collection

router = APIRouter(prefix="/api", tags=["accounts"], route_class=RepeatableRoute)

Admin = Annotated[Principal, Depends(requires(Permission.USERS_ADMIN))]
AccountId = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$")]


@router.get("/tokens")
def tokens(principal: SignedIn, parts: Parts) -> TokenList:
    """List one's own tokens and logins; with the permission users:admin those of all users whom one manages."""
    owner = None if principal.may(Permission.USERS_ADMIN) else principal.user_id
    names = {user.id: user.name for user in parts.accounts.users.all() if _manages(principal, user)}
    found = parts.accounts.tokens.of_user(owner)
    return TokenList(items=[TokenView.of(token, names[token.user_id]) for token in found if token.user_id in names])


@router.post("/tokens", status_code=201)
def create_token(body: NewToken, principal: SignedIn, request: Request, parts: Parts) -> MadeToken:
    """Make a token that may do no more than the one it is made with; it is shown this once."""
    if body.user is not None and body.user != principal.name and not principal.may(Permission.USERS_ADMIN):
        raise deny(request, principal, f"the permission {Permission.USERS_ADMIN.value}", user=body.user)
    user = parts.accounts.find_user(body.user or principal.user_id)
    if not _manages(principal, user):
        raise NotFoundError(f"There is no user {shown(user.name)}.")
    text, token = parts.accounts.new_token(
        user,
        body.name,
        body.days or parts.config.token_days,
        permissions=_limited(principal, body.permissions),
        clusters=_bound(principal, body.clusters),
    )
    record(request, principal, "success", details={"token": token.id, "user": user.name})
    return MadeToken.with_text(token, user.name, text)


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(token_id: AccountId, principal: SignedIn, request: Request, parts: Parts) -> None:
    """Revoke a token or end a login: one's own, or with the permission users:admin one of a user whom one manages."""
    _, user = parts.accounts.tokens.with_user(token_id) or (None, None)
    may = user is not None and (user.id == principal.user_id or principal.may(Permission.USERS_ADMIN))
    if user is None or not may or not _manages(principal, user) or not parts.accounts.tokens.remove(token_id):
        raise NotFoundError("There is no such token.")
    record(request, principal, "success")


@router.get("/users")
def users(principal: Admin, parts: Parts) -> UserList:
    """List the users: who is limited to some clusters manages those who are limited to some of these."""
    found = [user for user in parts.accounts.users.all() if _manages(principal, user)]
    return UserList(items=[UserAccount.of(user) for user in found])


@router.post("/users", status_code=201)
def create_user(body: NewUser, principal: Admin, request: Request, parts: Parts) -> UserAccount:
    """Make a user, who may do and see no more than oneself."""
    _require_no_more(request, principal, body.role, body.clusters)
    made = parts.accounts.add_user(body.name, body.role, password=body.password, clusters=body.clusters)
    record(request, principal, "success", details={"user": made.name, "role": made.role})
    return UserAccount.of(made)


@router.patch("/users/{user_id}")
def change_user(user_id: AccountId, body: UserChange, principal: Admin, request: Request, parts: Parts) -> UserAccount:
    """Change the role, the clusters, the password or the state of a user, who may do and see no more than oneself."""
    found = _user(parts, user_id, principal)
    values = body.model_dump(exclude_unset=True)
    if not values:
        raise ProblemError(422, Code.REQUEST_INVALID, "Nothing is to be changed.", "Name what is.")
    if any(values[name] is None for name in ("role", "disabled", "password") if name in values):
        raise ProblemError(422, Code.REQUEST_INVALID, "Only clusters may be null: all of them.", "Leave it away.")
    _require_no_more(request, principal, Role(found.role), found.clusters)
    _require_no_more(request, principal, values.get("role", Role(found.role)), values.get("clusters", found.clusters))
    changed = parts.accounts.change_user(found, **values)
    shown = {name: value for name, value in values.items() if name != "password"}
    record(request, principal, "success", details={"user": found.name, "changed": sorted(values), **shown})
    return UserAccount.of(changed)


@router.delete("/users/{user_id}", status_code=204)
def remove_user(user_id: AccountId, principal: Admin, request: Request, parts: Parts) -> None:
    """Delete a user and its tokens."""
    found = _user(parts, user_id, principal)
    _require_no_more(request, principal, Role(found.role), found.clusters)
    parts.accounts.remove_user(found)
    record(request, principal, "success", details={"user": found.name})


def _user(parts: Service, user_id: str, principal: Principal) -> User:
    found = parts.accounts.users.get(user_id)
    if found is None or not _manages(principal, found):
        raise NotFoundError("There is no such user.")
    return found


def _manages(principal: Principal, user: User) -> bool:
    return user.id == principal.user_id or principal.covers(user.clusters)


def _require_no_more(request: Request, principal: Principal, role: Role, clusters: Collection[str] | None) -> None:
    """Refuse to give what its giver does not have, or to take it from somebody."""
    if clusters is None:
        require_all_clusters(request, principal)
    for cluster in clusters or ():
        if not principal.sees(cluster):
            raise deny(request, principal, f"access to the cluster {cluster}", cluster=cluster)
    missing = sorted(permissions_of(role, limited=clusters is not None) - principal.permissions)
    if missing:
        raise deny(request, principal, f"the permission {missing[0].value}", permission=missing[0].value)


def _limited(principal: Principal, wanted: list[Permission] | None) -> list[str] | None:
    """Return what a new token is limited to: never more than what its maker may do at the moment."""
    if wanted is None:
        whole = principal.permissions == permissions_of(principal.role, limited=principal.clusters is not None)
        return None if whole else sorted(principal.permissions)
    missing = [one.value for one in wanted if not principal.may(one)]
    if missing:
        raise RefusedError(f"{principal.name} does not have the permission {missing[0]}.", "Leave it away.")
    return sorted(wanted)


def _bound(principal: Principal, wanted: list[str] | None) -> list[str] | None:
    if wanted is None:
        return None if principal.clusters is None else sorted(principal.clusters)
    missing = [one for one in wanted if not principal.sees(one)]
    if missing:
        raise RefusedError(f"{principal.name} is not for the cluster {missing[0]}.", "Leave it away.")
    return wanted
