# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The addresses that a node's /etc/hosts has to have where no name service tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.network import OPEN, is_address
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.node_address import first_usable, is_usable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def node_addresses(
    machines: Iterable[Mapping[str, Any]], cluster: Mapping[str, Any], network: Mapping[str, Any]
) -> dict[str, str]:
    """Return under which address the controller knows each node.

    What a machine says of its own name does not count: it could take the name of another one.

    Args:
        machines: The variables of the machines of the run that do not work as nodes yet.
        cluster: What slurm_cluster_info found.
        network: What it found when it was asked for NodeAddr of all nodes, and for the names and addresses of machines.

    Returns:
        Name in Slurm and address, without those that the controller has none of.
    """
    resolved = network.get("resolve") or {}
    found = {}
    for name, node in (cluster.get("nodes") or {}).items():
        address = str(node.get("addr") or "")
        found[name] = address if is_address(address) else first_usable(resolved.get(address) or ())
    for machine in machines:
        name = str(machine.get("slurmd_node_name") or machine["inventory_hostname_short"])
        asked = (machine["preflight_node"]["address"], str(machine.get("ansible_host") or ""))
        usable = (first_usable(resolved.get(one) or ()) for one in asked)
        found[name] = next(filter(None, usable), found.get(name, ""))
    return {name: address for name, address in found.items() if address}


def wanted_entries(node: Mapping[str, Any], cluster: Mapping[str, Any], addresses: Mapping[str, str]) -> dict[str, str]:
    """Return what has to be written to the /etc/hosts of a node.

    Args:
        node: What slurm_node_probe found; it was asked for the names of controllers and nodes.
        cluster: What slurm_cluster_info found.
        addresses: What `node_addresses` returns.

    Returns:
        Names and addresses: of those that the node does not resolve, and of those that were written before, as long as
        they belong to the cluster.
    """
    written = node.get("hosts_file") or {}
    resolved = (node.get("network") or {}).get("resolve") or {}
    own = str(node["hostname"]).partition(".")[0]
    known = {**_controllers(node, cluster), **addresses}
    kept = {name: address for name, address in written.items() if name in (cluster.get("nodes") or {})}
    needed = {
        name: address
        for name, address in known.items()
        if name in written or not is_usable(resolved.get(name) or (), own=name == own)
    }
    return dict(sorted({**kept, **needed}.items()))


def _controllers(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, str]:
    """Return of each controller the address at which the node reaches it, else the first."""
    connect = (node.get("network") or {}).get("connect") or {}
    found = {}
    for controller in cluster.get("controllers") or []:
        host, addresses = controller["host"], controller.get("addresses") or []
        answers = {one: connect.get(f"{one}:{cluster.get('port')}") for one in addresses}
        # A node that works was not asked to connect.
        usable = [one for one, answer in answers.items() if not answer or answer["state"] == OPEN] or addresses
        written = str((node.get("hosts_file") or {}).get(host) or "")
        if usable and not is_address(host):
            found[host] = written if written in usable else usable[0]
    return found
