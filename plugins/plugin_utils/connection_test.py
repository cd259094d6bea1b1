# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The first contact with a controller from the control machine: its name, its port, and the keys that it shows."""

from __future__ import annotations

import re
import socket
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The only kinds that are confirmed; the first that a host has is the one that people are shown.
KEY_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "ssh-rsa")
_KEYSCAN_KINDS = "ed25519,ecdsa,rsa"


@dataclass(frozen=True)
class Target:
    """Where ssh would connect to, as its own configuration says."""

    host: str
    port: int
    proxied: bool
    known_hosts: tuple[str, ...]


@dataclass(frozen=True)
class HostKeys:
    """The keys that a host shows.

    Attributes:
        lines: In the form of a known_hosts file.
        fingerprints: Of each, in the same order.
        known: Fingerprints of those that are known for this host already.
        stale: Whether other keys are known for it, and none of these.
    """

    lines: list[str] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    stale: bool = False


def target(host: str, port: int | None, arguments: Iterable[str]) -> Target:
    """Ask ssh where it would connect to.

    Args:
        host: The address.
        port: The port that is stated.
        arguments: Further arguments of ssh.
    """
    stated = ["-p", str(port)] if port else []
    done = _run(["ssh", "-G", *arguments, *stated, "--", host])
    found: dict[str, str] = {}
    for line in done.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name, value)
    proxied = any(found.get(name, "none") not in ("", "none") for name in ("proxycommand", "proxyjump"))
    files = f"{found.get('userknownhostsfile', '')} {found.get('globalknownhostsfile', '')}".split()
    return Target(found.get("hostname", host), int(found.get("port", port or 22)), proxied, tuple(files))


def resolve(name: str) -> tuple[list[str], Failure | None]:
    """Return the addresses of a name, or why it has none."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as problem:
        reason = f"{name} is not resolved on the control machine: {problem}."
        remedy = "Correct the name, or give the address of the controller."
        return [], Failure(Code.NAME_NOT_RESOLVED, reason, remedy)
    return list(dict.fromkeys(str(one[4][0]) for one in found)), None


def connect(host: str, port: int, timeout: float) -> Failure | None:
    """Return why no connection to a port can be made; None when it can."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as problem:
        why = "no answer" if isinstance(problem, TimeoutError) else (problem.strerror or str(problem))
        reason = f"Nothing accepts a connection to {host} port {port}: {why}."
        remedy = "Check that the machine is up, that sshd listens on this port, and that no firewall is in between."
        return Failure(Code.PORT_UNREACHABLE, reason, remedy)
    return None


def scan(where: Target, timeout: int) -> HostKeys:
    """Return the keys that a host shows, and which of them are known for it."""
    shown = _run(["ssh-keyscan", "-T", str(timeout), "-p", str(where.port), "-t", _KEYSCAN_KINDS, where.host])
    lines = [line for line in shown.splitlines() if line and not line.startswith("#")]
    lines.sort(key=lambda line: KEY_KINDS.index(kind) if (kind := _word(line, 1)) in KEY_KINDS else len(KEY_KINDS))
    known = {fingerprint for path in where.known_hosts for fingerprint in _known(path, where)}
    fingerprints = [fingerprint_of(line) for line in lines]
    found = [one for one in fingerprints if one in known]
    return HostKeys(lines, fingerprints, found, stale=bool(known and not found))


def _known(path: str, where: Target) -> list[str]:
    name = where.host if where.port == 22 else f"[{where.host}]:{where.port}"  # noqa: PLR2004 - the port of ssh
    found = _run(["ssh-keygen", "-F", name, "-f", path])
    return [fingerprint_of(line) for line in found.splitlines() if line and not line.startswith("#")]


def fingerprint_of(line: str) -> str:
    """Return the fingerprint of a line of a known_hosts file; empty when it holds no key."""
    found = re.search(r"SHA256:\S+", _run(["ssh-keygen", "-l", "-f", "-"], line + "\n"))
    return found.group() if found else ""


def host_key_failure(host: str, keys: HostKeys, confirmed: str) -> Failure | None:
    """Return why the keys of a host can't be trusted; None when they can.

    Args:
        host: How it is called.
        keys: What it shows.
        confirmed: A fingerprint that somebody has compared; empty when nobody has.
    """
    if not keys.lines:
        reason = f"{host} accepts connections, but shows no host key."
        return Failure(Code.HOST_KEY_UNKNOWN, reason, "Check that sshd answers on this port: ssh-keyscan")
    if confirmed and confirmed not in keys.fingerprints:
        reason = f"{host} shows the host key {keys.fingerprints[0]}, and {confirmed} was confirmed."
        remedy = (
            "Somebody may be in between. Compare it on the machine: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
        )
        return Failure(Code.HOST_KEY_DIFFERS, reason, remedy)
    if keys.stale and not confirmed:
        reason = f"{host} shows the host key {keys.fingerprints[0]}, and another one is known for it."
        remedy = (
            "Somebody may be in between, or the machine was installed anew. Compare it there, then confirm it; the"
            " command takes it as --fingerprint."
        )
        return Failure(Code.HOST_KEY_DIFFERS, reason, remedy)
    if not keys.known and not confirmed:
        reason = f"The host key of {host} is not known: {keys.fingerprints[0]}."
        remedy = (
            "Compare it on the machine (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then confirm it; the command"
            " takes it as --fingerprint."
        )
        return Failure(Code.HOST_KEY_UNKNOWN, reason, remedy)
    return None


def login_failure(host: str, said: str) -> Failure:
    """Return why the login failed, with the message of ssh."""
    text = " ".join(said.split()).rstrip(".")
    remedy = "Check user and key or password (ansible_user, ansible_ssh_private_key_file, ansible_password)."
    return Failure(Code.HOST_UNREACHABLE, f"No login to {host}: {text}.", remedy)


def summary(cluster: Mapping[str, object]) -> dict[str, object]:
    """Return the part of what the controller reports that describes the cluster to people and programs."""
    nodes, config = cluster["nodes"], cluster["config"]
    assert isinstance(nodes, dict)  # noqa: S101 - what slurm_cluster_info returns
    assert isinstance(config, dict)  # noqa: S101 - likewise
    states: dict[str, int] = {}
    for node in nodes.values():
        state = "+".join(node["state"])
        states[state] = states.get(state, 0) + 1
    kept = (
        "cluster_name", "version", "conf_file", "configless", "port", "slurm_user", "controllers", "partitions", "os",
    )  # fmt: skip
    return {
        **{name: cluster[name] for name in kept},
        "nodes": {name: {"state": "+".join(node["state"]), "reason": node["reason"]} for name, node in nodes.items()},
        "states": states,
        "accounting": str(config.get("AccountingStorageType", "")),
        "auth": str(config.get("AuthType", "")),
        "munge_key": bool((cluster.get("munge_key") or {}).get("exists")),  # type: ignore[attr-defined] # a mapping
    }


def _word(line: str, number: int) -> str:
    words = line.split()
    return words[number] if len(words) > number else ""


def _run(command: list[str], stdin: str = "") -> str:
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
