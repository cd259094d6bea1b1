"""Connections to addresses that the service was given: looked up once, and never to what only a machine itself has."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult


@contextmanager
def connection_to(where: SplitResult, seconds: float) -> Iterator[http.client.HTTPConnection]:
    """Connect to the host of an address of http or https, until the block is left.

    Args:
        where: The address.
        seconds: How long it, and each answer, is waited for.

    Raises:
        OSError: It can't be reached.
        ValueError: It is none, or one that nobody outside a machine has, such as that of a cloud's own service.
    """
    host, secure = where.hostname or "", where.scheme == "https"
    port = where.port or (443 if secure else 80)
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    found = ipaddress.ip_address(str(address[0]).partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_link_local or found.is_multicast or found.is_unspecified:
        raise ValueError(f"{host} is an address to which nothing is sent.")
    with socket.socket(family, kind, protocol) as plain:
        plain.settimeout(seconds)
        plain.connect(address)
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
        try:
            yield connection
        finally:
            connection.close()
