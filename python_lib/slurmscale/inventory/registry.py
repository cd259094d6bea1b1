"""Which cluster and which nodes a request means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from slurmscale.errors import ClusterError, NodesError
from slurmscale.inventory.hostlist import expand
from slurmscale.inventory.secrets import split_secrets
from slurmscale.models import Cluster, NodeSpec

if TYPE_CHECKING:
    from slurmscale.store.repository import Store

Nodes = str | Iterable[str | NodeSpec]
"""A hostlist such as `node[07-12]`, or names, or nodes with own address and credentials."""


def node_specs(nodes: Nodes) -> dict[str, NodeSpec]:
    """Return the nodes of a request by name, each once.

    Raises:
        NodesError: There is none, or the hostlist is malformed.
    """
    specs: dict[str, NodeSpec] = {}
    for item in [nodes] if isinstance(nodes, str) else nodes:
        for spec in [item] if isinstance(item, NodeSpec) else [NodeSpec(name) for name in expand(item)]:
            specs[spec.name] = spec
    if not specs:
        raise NodesError("The list of nodes is empty. Name the nodes to work on, e.g. node[07-12].")
    return specs


def find(store: Store, name: str | None) -> Cluster:
    """Return the cluster of a name, or make one of an inventory's path.

    Args:
        store: The known clusters.
        name: Name or path; the only known cluster when None.

    Raises:
        ClusterError: There is none.
    """
    known = store.clusters()
    if name is None:
        if len(known) == 1:
            return known[0]
        raise ClusterError("Which cluster? Name it with --cluster, or its inventory with --inventory.")
    for cluster in known:
        if cluster.name == name:
            return cluster
    if not Path(name).exists():
        names = ", ".join(cluster.name for cluster in known) or "none yet"
        raise ClusterError(f"{name} is neither a known cluster ({names}) nor the path of an inventory.")
    path = str(Path(name).resolve())
    return next((cluster for cluster in known if cluster.inventory == path), Cluster(path, inventory=path))


def add(store: Store, cluster: Cluster) -> None:
    """Remember a cluster.

    Raises:
        ClusterError: It has neither inventory nor controller, or a variable that looks like a secret.
    """
    if not cluster.inventory and not cluster.controller:
        raise ClusterError("A cluster needs an inventory, or the address of its controller.")
    plain, secret = split_secrets(cluster.variables)
    if secret:
        raise ClusterError(
            f"{', '.join(secret)} looks like a secret, and clusters are kept without secrets. Put it into the"
            " inventory with Ansible Vault, or give it to each run."
        )
    path = None
    if cluster.inventory:
        if not Path(cluster.inventory).exists():
            raise ClusterError(f"The inventory {cluster.inventory} does not exist.")
        path = str(Path(cluster.inventory).resolve())
    store.save_cluster(dataclasses.replace(cluster, inventory=path, variables=plain))
