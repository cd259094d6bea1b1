"""Inventories as data: read from files into a cluster, and written as a file again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from slurmscale.errors import ClusterError
from slurmscale.inventory.ansible_inventory import CONTROLLER
from slurmscale.inventory.extra_vars import split_secrets

if TYPE_CHECKING:
    from slurmscale.inventory.ansible_inventory import Inventory
    from slurmscale.models import Cluster

_MOST_NAMED = 5
_OF_ANSIBLE = frozenset({"all", "ungrouped"})


def describe(cluster: Cluster, found: Inventory) -> tuple[Cluster, list[str]]:
    """Return a cluster that holds an inventory, and the secrets that it does not hold.

    Args:
        cluster: The cluster.
        found: What Ansible reads in its inventory.

    Raises:
        ClusterError: It has no controller, or variables that only Ansible's files can have.
    """
    if not found.groups.get("slurm_controllers"):
        raise ClusterError("The inventory has no host in the group slurm_controllers.", "Add the controller to it.")
    hostvars: dict[str, dict[str, Any]] = {}
    left, templates = set(), set()
    for host in sorted(found.hosts):
        plain, secret = split_secrets(found.hostvars.get(host, {}))
        sealed = {name for name, value in plain.items() if isinstance(value, dict) and "__ansible_vault" in value}
        hostvars[host] = {name: value for name, value in plain.items() if name not in sealed}
        left |= {f"{name} of {host}" for name in sealed.union(secret)}
        templates |= {name for name, value in hostvars[host].items() if _has_template(value)}
    if templates:
        named = sorted(templates)
        more = ", ..." if len(named) > _MOST_NAMED else ""
        raise ClusterError(
            f"{', '.join(named[:_MOST_NAMED])}{more}: a template, or a part of it, which only files can have.",
            "Replace it by its value, or leave it out.",
        )
    groups = {name: hosts for name, hosts in found.groups.items() if name not in _OF_ANSIBLE}
    return dataclasses.replace(cluster, inventory=None, hosts={"groups": groups, "hostvars": hostvars}), sorted(left)


def _has_template(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_template, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def as_inventory(cluster: Cluster) -> dict[str, Any]:
    """Return a cluster as the content of an inventory file in YAML.

    Raises:
        ClusterError: It has a file already.
    """
    if cluster.inventory:
        raise ClusterError(f"The inventory of cluster {cluster.name} is {cluster.inventory}.", "Use that.")
    login = cluster.credentials
    stated = {
        "ansible_user": login.user,
        "ansible_port": login.port,
        "ansible_ssh_private_key_file": login.private_key_file,
        "apphub_client_urls": list(cluster.apphub_urls) or None,
    }
    everywhere = {name: value for name, value in stated.items() if value is not None} | cluster.variables
    hosts = cluster.hosts or {
        "groups": {"slurm_controllers": [CONTROLLER], "slurm_nodes": []},
        "hostvars": {CONTROLLER: {"ansible_host": cluster.controller}},
    }
    # the variables of a host once; in further groups its name is enough
    told: set[str] = set()
    children: dict[str, Any] = {}
    for group, names in hosts["groups"].items():
        children[group] = {"hosts": {name: {} if name in told else hosts["hostvars"].get(name, {}) for name in names}}
        told |= set(names)
    return {"all": {"vars": everywhere, "children": children}}
