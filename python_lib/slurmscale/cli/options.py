"""Options that several commands share, and small helpers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from slurmscale.errors import RefusedError
from slurmscale.models import Credentials, NodeSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

NodesArgument = Annotated[str, typer.Argument(metavar="NODES", help="Nodes in Slurm's syntax, e.g. node[07-12].")]
ClusterOption = Annotated[str | None, typer.Option("--cluster", "-c", help="A cluster added with `cluster add`.")]
InventoryOption = Annotated[str | None, typer.Option("--inventory", "-i", help="Path of an Ansible inventory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ExtraVarsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--extra-vars",
        "-e",
        help="Ansible variables: KEY=VALUE, JSON, or @FILE. Values whose name looks secret are never written down.",
    ),
]
ForksOption = Annotated[int | None, typer.Option("--forks", "-f", min=1, help="Nodes worked on at the same time.")]


def target(cluster: str | None, inventory: str | None) -> str | None:
    """Return the one of two ways to name a cluster that was used."""
    if cluster and inventory:
        raise typer.BadParameter("give --cluster or --inventory, not both")
    return cluster or inventory


def extra_vars(given: Iterable[str] | None) -> dict[str, Any]:
    """Read the values of -e as Ansible does."""
    variables: dict[str, Any] = {}
    for text in given or ():
        variables |= _extra_vars(text)
    return variables


def _extra_vars(text: str) -> dict[str, Any]:
    if text.startswith("@") or text.lstrip().startswith("{"):
        try:
            loaded = yaml.safe_load(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
        except (OSError, yaml.YAMLError) as exc:
            # the text itself may hold a password and is not shown
            raise RefusedError(f"-e: can't be read as YAML or JSON: {type(exc).__name__}") from exc
        if not isinstance(loaded, dict):
            raise RefusedError("-e: a mapping of variables is needed, but that is something else.")
        return loaded
    pairs = [part.partition("=") for part in shlex.split(text)]
    if not all(separator for _, separator, _ in pairs):
        raise RefusedError("-e: write KEY=VALUE, JSON, or @FILE.")
    return {name: value for name, _, value in pairs}


def node_specs(names: Iterable[str], hosts: Iterable[str] | None) -> list[str | NodeSpec]:
    """Give addresses to nodes.

    Args:
        names: All nodes.
        hosts: `NODE=ADDRESS[:PORT]` for nodes that are in no inventory.
    """
    specs: dict[str, str | NodeSpec] = {name: name for name in names}
    for text in hosts or ():
        name, separator, address = text.partition("=")
        if not separator or name not in specs:
            raise RefusedError(f"--host {text}: write NODE=ADDRESS[:PORT], with a node of this run.")
        host, _, port = address.partition(":") if address.count(":") == 1 else (address, "", "")
        specs[name] = NodeSpec(name, host, Credentials(port=int(port) if port else None))
    return list(specs.values())
