"""Which cluster and which nodes a request means."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from slurmscale.errors import ClusterError, NodesError
from slurmscale.inventory.extra_vars import split_secrets
from slurmscale.inventory.hostlist import MOST_NODES, expand
from slurmscale.inventory.names import check_cluster, check_host, check_node, check_variables, shown
from slurmscale.models import Cluster, NodeSpec
from slurmscale.operations import Operation
from slurmscale.redaction import has_secret
from slurmscale.states import FAILED, SUCCEEDED

if TYPE_CHECKING:
    from slurmscale.store.repository import Store

Nodes = str | Iterable[str | NodeSpec]
"""A hostlist such as `node[07-12]`, or names, or nodes with own address and credentials."""


def nodes_by_name(nodes: Nodes) -> dict[str, NodeSpec]:
    """Return the nodes of a request by name, each once.

    Raises:
        NodesError: There is none, or the hostlist is malformed.
    """
    named: dict[str, NodeSpec] = {}
    for item in [nodes] if isinstance(nodes, str) else nodes:
        for node in [item] if isinstance(item, NodeSpec) else [NodeSpec(name) for name in expand(item)]:
            named[check_node(node.name)] = node
    if not named:
        raise NodesError("The list of nodes is empty.", "Name the nodes to work on, e.g. node[07-12].")
    if len(named) > MOST_NODES:
        raise NodesError(f"{len(named):,} nodes are more than {MOST_NODES:,}.", "Work on fewer nodes at a time.")
    return named


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
        raise ClusterError(
            f"No cluster is named, and {len(known) or 'none'} are known.",
            "Name it with --cluster, or its inventory with --inventory.",
        )
    for cluster in known:
        if cluster.name == name:
            return cluster
    # Path.exists() raises for what can't be a path at all
    if not os.path.exists(name):  # noqa: PTH110 - Path raises for what is no path
        names = ", ".join(cluster.name for cluster in known) or "none yet"
        raise ClusterError(
            f"{shown(name)} is neither a known cluster ({names}) nor the path of an inventory.",
            "Correct the name, or add the cluster: slurmscale cluster add NAME --inventory FILE",
        )
    path = str(Path(name).resolve())
    return next((cluster for cluster in known if cluster.inventory == path), _unnamed(path))


def _unnamed(path: str) -> Cluster:
    """Return a cluster that is known by its inventory only, with a name made from the path: lab-hosts-1a2b3c4d."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{Path(path).parent.name}-{Path(path).stem}").strip("-")
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return Cluster(f"{words[:50]}-{digest}".lstrip("-"), inventory=path)


def with_later_nodes(store: Store, cluster: Cluster) -> Cluster:
    """Return a cluster with the nodes that it has now: those of its last look, and what runs made of them since."""
    if cluster.info is None:
        return cluster
    nodes = dict(cluster.info["nodes"])
    for run in reversed(store.runs(cluster=cluster.name, since=cluster.seen_at)):
        if run.check or run.operation not in (Operation.SCALE_UP, Operation.SCALE_DOWN):
            continue
        for task in store.tasks(run.id):
            if run.operation is Operation.SCALE_UP and task.status not in FAILED:
                nodes.setdefault(task.node, {})
            elif run.operation is Operation.SCALE_DOWN and task.status in SUCCEEDED:
                nodes.pop(task.node, None)
    return dataclasses.replace(cluster, info=cluster.info | {"nodes": nodes})


def add(store: Store, cluster: Cluster) -> None:
    """Remember a cluster.

    Raises:
        ClusterError: Its name is not allowed, it has neither inventory nor controller, or something secret.
    """
    check_cluster(cluster.name)
    if not cluster.inventory and not cluster.controller and not cluster.hosts:
        raise ClusterError(
            "A cluster needs an inventory, or the address of its controller.", "Give --inventory or --controller."
        )
    if cluster.controller:
        check_host(cluster.controller)
    check_variables(cluster.variables)
    for host, variables in (cluster.hosts or {"hostvars": {}})["hostvars"].items():
        check_node(host)
        check_variables(variables)
    plain, secret = split_secrets(cluster.variables)
    with_secret = (url for url in cluster.apphub_urls if has_secret("", url))
    secret_urls = [shown(url.rpartition("@")[2].partition("?")[0]) for url in with_secret]
    if secret or secret_urls:
        raise ClusterError(
            f"{', '.join([*secret, *secret_urls])} looks like a secret or holds one, and clusters are kept without"
            " secrets.",
            "Put it into the inventory with Ansible Vault, or give it to each run (-e).",
        )
    path = None
    if cluster.inventory:
        if not os.path.exists(cluster.inventory):  # noqa: PTH110 - as in find
            raise ClusterError(f"The inventory {shown(cluster.inventory)} does not exist.", "Correct its path.")
        path = str(Path(cluster.inventory).resolve())
    store.save_cluster(dataclasses.replace(cluster, inventory=path, variables=plain))
