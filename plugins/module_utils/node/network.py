# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Checks names, ports and addresses in the network from this machine, all at once and each for a bounded time."""

from __future__ import annotations

import errno
import functools
import ipaddress
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from typing import Any, Callable, Dict, List, Optional, Tuple

#: A port that answers, one on which nothing listens, one that something on the way hides, and a name without address.
OPEN, REFUSED, FILTERED, UNRESOLVED = "open", "refused", "filtered", "unresolved"
_LIMIT = 65536
#: Names may be those of all nodes of a cluster.
_RESOLVERS = 32


def is_address(text: str) -> bool:
    """Say whether a text is an IP address, and not a name.

    Args:
        text: The text.
    """
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def resolve(name: str) -> List[str]:
    """Return the addresses of a name; none when it has none.

    Args:
        name: A host name, as this machine's resolver knows it.
    """
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def connect(target: str, timeout: float) -> Dict[str, str]:
    """Try whether a TCP port can be reached.

    Args:
        target: HOST:PORT.
        timeout: Seconds to wait.

    Returns:
        state (open, refused, filtered, unresolved) and a message.
    """
    host, _, port = target.rpartition(":")
    if not resolve(host):
        return {"state": UNRESOLVED, "message": f"{host} has no address here"}
    try:
        socket.create_connection((host, int(port)), timeout=timeout).close()
    except OSError as problem:
        if problem.errno == errno.ECONNREFUSED:
            return {"state": REFUSED, "message": "the host answers, but nothing listens on the port"}
        late = isinstance(problem, socket.timeout)
        message = f"no answer within {timeout:g} s" if late else (problem.strerror or str(problem))
        return {"state": FILTERED, "message": message}
    return {"state": OPEN, "message": "it answers"}


def fetch(url: str, timeout: float, proxy: str = "") -> Dict[str, Any]:
    """Try whether a web address answers with status 200.

    Args:
        url: The address.
        timeout: Seconds to wait.
        proxy: A proxy for it; none when empty, whatever the environment says.

    Returns:
        ok and a message. A server that only asks for a password has answered.
    """
    proxies = {"http": proxy, "https": proxy} if proxy else {}
    # Nothing of what it says is used, and the machine may not know its authority yet.
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    handlers = urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=anybody)
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(url, timeout=timeout) as answer:
            answer.read(_LIMIT)
            return {"ok": answer.status == 200, "message": f"HTTP {answer.status}"}  # noqa: PLR2004 - HTTP's OK
    except urllib.error.HTTPError as problem:
        asks = problem.code == 401  # noqa: PLR2004 - HTTP's Unauthorized
        return {"ok": asks, "message": f"HTTP {problem.code} {problem.reason}"}
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "reason", problem)
        late = isinstance(reason, socket.timeout)
        return {"ok": False, "message": f"no answer within {timeout:g} s" if late else str(reason)}


class NetworkProbe:
    """Checks begun in threads of their own, so that everything together takes as long as the slowest.

    Args:
        names: Names to resolve.
        targets: HOST:PORT to connect to.
        urls: Web addresses to ask.
        timeout: Seconds for each.
        proxy: A proxy for `urls`.
    """

    def __init__(
        self,
        names: Optional[List[str]] = None,
        targets: Optional[List[str]] = None,
        urls: Optional[List[str]] = None,
        timeout: float = 4,
        proxy: str = "",
    ) -> None:
        late = f"no answer within {timeout:g} s"
        self._found: Dict[Tuple[str, str], Any] = {}
        self._deadline = time.monotonic() + timeout + 1
        self._threads: List[threading.Thread] = []
        wanted = names or []
        self._found.update({("resolve", name): [] for name in wanted})
        for first in range(min(len(wanted), _RESOLVERS)):
            self._begin_work(functools.partial(self._resolve, wanted[first::_RESOLVERS]))
        for target in targets or []:
            silent = {"state": FILTERED, "message": late}
            self._begin(("connect", target), silent, functools.partial(connect, target, timeout))
        for url in urls or []:
            self._begin(("urls", url), {"ok": False, "message": late}, functools.partial(fetch, url, timeout, proxy))

    def _begin(self, key: Tuple[str, str], silent: Any, check: Callable[[], Any]) -> None:
        # A resolver can't be interrupted: a thread that hangs in it is left behind, with this answer in its place.
        self._found[key] = silent

        def work() -> None:
            self._found[key] = check()

        self._begin_work(work)

    def _begin_work(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _resolve(self, names: List[str]) -> None:
        for name in names:
            self._found[("resolve", name)] = resolve(name)

    def result(self) -> Dict[str, Dict[str, Any]]:
        """Wait for the checks, at most until their time is over.

        Returns:
            resolve ({name: addresses}), connect ({target: state and message}) and urls ({url: ok and message}).
        """
        for thread in self._threads:
            thread.join(max(0.0, self._deadline - time.monotonic()))
        found: Dict[str, Dict[str, Any]] = {"resolve": {}, "connect": {}, "urls": {}}
        for (kind, name), answer in dict(self._found).items():
            found[kind][name] = answer
        return found

    def peer(self) -> str:
        """Return the first address of another machine among the names and targets, empty when there is none."""
        found = self.result()
        addresses = [one for addresses in found["resolve"].values() for one in addresses]
        addresses += [target.rpartition(":")[0] for target in found["connect"]]
        usable = (one for one in addresses if is_address(one.partition("%")[0]))
        return next((one for one in usable if not ipaddress.ip_address(one.partition("%")[0]).is_loopback), "")
