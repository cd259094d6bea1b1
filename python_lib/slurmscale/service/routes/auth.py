"""Signing in and out."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from slurmscale.errors import Code
from slurmscale.service.access.authentication import (
    COOKIE,
    Principal,
    SignedIn,
    holder_of,
    record,
    source_of,
)
from slurmscale.service.api.schemas import Login, LoginAnswer, LoginData, UserView
from slurmscale.service.problems import ProblemError
from slurmscale.service.state import Parts, Service

if TYPE_CHECKING:
    from slurmscale.store.accounts import Token, User

router = APIRouter(prefix="/api/auth", tags=["auth"])

ACTION = "login"
_TRIES = 5
_TRIES_OF_ADDRESS = 30
"""Many users may come from one address."""
_FIRST_PAUSE = 30.0
_LONGEST_PAUSE = 900.0
_WINDOW = 3600.0


@router.post("/login", responses={401: {}, 429: {}})
def login(body: Login, request: Request, response: Response, parts: Parts) -> LoginAnswer:
    """Sign in with name and password, or turn a token into a session."""
    resource = f"user/{body.username}" if body.username is not None else "token"
    _pause(parts, source_of(request), resource)
    user, token = _signing_in(body, parts)
    if user is None:
        record(request, None, "failed", ACTION, resource=resource)
        raise ProblemError(
            401, Code.NOT_SIGNED_IN, "Name and password, or the token, are not right.", "Try again, or ask an"
            " administrator.", headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    text, session = parts.accounts.new_session(user, parts.config.session_hours, token)
    principal = holder_of(session, user)
    record(request, principal, "success", ACTION, resource=resource)
    if body.cookie:
        response.set_cookie(
            COOKIE, text, max_age=int(session.expires_at - session.created_at), path="/", secure=True, httponly=True,
            samesite="strict",
        )  # fmt: skip
    expires = datetime.fromtimestamp(session.expires_at, UTC)
    return LoginAnswer(data=LoginData(token=None if body.cookie else text, expires_at=expires, user=view_of(principal)))


@router.post("/logout", status_code=204)
def logout(principal: SignedIn, request: Request, response: Response, parts: Parts) -> None:
    """Sign out: the session ends. A token that somebody made stays; it is revoked by name."""
    parts.accounts.tokens.remove(principal.token_id, kind="session")
    record(request, principal, "success")
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")


@router.get("/me")
def me(principal: SignedIn) -> UserView:
    """Say who is signed in, and what he may do."""
    return view_of(principal)


def view_of(principal: Principal) -> UserView:
    """Return what is told of who is signed in."""
    return UserView(
        id=principal.user_id,
        name=principal.name,
        role=principal.role.value,
        permissions=sorted(principal.permissions),
        clusters=None if principal.clusters is None else sorted(principal.clusters),
    )


def _signing_in(body: Login, parts: Service) -> tuple[User | None, Token | None]:
    """Return who signs in, and the token that he does it with."""
    if body.token is not None and body.username is None and body.password is None:
        token, user = parts.accounts.holder(body.token) or (None, None)
        return user, token
    if body.token is None and body.username is not None and body.password is not None:
        return parts.accounts.sign_in(body.username, body.password), None
    raise ProblemError(
        422, Code.REQUEST_INVALID, "A login has a username and a password, or a token.", "Send the one or the other."
    )


def _pause(parts: Service, source: str, resource: str) -> None:
    """Refuse a login after too many failures, ever longer."""
    now = time.time()
    since = now - _WINDOW
    for tries, of in ((_TRIES, resource), (_TRIES_OF_ADDRESS, None)):
        count, last = parts.audit.failures(ACTION, source, of, since)
        if count < tries:
            continue
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (count - tries))
        left = math.ceil(last + pause - now)
        if left > 0:
            raise ProblemError(
                429, Code.TOO_MANY_REQUESTS, "There were too many failed logins.", f"Try again in {left} seconds.",
                headers={"Retry-After": str(left)},
            )  # fmt: skip
