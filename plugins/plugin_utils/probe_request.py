# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine is asked for, by what is known of its cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.node_states import AVAILABLE_STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PORT = 6817


def slurmctld_door(host: str, cluster: Mapping[str, Any]) -> str:
    """Return host and port of a slurmctld, as the module is asked for them and names them in its answer."""
    return f"{host}:{cluster.get('port') or _PORT}"


def probe_request(
    cluster: Mapping[str, Any], name: str, *, names: Iterable[str] = (), write_hosts: bool = False
) -> dict[str, Any]:
    """Return the options resolve, connect and state of the module slurm_node_probe.

    Args:
        cluster: What slurm_cluster_info found; empty while the controller is being made.
        name: The name of the machine in Slurm.
        names: Names of the nodes, which the machine is to resolve when it gets an /etc/hosts.
        write_hosts: Whether it may get one.
    """
    states = ((cluster.get("nodes") or {}).get(name) or {}).get("state") or []
    works = not AVAILABLE_STATES.isdisjoint(states) and "NOT_RESPONDING" not in states
    controllers = cluster.get("controllers") or []
    hosts = [one["host"] for one in controllers]
    # A controller that is down is no fault of the machine. slurmctld logs each attempt; a node that works makes none.
    up = [] if works else [one for one in controllers if one.get("up")]
    doors = [one["host"] for one in up]
    if write_hosts:
        hosts += names
        doors += [address for one in up for address in one["addresses"]]
    return {
        "resolve": list(dict.fromkeys(hosts)),
        "connect": [slurmctld_door(door, cluster) for door in dict.fromkeys(doors)],
        "state": "+".join(states) if works else "",
    }
