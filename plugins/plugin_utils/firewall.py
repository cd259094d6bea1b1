# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Which ports of a node the cluster needs, and how its firewall is told to let them in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.firewall import port_span

if TYPE_CHECKING:
    from collections.abc import Mapping

_UFW_RULE = ("allow", "proto", "tcp", "to", "any", "port")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def needed_ports(cluster: Mapping[str, Any], port: str | int | None = None) -> list[str]:
    """Return the TCP ports at which a node has to be reached.

    Args:
        cluster: What slurm_cluster_info found.
        port: The node's own port of slurmd, where it has one.

    Returns:
        slurmd's, and those of SrunPortRange (FIRST-LAST) where the cluster has it: without it srun listens anywhere.
    """
    ports = [str(port or cluster.get("slurmd_port") or 6818)]
    srun = str((cluster.get("config") or {}).get("SrunPortRange") or "")
    if _RANGE.fullmatch(srun) and not srun.startswith("0"):
        ports.append(srun)
    return ports


def closed_ports(firewall: Mapping[str, Any] | None, ports: list[str]) -> list[str]:
    """Return which of the ports the firewall of a machine does not let in.

    Args:
        firewall: What the probe found; nothing is closed where none is on.
        ports: Ports and ranges.
    """
    if not firewall or not firewall.get("name"):
        return []
    spans = [port_span(port) for port in firewall.get("tcp") or []]
    return [
        port
        for port in ports
        if not any(low <= port_span(port)[0] and port_span(port)[1] <= high for low, high in spans)
    ]


def opening(firewall: Mapping[str, Any] | None, ports: list[str]) -> list[list[str]]:
    """Return the commands that let in what is closed of the ports, now and after a boot.

    Args:
        firewall: What the probe found.
        ports: Ports and ranges that the cluster needs.
    """
    closed = closed_ports(firewall, ports)
    if not firewall or not closed:
        return []
    if firewall["name"] == "ufw":
        return [["ufw", *_UFW_RULE, ",".join(closed).replace("-", ":"), "comment", "slurmscale"]]
    return _firewalld("add", firewall, closed)


def closing(firewall: Mapping[str, Any] | None, ports: list[str]) -> list[list[str]]:
    """Return the commands that let ports in no more, now and after a boot.

    ufw knows which rules are ours; with firewalld whoever opened the port of slurmd needs it no more.

    Args:
        firewall: What the probe found.
        ports: Ports and ranges that the cluster needs.
    """
    if not firewall or firewall.get("name") == "ufw":
        return [["ufw", "delete", *_UFW_RULE, listed] for listed in (firewall or {}).get("ours") or []]
    # What a service or the whole zone lets in was not opened by a port's number.
    closed = closed_ports({**firewall, "tcp": firewall.get("ports")}, ports)
    opened = [port for port in ports if port not in closed]
    return _firewalld("remove", firewall, opened) if firewall.get("name") == "firewalld" and opened else []


def _firewalld(verb: str, firewall: Mapping[str, Any], ports: list[str]) -> list[list[str]]:
    words = [f"--zone={firewall['zone']}", *(f"--{verb}-port={port}/tcp" for port in ports)]
    return [["firewall-cmd", "--permanent", *words], ["firewall-cmd", *words]]
