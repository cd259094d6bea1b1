"""Which machine a node is, whatever it is called: two runs must not work on one machine under two names."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SSH = frozenset({"ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.netcommon.libssh"})
_LOCAL = frozenset({"local", "ansible.builtin.local"})
_SSH_PORT = 22
_RESOLVERS = 32
_RESOLVE_SECONDS = 3.0
"""A name that takes longer is taken as it is written."""
_LONGEST = 400


def machine_ids(nodes: Iterable[str], variables: Mapping[str, Mapping[str, Any]], controller: str) -> tuple[str, ...]:
    """Return what identifies the machine of each node: address and port, where Ansible logs in by ssh.

    Args:
        nodes: Names of the nodes.
        variables: What Ansible knows of each node, the run's own additions included.
        controller: Address of the controller, for nodes that have no address of their own.
    """
    places = {name: _place(name, variables.get(name, {})) for name in nodes}
    addresses = _resolve({controller, *(host for _, host, _ in places.values())})
    found = []
    for name, (connection, host, port) in places.items():
        if connection in _SSH:
            found.append(f"{addresses[host]} port {port}")
        elif connection in _LOCAL:
            found.append(f"{addresses[controller]}/{name}")
        else:
            found.append(f"{connection} {host}")
    return tuple(one[:_LONGEST] for one in found)


def address_of(name: str, variables: Mapping[str, Any]) -> str:
    """Return the address by which Ansible reaches a host."""
    return str(variables.get("ansible_ssh_host") or variables.get("ansible_host") or name)


def _place(name: str, variables: Mapping[str, Any]) -> tuple[str, str, str]:
    port = variables.get("ansible_ssh_port") or variables.get("ansible_port") or _SSH_PORT
    return str(variables.get("ansible_connection") or "ssh"), address_of(name, variables), str(port)


def _resolve(hosts: Iterable[str]) -> dict[str, str]:
    """Return the address of each host; its name in small letters where there is none in time."""
    found = {host: host.lower() for host in hosts}
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    for host in found:
        try:
            found[host] = ipaddress.ip_address(host).compressed
        except ValueError:
            names.put(host)

    def work() -> None:
        while True:
            try:
                host = names.get_nowait()
                # one of several addresses, the same each time
                found[host] = min(str(answer[4][0]) for answer in socket.getaddrinfo(host, None))
            except queue.Empty:
                return
            except (OSError, ValueError):
                continue

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_RESOLVERS, names.qsize()))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _RESOLVE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(found)
