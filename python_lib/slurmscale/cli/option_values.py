"""Reads the values of options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml

from slurmscale.errors import RefusedError
from slurmscale.inventory.hostlist import expand
from slurmscale.inventory.names import check_host, check_variables, shown
from slurmscale.models import Credentials, NodeSpec, RunOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LARGEST_FILE = 10_000_000
_EXTRA_VARS_REMEDY = "Write KEY=VALUE, a mapping in JSON, or @FILE with a mapping in YAML or JSON."
_HOST_REMEDY = "Write NODE=ADDRESS[:PORT], with a node of this run; IPv6 with a port as [ADDRESS]:PORT."


def target(cluster: str | None, inventory: str | None) -> str | None:
    """Return the one of two ways to name a cluster that was used."""
    if cluster and inventory:
        raise RefusedError("--cluster and --inventory exclude each other.", "Give one of them.")
    return cluster or inventory


def extra_vars(given: Iterable[str] | None) -> dict[str, Any]:
    """Read the values of -e in the forms that Ansible knows.

    Raises:
        RefusedError: One has another form, or holds what is no data.
    """
    variables: dict[str, Any] = {}
    for text in given or ():
        variables |= _extra_vars(text)
    check_variables(variables)
    return variables


def _extra_vars(text: str) -> dict[str, Any]:
    # the text itself may hold a password and is never shown
    try:
        if text.startswith("@"):
            return _mapping(yaml.safe_load(_read(text[1:])))
        if text.lstrip().startswith("{"):
            return _mapping(yaml.safe_load(text))
        pairs = [part.partition("=") for part in shlex.split(text)]
    except OSError as exc:
        raise RefusedError(f"-e: the file cannot be read: {exc.strerror}.", _EXTRA_VARS_REMEDY) from exc
    except (ValueError, RecursionError, yaml.YAMLError) as exc:
        raise RefusedError(f"-e: cannot be read as YAML or JSON: {type(exc).__name__}.", _EXTRA_VARS_REMEDY) from exc
    if not all(separator for _, separator, _ in pairs):
        raise RefusedError("-e: a variable without a value.", _EXTRA_VARS_REMEDY)
    return {name: value for name, _, value in pairs}


def _read(path: str) -> str:
    # read in one go, as it may be a pipe: -e @<(command)
    with Path(path).open("rb") as source:
        content = source.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise RefusedError(f"-e: the file has more than {_LARGEST_FILE:,} bytes.", "Name a file of variables.")
    return content.decode()


def _mapping(loaded: Any) -> dict[str, Any]:
    if not isinstance(loaded, dict):
        raise RefusedError("-e: a mapping of variables is needed, and that is something else.", _EXTRA_VARS_REMEDY)
    return loaded


def nodes_of_options(nodes: str | None, hosts: Iterable[str] | None) -> dict[str, NodeSpec]:
    """Return the nodes that a command names, by name.

    Args:
        nodes: A hostlist; None when the command takes the nodes that the inventory has.
        hosts: `NODE=ADDRESS[:PORT]` for nodes that are in no inventory.
    """
    named = {name: NodeSpec(name) for name in (() if nodes is None else expand(nodes))}
    for text in hosts or ():
        name, separator, address = text.partition("=")
        if not separator or name not in named:
            raise RefusedError(f"--host {shown(text)}: that is no node of this run.", _HOST_REMEDY)
        host, port = _address(address)
        named[name] = NodeSpec(name, check_host(host), Credentials(port=port))
    return named


def _address(text: str) -> tuple[str, int | None]:
    """Split ADDRESS[:PORT]; an IPv6 address with a port stands in brackets, one without may."""
    found = re.fullmatch(r"\[([^\]]*)\](?::(\d{1,5}))?", text) or re.fullmatch(r"([^:]*)(?::(\d{1,5}))?", text)
    if found is None and text.count(":") > 1:
        return text, None
    if found is None or not found[1]:
        raise RefusedError(f"--host: {shown(text)} is no address.", _HOST_REMEDY)
    return found[1], int(found[2]) if found[2] else None


def run_options(given: Mapping[str, Any]) -> RunOptions:
    """Read the options that all commands have which run a playbook; asks for passwords."""
    return RunOptions(
        forks=given.get("forks"),
        check=bool(given.get("check")),
        timeout=given["timeout"],
        extra_vars=extra_vars(given["extra_vars"]),
        credentials=Credentials(
            user=given["user"],
            private_key_file=given["private_key"],
            password=ask("Login password", given["ask_pass"]),
            become_password=ask("Password of sudo", given["ask_become_pass"]),
        ),
        vault_password=ask("Vault password", given["ask_vault_pass"]),
        vault_password_file=given["vault_password_file"],
        verbosity=given["verbose"],
        diff=bool(given.get("diff")),
        credential=given.get("credential"),
    )


def ask(what: str, wanted: bool) -> str | None:
    """Ask for a password if one is wanted."""
    return typer.prompt(what, hide_input=True, err=True) if wanted else None
