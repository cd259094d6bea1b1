# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Fetches files from an AppHub: every wait and every answer ends, and the only proxy is the one that is named."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

# The options that every module which talks to an AppHub has; see Server.
ARGUMENTS = {
    "url": {"type": "str"},
    "timeout": {"type": "int", "default": 10},
    "ca": {"type": "str", "default": ""},
    # Encoded, because Ansible masks secrets in all that a module returns: a plain "slurm" would spoil the catalog.
    "login": {"type": "str", "default": "", "no_log": True},
    "proxy": {"type": "str", "default": ""},
}
#: Bytes of the largest index; that of a thousand packages has one million.
MAX_INDEX = 64 << 20
#: Bytes of the largest file of all.
MAX_FILE = 4 << 30
# A download may take longer than an answer, but what is slower than this many bytes per second hangs.
_SLOWEST = 10000
_BLOCK = 1 << 18

_PUBLISH = "Publish again with playbooks/publish_apphub.yml, which puts lost files back."
_START = "Start it on the AppHub: systemctl start nginx; journalctl -u nginx says why it stopped."
_REACH = "Check that the machine is up, and look for a firewall or proxy in between."
_CERTIFICATE = "Name its certificate authority by apphub_client_ca, or use the name that the certificate is for."
_LOGIN = "Set apphub_client_username and apphub_client_password if the server asks for them."
_SERVER = "Compare with curl -i on this machine; on the AppHub, /var/log/nginx/error.log may say more."
_LIMIT = "Check that this is the address of an AppHub, and that nothing in between answers in its place."
# By the status of HTTP.
_BY_STATUS = {
    401: (Code.APPHUB_LOGIN_REFUSED, _LOGIN),
    403: (Code.APPHUB_LOGIN_REFUSED, _LOGIN),
    404: (Code.APPHUB_FILE_MISSING, _PUBLISH),
    407: (Code.APPHUB_LOGIN_REFUSED, _LOGIN),
}


