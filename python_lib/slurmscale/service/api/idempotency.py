"""Answers a request that is repeated with the same Idempotency-Key as it was answered the first time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from fastapi.responses import Response
from fastapi.routing import APIRoute

from slurmscale.errors import Code
from slurmscale.service.access.authentication import principal_of
from slurmscale.service.access.keys import derive
from slurmscale.service.problems import ProblemError
from slurmscale.store.idempotency import IdempotencyKeys, RequestKey

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Request

    from slurmscale.service.access.authentication import Principal
    from slurmscale.store.engine import Database

HEADER = "idempotency-key"
_KEY = re.compile(r'"?[A-Za-z0-9_.:-]{1,200}"?')
_SUCCESS = range(200, 300)
_REPEATED_HEADERS = ("content-type", "location", "preference-applied")


class Repeats:
    """The answers that are kept, sealed, as they may hold a token.

    Args:
        database: Where they are kept.
        keys: The secret keys of the service.
    """

    def __init__(self, database: Database, keys: tuple[bytes, ...]) -> None:
        self._keys = IdempotencyKeys(database)
        self._digest_keys = derive(keys, "idempotency")
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in derive(keys, "answers")])

    def digests(self, request: Request, principal: Principal, body: bytes) -> list[str]:
        """Return what tells two requests apart, by each key; the plain hash of a password could be guessed.

        What their makers may do does, too: another token of the same user does not get an answer that is not for it.
        """
        limits = [sorted(principal.permissions), None if principal.clusters is None else sorted(principal.clusters)]
        content = f"{request.method} {request.url.path}\n{json.dumps(limits)}\n".encode() + body
        return [hmac.new(key, content, hashlib.sha256).hexdigest() for key in self._digest_keys]

    def begin(self, request_key: RequestKey, digests: list[str]) -> dict[str, Any] | str | None:
        """Note that a request is in progress, or return the answer that it got before, or the run that it made.

        Raises:
            ProblemError: The key was used for another request, or the request is still in progress.
        """
        known = self._keys.begin(request_key, digests[0])
        if known is None:
            return None
        if not any(hmac.compare_digest(known.digest, digest) for digest in digests):
            raise ProblemError(
                422, Code.IDEMPOTENCY_KEY_REUSED, "This Idempotency-Key belongs to another request.", "Use a new key."
            )
        if known.run_id is not None:
            return known.run_id
        if known.answer is None:
            raise ProblemError(
                409, Code.REQUEST_AT_WORK, "The request with this Idempotency-Key is still in progress.",
                "Repeat it later.", headers={"Retry-After": "1"},
            )  # fmt: skip
        try:
            return json.loads(self._fernet.decrypt(known.answer.encode()))  # type: ignore[no-any-return] # as finish() wrote it
        except InvalidToken as exc:
            raise ProblemError(
                409, Code.REQUEST_AT_WORK, "The first answer was sealed with a key that is gone.", "Use a new key."
            ) from exc

    def finish(self, request_key: RequestKey, response: Response) -> None:
        """Keep the answer of a request that was done; let one that was not be repeated."""
        if response.status_code not in _SUCCESS:
            self._keys.forget(request_key)
            return
        answer = {
            "status": response.status_code,
            "headers": {name: response.headers[name] for name in _REPEATED_HEADERS if name in response.headers},
            "body": base64.b64encode(response.body).decode(),
        }
        self._keys.finish(request_key, self._fernet.encrypt(json.dumps(answer).encode()).decode())

    def forget(self, request_key: RequestKey) -> None:
        """Let a request that failed be repeated; one that has made a run is told of that run instead."""
        self._keys.forget(request_key)


class RepeatableRoute(APIRoute):
    """A route whose POST may be repeated with an Idempotency-Key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with that around it."""
        handler = super().get_route_handler()

        async def repeatable(request: Request) -> Response:
            given = request.headers.get(HEADER)
            if given is None or request.method != "POST":
                return await handler(request)
            if not _KEY.fullmatch(given):
                raise ProblemError(
                    400, Code.REQUEST_INVALID, "The Idempotency-Key is not one.",
                    "Use up to 200 letters, digits, hyphens, dots, colons and underscores.",
                )  # fmt: skip
            return await _once(request, given.strip('"'), handler)

        return repeatable


async def _once(request: Request, key: str, handler: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    state = request.app.state
    principal = await anyio.to_thread.run_sync(principal_of, request, state.accounts)
    repeats: Repeats = state.repeats
    digests = repeats.digests(request, principal, await request.body())
    request.state.key = own = RequestKey(principal.user_id, key)
    known = await anyio.to_thread.run_sync(repeats.begin, own, digests)
    if isinstance(known, str):
        # whoever answered first was lost, or still waits for the end: the run answers
        request.state.made_run = known
    elif known is not None:
        headers = {**known["headers"], "Idempotency-Replayed": "true"}
        return Response(base64.b64decode(known["body"]), known["status"], headers)
    try:
        response = await handler(request)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(repeats.forget, own)
        raise
    await anyio.to_thread.run_sync(repeats.finish, own, response)
    if known is not None:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def key_of(request: Request) -> RequestKey | None:
    """Return the key that a request is recorded with."""
    return getattr(request.state, "key", None)


def made_run(request: Request) -> str | None:
    """Return the run that the same request has made before; its answer is that of this run."""
    return getattr(request.state, "made_run", None)
