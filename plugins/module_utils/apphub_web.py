# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Fetches files from an AppHub: every wait ends, authorities may be its own, and the only proxy is the one named."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, Iterator, Tuple

# The options that every module which talks to an AppHub has; see Server.
ARGUMENTS = {
    "url": {"type": "str"},
    "timeout": {"type": "int", "default": 10},
    "ca_path": {"type": "path", "default": ""},
    "username": {"type": "str", "default": ""},
    "password": {"type": "str", "default": "", "no_log": True},
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


class Server:
    """An AppHub's address and how to get there."""

    def __init__(self, params: Dict[str, Any]) -> None:
        """Take the options in ARGUMENTS.

        Raises:
            WebError: The address has a password in it, or the file with the certificate authorities can't be read.
        """
        self.url = params["url"].rstrip("/")
        if "@" in urllib.parse.urlsplit(self.url).netloc or "@" in urllib.parse.urlsplit(params["proxy"]).netloc:
            raise WebError("login", "an address must not have a name and a password in it, because it is shown")
        self._timeout = params["timeout"]
        self._headers = {"User-Agent": "slurmscale"}
        if params["username"]:
            login = "{username}:{password}".format(**params).encode("utf-8")
            self._headers["Authorization"] = "Basic " + base64.b64encode(login).decode("ascii")
        proxies = {"http": params["proxy"], "https": params["proxy"]} if params["proxy"] else {}
        try:
            trust = ssl.create_default_context(cafile=os.path.expanduser(params["ca_path"]) or None)
        except OSError as error:
            raise WebError(
                "certificate", "{0} can't be read: {1}".format(params["ca_path"], error.strerror or error)
            ) from None
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=trust)
        )

    def _blocks(self, path: str) -> Iterator[bytes]:
        request = urllib.request.Request("{0}/{1}".format(self.url, path))  # noqa: S310 - the scheme was checked
        for name, value in self._headers.items():
            # Where AppHub leads to another server, that one doesn't get the password.
            request.add_unredirected_header(name, value)
        begun = time.monotonic()
        received = 0
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
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