class _Proxy(urllib.request.BaseHandler):
    """Sends every request through a proxy; urllib's own handler lets the environment name exceptions."""

    handler_order = 100

    def __init__(self, proxy: str) -> None:
        self._host = urllib.parse.urlsplit(proxy).netloc

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        request.set_proxy(self._host, "http")
        return request

    https_request = http_request


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http: who answers there is not known."""

    def redirect_request(self, req: urllib.request.Request, *rest: Any) -> Any:
        url = rest[-1]
        if req.full_url.startswith("https:") and not url.startswith("https:"):
            raise FailureError(Code.APPHUB_CERTIFICATE_INVALID, f"It redirects from https to {url}.", _CERTIFICATE)
        return super().redirect_request(req, *rest)


class Server:
    """An AppHub's address and how to get there."""

    def __init__(self, params: Dict[str, Any]) -> None:
        """Take the options in ARGUMENTS.

        Raises:
            FailureError: An address is none or has a password in it, or the certificates cannot be read.
        """
        self.url = params["url"].rstrip("/")
        if urllib.parse.urlsplit(self.url).scheme not in ("http", "https"):
            raise FailureError(
                Code.APPHUB_ADDRESS_INVALID,
                "The address begins neither with http:// nor with https://.",
                "Correct apphub_client_urls.",
            )
        if "@" in urllib.parse.urlsplit(self.url).netloc or "@" in urllib.parse.urlsplit(params["proxy"]).netloc:
            raise FailureError(
                Code.APPHUB_ADDRESS_INVALID,
                "An address must not have a name and a password in it, because it is shown.",
                "Set apphub_client_username and apphub_client_password instead.",
            )
        self._timeout = params["timeout"]
        self._headers = {"User-Agent": "slurmscale"}
        if params["login"]:
            self._headers["Authorization"] = "Basic " + params["login"]
        handlers: List[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _Redirects()]
        if params["proxy"]:
            handlers.append(_Proxy(params["proxy"]))
        try:
            trust = ssl.create_default_context(cadata=params["ca"] or None)
        except (ssl.SSLError, ValueError):
            raise FailureError(
                Code.APPHUB_CERTIFICATE_INVALID,
                "The file holds no certificates that can be read.",
                "Correct the file that apphub_client_ca names.",
            ) from None
        self._opener = urllib.request.build_opener(*handlers, urllib.request.HTTPSHandler(context=trust))

    def _blocks(self, path: str, limit: int) -> Iterator[bytes]:
        url = f"{self.url}/{urllib.parse.quote(path)}"
        request = urllib.request.Request(url)  # noqa: S310 - the scheme was checked
        for name, value in self._headers.items():
            # Where AppHub leads to another server, that one doesn't get the password.
            request.add_unredirected_header(name, value)
        begun = time.monotonic()
        received = 0
        try:
            with _within(2 * self._timeout, lambda: self._opener.open(request, timeout=self._timeout)) as answer:
                while True:
                    # read1 returns what is there; read would wait for a whole block, however long that takes.
                    block = answer.read1(_BLOCK)
                    if not block:
                        break
                    received += len(block)
                    if received > limit or received + (answer.length or 0) > limit:
                        raise FailureError(
                            Code.APPHUB_LIMIT_EXCEEDED, f"The answer is larger than {_size(limit)}.", _LIMIT
                        )
                    seconds = time.monotonic() - begun
                    if seconds > self._timeout + received / _SLOWEST:
                        raise FailureError(Code.APPHUB_UNREACHABLE, f"Not finished within {seconds:g} s.", _REACH)
                    yield block
                if answer.length:
                    raise FailureError(
                        Code.APPHUB_UNREACHABLE, f"It broke off {answer.length} bytes before its end.", _REACH
                    )
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _failure_of(error, self._timeout) from None

    def get(self, path: str, limit: int = MAX_INDEX) -> bytes:
        """Return a file.

        Args:
            path: What follows the server's address.
            limit: How many bytes it may have.

        Raises:
            FailureError: It cannot be fetched.
        """
        return b"".join(self._blocks(path, limit))

    def measure(self, path: str, limit: int = MAX_FILE) -> Tuple[str, int]:
        """Return the SHA-256 checksum and the size of a file, without keeping it; arguments and errors as of get()."""
        digest, size = hashlib.sha256(), 0
        for block in self._blocks(path, limit):
            digest.update(block)
            size += len(block)
        return digest.hexdigest(), size


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count} bytes"


def _within(seconds: float, begin: Callable[[], Any]) -> Any:
    """Await the head of an answer in a thread, for a bounded time: resolvers and slow servers have no time-out."""
    outcome: List[Tuple[Any, Optional[Exception]]] = []

    def work() -> None:
        try:
            outcome.append((begin(), None))
        except Exception as error:  # noqa: BLE001 - it is raised where it was waited for
            outcome.append((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise socket.timeout
    answer, error = outcome[0]
    if error is not None:
        raise error
    return answer


def _failure_of(error: Exception, timeout: float) -> FailureError:
    if isinstance(error, urllib.error.HTTPError):
        code, remedy = _BY_STATUS.get(error.code, (Code.APPHUB_SERVER_ERROR, _SERVER))
        return FailureError(code, f"HTTP {error.code} {error.reason}.", remedy)
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.timeout):
        return FailureError(Code.APPHUB_UNREACHABLE, f"No answer within {timeout:g} s.", _REACH)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return FailureError(Code.APPHUB_CERTIFICATE_INVALID, f"{reason.verify_message or reason}.", _CERTIFICATE)
    if isinstance(reason, ConnectionRefusedError):
        return FailureError(Code.APPHUB_UNREACHABLE, "Connection refused.", _START)
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return FailureError(Code.APPHUB_UNREACHABLE, f"{text}.", _SERVER)
