# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Fetches files from an AppHub: every wait ends, authorities may be its own, and the only proxy is the one named."""

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

# The options that every module which talks to an AppHub has; see Server.
ARGUMENTS = {
    "url": {"type": "str"},
    "timeout": {"type": "int", "default": 10},
    "ca": {"type": "str", "default": ""},
    # Encoded, because Ansible masks secrets in all that a module returns: a plain "slurm" would spoil the catalog.
    "login": {"type": "str", "default": "", "no_log": True},
    "proxy": {"type": "str", "default": ""},
}
# A download may take longer than an answer, but not for ever: what is slower than this hangs.
_SLOWEST = 10000
_BLOCK = 1 << 18


class WebError(Exception):
    """A file can't be fetched.

    Attributes:
        kind: silent (no answer in time), certificate, login, missing, refused, or other.
    """

    def __init__(self, kind: str, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.kind = kind


class _Through(urllib.request.BaseHandler):
    """Sends every request through a proxy; urllib's own handler lets the environment name exceptions."""

    handler_order = 100

    def __init__(self, proxy: str) -> None:
        self._host = urllib.parse.urlsplit(proxy).netloc

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        request.set_proxy(self._host, "http")
        return request

    https_request = http_request


class Server:
    """An AppHub's address and how to get there."""

    def __init__(self, params: Dict[str, Any]) -> None:
        """Take the options in ARGUMENTS.

        Raises:
            WebError: An address has a password in it, or the certificates of the authorities can't be read.
        """
        self.url = params["url"].rstrip("/")
        if "@" in urllib.parse.urlsplit(self.url).netloc or "@" in urllib.parse.urlsplit(params["proxy"]).netloc:
            raise WebError("login", "an address must not have a name and a password in it, because it is shown")
        self._timeout = params["timeout"]
        self._headers = {"User-Agent": "slurmscale"}
        if params["login"]:
            self._headers["Authorization"] = "Basic " + params["login"]
        handlers: List[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if params["proxy"]:
            handlers.append(_Through(params["proxy"]))
        try:
            trust = ssl.create_default_context(cadata=params["ca"] or None)
        except (ssl.SSLError, ValueError):
            raise WebError("certificate", "what should be certificates of authorities are none") from None
        self._opener = urllib.request.build_opener(*handlers, urllib.request.HTTPSHandler(context=trust))

    def _blocks(self, path: str) -> Iterator[bytes]:
        request = urllib.request.Request("{0}/{1}".format(self.url, path))  # noqa: S310 - the scheme was checked
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
                    if time.monotonic() - begun > self._timeout + received / _SLOWEST:
                        raise WebError("silent", "not finished within {0:g} s".format(time.monotonic() - begun))
                    yield block
                if answer.length:
                    raise WebError("other", "broke off {0} bytes before its end".format(answer.length))
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _said(error, self._timeout) from None

    def get(self, path: str) -> bytes:
        """Return a file, path being what follows the server's address.

        Raises:
            WebError: It can't be fetched.
        """
        return b"".join(self._blocks(path))

    def measure(self, path: str) -> Tuple[str, int]:
        """Return the SHA-256 checksum and the size of a file, without keeping it.

        Raises:
            WebError: It can't be fetched.
        """
        digest, size = hashlib.sha256(), 0
        for block in self._blocks(path):
            digest.update(block)
            size += len(block)
        return digest.hexdigest(), size


def _within(seconds: float, begin: Callable[[], Any]) -> Any:
    """Begin an answer in a thread: neither a resolver nor a server that sends its head bit by bit keeps time."""
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


def _said(error: Exception, timeout: float) -> WebError:
    if isinstance(error, urllib.error.HTTPError):
        kind = {401: "login", 403: "login", 404: "missing", 407: "login"}.get(error.code, "other")
        return WebError(kind, "HTTP {0} {1}".format(error.code, error.reason))
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.timeout):
        return WebError("silent", "no answer within {0:g} s".format(timeout))
    if isinstance(reason, ssl.SSLCertVerificationError):
        return WebError("certificate", reason.verify_message or str(reason))
    if isinstance(reason, ConnectionRefusedError):
        return WebError("refused", "connection refused")
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return WebError("other", text)
