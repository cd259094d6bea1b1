# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The address by which slurmctld reaches a node whose name it does not resolve."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def is_usable(addresses: Iterable[str], *, own: bool) -> bool:
    """Say whether one of the addresses of a name leads to its machine.

    Args:
        addresses: What the name resolves to.
        own: It is the name of the machine that resolves it.
    """
    return bool(own and list(addresses)) or bool(first_usable(addresses))


def first_usable(addresses: Iterable[str]) -> str:
    """Return the first of the addresses of another machine's name that leads to it; empty when none does."""
    # Debian's installer writes 127.0.1.1 for a machine's own name; copied elsewhere it leads nowhere.
    usable = (one for one in addresses if not ipaddress.ip_address(one.partition("%")[0]).is_loopback)
    return next(usable, "")


def default_address(
    ansible_host: str, name: str, node: Mapping[str, Any], cluster: Mapping[str, Any], reach: Mapping[str, Any]
) -> str:
    """Return what NodeAddr is when it is not stated; empty when the name of the node does.

    Args:
        ansible_host: How Ansible reaches the node; empty when by its name.
        name: The node's name in Slurm.
        node: What slurm_node_probe found.
        cluster: What slurm_cluster_info found.
        reach: How the controller sees the node, as for `readiness.assess`; it was asked for both names.
    """
    if not ansible_host or ansible_host == node["address"]:
        return ""
    if ((cluster.get("nodes") or {}).get(name) or {}).get("addr") == ansible_host:
        return ansible_host  # so it joined, and so it stays
    network = reach.get("network") or {}
    found, own = network.get("resolve") or {}, bool(reach.get("own"))
    if node["address"] not in found or is_usable(found[node["address"]], own=own):
        return ""
    targets = (network.get("connect") or {}).items()
    answers = {answer["state"] for target, answer in targets if target.rpartition(":")[0] == ansible_host}
    reached = is_usable(found.get(ansible_host) or (), own=own) and answers & {"open", "refused"}
    return ansible_host if reached else ""
