"""What is looked at before any route: names the service is called by, number, sizes and kinds of requests; headers."""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection

from slurmscale.errors import Code
from slurmscale.service.access.rate_limit import RateLimit
from slurmscale.service.problems import ProblemError, answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from slurmscale.service.settings import ServiceSettings

MOST_BYTES = 1024 * 1024
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
}
_HSTS = "max-age=31536000"
_TOO_LARGE = ProblemError(
    413,
    Code.REQUEST_TOO_LARGE,
    f"A request may have {MOST_BYTES:,} bytes, and this one has more.",
    "Send less at once.",
)


_NUL = ProblemError(
    422, Code.REQUEST_INVALID, "The address of a request may not hold the character NUL.", "Leave it out."
)
"""PostgreSQL takes no text with it."""


class RequestLimits:
    """Lets a request through, or answers it with a problem.

    Args:
        app: What comes next.
        config: Settings of the service.
    """

    def __init__(self, app: ASGIApp, config: ServiceSettings) -> None:
        self._app = app
        self._config = config
        self._rate = RateLimit(config.requests_per_second)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = secrets.token_hex(8)
        connection = HTTPConnection(scope)
        problem = self._problem(scope) or self._too_many(connection)
        if scope["type"] == "websocket":
            if problem is None:
                await self._app(scope, receive, send)
                return
            # there is no answer but this one before a socket is accepted
            await send({"type": "websocket.close", "code": 1008, "reason": problem.detail})
            return

        async def decorated(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._decorate(scope, MutableHeaders(scope=message))
            await send(message)

        if problem is not None:
            await answer(problem, connection)(scope, receive, decorated)
            return
        await self._limited(scope, receive, decorated)

    def _problem(self, scope: Scope) -> ProblemError | None:
        headers = Headers(scope=scope)
        host = host_name(headers.get("host", ""))
        if host not in self._config.hosts:
            return ProblemError(
                400,
                Code.HOST_NOT_ALLOWED,
                "The service is not called by this name.",
                "Add it to SLURMSCALE_ALLOWED_HOSTS.",
            )
        if scope["type"] == "websocket":
            return None
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            return _NUL
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return _TOO_LARGE
        has_body = length != "0" or "transfer-encoding" in headers
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] in CHANGING and has_body and kind != "application/json":
            return ProblemError(
                415, Code.CONTENT_TYPE_UNSUPPORTED, "The body of a request must be application/json.", "Send JSON."
            )
        return None

    def _too_many(self, connection: HTTPConnection) -> ProblemError | None:
        if not connection.url.path.startswith(f"{connection.scope.get('root_path', '')}/api/"):
            return None
        seconds = self._rate.take(connection.client.host if connection.client else "")
        if not seconds:
            return None
        return ProblemError(
            429,
            Code.TOO_MANY_REQUESTS,
            f"More than {self._config.requests_per_second:g} requests a second come from this address.",
            "Ask less often; who watches a run is told of it by itself.",
            headers={"Retry-After": str(math.ceil(seconds))},
        )

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0
        refused = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # the application is told that the caller is gone, and what it answers to that is replaced
            return message if received <= MOST_BYTES else {"type": "http.disconnect"}

        async def replaced(message: Message) -> None:
            nonlocal refused
            if refused:
                return
            if received > MOST_BYTES and message["type"] == "http.response.start":
                refused = True
                await answer(_TOO_LARGE, HTTPConnection(scope))(scope, receive, send)
                return
            await send(message)

        await self._app(scope, counted, replaced)

    def _decorate(self, scope: Scope, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            # a page of the service has a policy of its own
            headers.setdefault(name, value)
        headers["X-Request-ID"] = scope["request_id"]
        headers.setdefault("Cache-Control", "no-store")
        if scope.get("scheme") == "https":
            headers["Strict-Transport-Security"] = _HSTS


def host_name(host: str) -> str:
    """Return the name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
