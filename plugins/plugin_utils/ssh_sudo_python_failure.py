# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Finds why the first module could not run on a host: Ansible's own message names neither Python nor sudo."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import PYTHON, version_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# What a shell returns for a command that it does not find.
NOT_FOUND = 127


# Where Ansible looks for Python when none is stated.
PYTHONS = (
    *(f"python3.{minor}" for minor in range(15, 6, -1)),
    "/usr/bin/python3",
    "python3",
    "/usr/libexec/platform-python",
)


def question(pythons: Iterable[str] = PYTHONS) -> str:
    """Return the line of shell that asks a host for uid, sudo and Python."""
    program = 'import sys; print("%d.%d.%d" % sys.version_info[:3])'
    return (
        "echo uid=$(id -u); echo sudo=$(command -v sudo);"
        f" for python in {shlex.join(pythons)}; do"
        f" version=$($python -c {shlex.quote(program)} 2> /dev/null) && break; done;"
        " echo python=$version"
    )


def fingerprints(address: str, port: str = "22") -> list[str]:
    """Ask a host for its keys and return their fingerprints, none when it is silent; anybody in between may answer."""
    # No address is an option: neither begins with a dash.
    if address.startswith("-") or not port.isdigit():
        return []
    try:
        keys = subprocess.run(
            ["ssh-keyscan", "-T", "5", "-p", port, address],
            capture_output=True, text=True, timeout=20, check=False,
        ).stdout  # fmt: skip
        shown = subprocess.run(
            ["ssh-keygen", "-lf", "-"],
            input=keys, capture_output=True, text=True, timeout=20, check=False,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = [line.split() for line in shown.splitlines()]
    return [f"{line[1]} {line[-1]}" for line in found if len(line) > 2]  # noqa: PLR2004 - bits, hash, name, kind


def refuses_host_key(message: str) -> bool:
    """Say whether ssh, or Ansible where it gives ssh a password, refused the key of the host."""
    words = ("Host key verification failed", "HOST IDENTIFICATION HAS CHANGED", "fingerprint to your known_hosts")
    return any(one in message for one in words)


def refuses_login(message: str) -> bool:
    """Say whether sshd closed the connection before the login began, as one does that has too many of them."""
    return "exchange_identification" in message


def unreachable_failure(message: str, reason: str) -> Failure:
    """Return the failure of a host that ssh does not reach.

    Args:
        message: What ssh printed.
        reason: The reason, a sentence.
    """
    remedy = (
        "Check that it is up, its address, user and key (ansible_host, ansible_user, ansible_ssh_private_key_file),"
        " then run again."
    )
    if refuses_login(message):
        remedy = (
            "sshd there, or on the host between (ProxyJump), closed the connection before the login. It does so with"
            " some when more than 10 begin at once: raise MaxStartups in its sshd_config, or have fewer nodes begin at"
            " once (--forks 10), then run again. A list of hosts that may log in does the same."
        )
    return Failure(Code.HOST_UNREACHABLE, reason, remedy)


def host_key_failure(message: str, host: str, address: str = "", fingerprints: Iterable[str] = ()) -> Failure:
    """Return the failure of a host whose key ssh does not know.

    Args:
        message: What ssh printed.
        host: How the host is called.
        address: How ssh addresses it.
        fingerprints: Those of the keys that the host shows.
    """
    address = address or host
    changed = "HAS CHANGED" in message
    shown = "; ".join(fingerprints)
    known = "knows another key of it" if changed else "does not know its key"
    shows = f" It shows {shown}." if shown else ""
    forget = f"ssh-keygen -R {shlex.quote(address)}; " if changed else ""
    return Failure(
        Code.HOST_KEY_UNKNOWN,
        f"{host} can't be reached: ssh on the control machine {known}.{shows}",
        "Compare that with the host's own, on its console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub. When it is"
        " the same, let ssh know it, as the user that runs Ansible:"
        f" {forget}ssh-keyscan {shlex.quote(address)} >> ~/.ssh/known_hosts",
    )


def contact_failure(
    result: Mapping[str, Any],
    host: str,
    answer: str = "",
    *,
    become: bool = False,
    address: str = "",
    fingerprints: Callable[[], Iterable[str]] = tuple,
) -> dict[str, str]:
    """Return why the module could not run.

    Args:
        result: The result of the module.
        host: How the host is called or addressed.
        answer: What the host printed when it was asked the question; empty when it was not asked.
        become: Whether Ansible is to become another user there.
        address: How ssh addresses it.
        fingerprints: Asks the host for the fingerprints of its keys.

    Returns:
        The keys code, reason and remedy.
    """
    if result.get("failure"):
        return dict(result["failure"])
    message = " ".join(str(result.get("msg") or "no answer").split())
    if refuses_host_key(message):
        return host_key_failure(message, host, address, fingerprints()).as_dict()
    if result.get("unreachable"):
        return unreachable_failure(message, f"{host} can't be reached: {message.rstrip('.')}.").as_dict()
    found = dict(re.findall(r"^(\w+)=(.*?)\r?$", answer, re.MULTILINE))
    return (
        _of_rights(found, result, host, message, become=become) or _of_python(found, host) or _other(result, message)
    ).as_dict()


def _of_rights(
    found: Mapping[str, str], result: Mapping[str, Any], host: str, message: str, *, become: bool
) -> Failure | None:
    if found.get("uid", "0") == "0" or not (become or result.get("rc") == NOT_FOUND):
        return None
    if not found.get("sudo"):
        return Failure(
            Code.SUDO_MISSING,
            f"sudo is missing on {host}, and its user is not root.",
            "Install sudo there, log in as root, or set ansible_become_method to what is there.",
        )
    if not _too_old(found):
        return Failure(
            Code.PRIVILEGES_MISSING,
            f"The user of {host} does not become root: {message}",
            "Set ansible_become_password or allow the user to become root without one (sudo -l shows it).",
        )
    return None


def _too_old(found: Mapping[str, str]) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"\d+", found.get("python", ""))[:2])
    return numbers < PYTHON


def _of_python(found: Mapping[str, str], host: str) -> Failure | None:
    if "python" not in found or not _too_old(found):
        return None
    remedy = (
        f"Install Python {version_text(PYTHON)} or later there, and set ansible_python_interpreter to it"
        " if it is not found by itself."
    )
    if not found["python"]:
        return Failure(Code.PYTHON_MISSING, f"Python is missing on {host}.", remedy)
    release = ".".join(found["python"].split(".")[:2])
    return Failure(
        Code.PYTHON_TOO_OLD,
        f"Python {release} is too old on {host}: needed {version_text(PYTHON)} or later.",
        remedy,
    )


def _other(result: Mapping[str, Any], message: str) -> Failure:
    error = " ".join(str(result.get("module_stderr") or "").split())
    return Failure(
        Code.TASK_FAILED, f"The machine can't be examined: {message} {error}".strip(), "Run again with -vvv."
    )
