"""Which names are allowed for nodes, hosts, users, clusters and variables.

Names reach Ansible's host patterns, command lines of ssh, and file names, so each is checked against a list of allowed
characters instead of a list of dangerous ones.
"""

from __future__ import annotations

import ipaddress
import math
import re
from typing import TYPE_CHECKING, Any

from slurmscale.errors import ClusterError, NodesError, RefusedError

if TYPE_CHECKING:
    from slurmscale.models import Credentials

_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._@-]{0,63}")
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset({"all", "ungrouped", "localhost"})
_PRIVATE_KEY = re.compile(
    r"-----BEGIN ([A-Z ]{0,20})PRIVATE KEY-----\r?\n[\x20-\x7e\r\n]+-----END \1PRIVATE KEY-----\s*"
)
_LONGEST_KEY = 20_000
_LAST_PORT = 65535
_SHOWN = 80
_MOST_VALUES = 200_000


def shown(text: str) -> str:
    """Return a text of a caller as it can stand in a message: quoted, without control characters, not too long."""
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def check_node(name: str) -> str:
    """Return a node's name.

    Raises:
        NodesError: It is not allowed.
    """
    if not _NODE.fullmatch(name):
        raise NodesError(
            f"{shown(name)} is not allowed as the name of a node.",
            "Use letters, digits, dots, hyphens and underscores, at most 63 characters.",
        )
    if name.lower() in _RESERVED:
        raise NodesError(
            f"{name} stands for other hosts in Ansible and cannot be a node.", "Name the node as Slurm knows it."
        )
    return name


def check_host(address: str) -> str:
    """Return a host's name or IP address.

    Raises:
        RefusedError: It is neither.
    """
    if _HOST.fullmatch(address):
        return address
    try:
        # a zone such as fe80::1%eth0 may be any text
        ipaddress.ip_address(address.partition("%")[0])
        if re.fullmatch(r"[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]{1,15})?", address):
            return address
    except ValueError:
        pass
    raise RefusedError(f"{shown(address)} is neither a host name nor an IP address.", "Correct the address.")


def check_user(name: str) -> str:
    """Return a login name.

    Raises:
        RefusedError: It is not allowed.
    """
    if not _USER.fullmatch(name):
        raise RefusedError(
            f"{shown(name)} is not allowed as a login name.",
            "Use letters, digits, dots, hyphens, underscores and @, not beginning with a hyphen.",
        )
    return name


def check_cluster(name: str) -> str:
    """Return a cluster's name.

    Raises:
        ClusterError: It is not allowed.
    """
    if not _CLUSTER.fullmatch(name):
        raise ClusterError(
            f"{shown(name)} is not allowed as the name of a cluster.",
            "Use letters, digits, dots, hyphens and underscores, at most 63 characters.",
        )
    return name


def check_credentials(credentials: Credentials) -> None:
    """Refuse credentials that no ssh would take.

    Raises:
        RefusedError: User or port are not allowed, or a text is not what it should be.
    """
    if credentials.user is not None:
        check_user(credentials.user)
    if credentials.port is not None and not 0 < credentials.port <= _LAST_PORT:
        raise RefusedError(f"{credentials.port} is not a port.", f"Use a number from 1 to {_LAST_PORT}.")
    for text in (credentials.private_key_file, credentials.password, credentials.become_password):
        if text is not None and (not _is_text(text) or "\r" in text or "\n" in text):
            raise RefusedError(
                "A password or the path of a key holds a line break, NUL, or bytes that are not UTF-8.",
                "Give it in one line of text.",
            )
    key = credentials.private_key
    if key is not None and not (len(key) <= _LONGEST_KEY and _PRIVATE_KEY.fullmatch(key)):
        raise RefusedError(
            "The private key is not the text of one.", "Give the whole file, such as id_ed25519, from BEGIN to END."
        )


def check_variables(variables: Any) -> None:
    """Refuse variables that Ansible would not take, or would take for more than data.

    Raises:
        RefusedError: A name is not allowed, or a value is of a kind that JSON does not have.
    """
    for name in variables:
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name) or name.startswith("slurmscale_"):
            raise RefusedError(
                f"{shown(str(name))} is not allowed as the name of a variable.",
                "Use letters, digits and underscores, not beginning with a digit or slurmscale_.",
            )
    # YAML may refer to the same part again and again, or to itself
    waiting, left = list(variables.items()), _MOST_VALUES
    while waiting:
        where, value = waiting.pop()
        left -= 1
        if left < 0:
            raise RefusedError(f"The variables hold more than {_MOST_VALUES:,} values.", "Give fewer.")
        _check_value(where, value)
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        waiting += [(where, item) for item in inner]


def _check_value(where: str, value: Any) -> None:
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str) or key.startswith("__ansible_") or not _is_text(key)]
        if wrong:
            raise RefusedError(
                f"The key {shown(str(wrong[0]))} in the variable {where} is not allowed.",
                "Keys are texts, and do not begin with __ansible_.",
            )
    elif isinstance(value, str):
        if not _is_text(value):
            raise RefusedError(f"The variable {where} holds NUL or bytes that are not UTF-8.", "Correct its value.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise RefusedError(f"The variable {where} is no finite number.", "Correct its value.")
    elif value is not None and not isinstance(value, int | list | tuple):
        raise RefusedError(
            f"The variable {where} has a value of the type {type(value).__name__}, which JSON does not have.",
            "Put it in quotes.",
        )


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
