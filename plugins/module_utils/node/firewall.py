# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Tells which firewall of the distribution is on, and which ports it lets in."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.processes import read

_UFW_ON = re.compile(r"(?im)^\s*ENABLED=[\"']?yes")
#: As ufw notes a rule for everybody: `### tuple ### allow tcp 6818,60001:63000 0.0.0.0/0 any 0.0.0.0/0 in`.
_UFW_RULE = re.compile(r"(?m)^### tuple ### allow (?:tcp|any) (\S+) 0\.0\.0\.0/0 any 0\.0\.0\.0/0 in\b(.*)")
#: How it notes the comment of ours, slurmscale.
_OURS = "comment=" + b"slurmscale".hex()
_DEFAULT_ZONE = re.compile(r"(?m)^\s*DefaultZone\s*=\s*(\S+)")
#: A zone as firewalld lists it: its name at the beginning of a line, what belongs to it indented.
_ZONE = re.compile(r"(?m)^(\S+).*((?:\n[ \t].*)*)")
_FIELD = re.compile(r"(?m)^ +([a-z-]+): *(.*)$")
_DEVICE = re.compile(r"\bdev (\S+)")
_SERVICE_PORT = re.compile(r"<port\s[^>]*>")
_ATTRIBUTE = re.compile(r"""(port|protocol)\s*=\s*["']([a-z0-9-]+)["']""")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")

_Ask = Callable[[Sequence[str]], Optional[str]]
_Zone = Dict[str, List[str]]


def firewall_facts(
    firewalld: bool,  # noqa: FBT001 - what systemd says of it
    ask: _Ask,
    root: str = "/",
    peer: Callable[[], str] = str,
) -> Dict[str, Any]:
    """Describe the firewall of this machine.

    Args:
        firewalld: Whether firewalld runs.
        ask: Runs a command and returns what it prints.
        root: Where the file system begins.
        peer: Tells the address of a machine of the cluster, empty when none is known. firewalld has rules for each
            zone, and a connection is in one by where it comes from.

    Returns:
        name (firewalld, ufw, or empty when neither is on); tcp, the ports and ranges (FIRST-LAST) that everybody is
        let in at, now and after a boot; and ours, the ports of each rule of ufw that has our comment, as ufw wants
        them to delete it. Of firewalld also zone, the one in which the peer comes in, and ports, what is let in
        there by its number.
    """
    if firewalld:
        return _firewalld(ask, root, peer())
    if _UFW_ON.search(_text(root, "etc/ufw/ufw.conf")):
        ports: List[str] = []
        ours: List[str] = []
        for listed, rest in _UFW_RULE.findall(_text(root, "etc/ufw/user.rules")):
            ports += listed.replace(":", "-").split(",")
            ours += [listed] if _OURS in rest.split() else []
        return {"name": "ufw", "tcp": ports, "ours": ours}
    return {"name": "", "tcp": [], "ours": []}


def _firewalld(ask: _Ask, root: str, peer: str) -> Dict[str, Any]:
    zones = _zones(ask(["firewall-cmd", "--list-all-zones"]))
    zone = _zone_of(peer, zones, ask)
    if not zone:
        found = _DEFAULT_ZONE.search(_text(root, "etc/firewalld/firewalld.conf"))
        zone = found.group(1) if found else "public"
    now = zones.get(zone, {})
    kept = _zones(ask(["firewall-cmd", "--permanent", "--zone=" + zone, "--list-all"])).get(zone, {})
    return {
        "name": "firewalld",
        "zone": zone,
        "tcp": _common(_let_in(now, root), _let_in(kept, root)),
        "ports": list(dict.fromkeys(_tcp(now) + _tcp(kept))),
        "ours": [],
    }


def _zones(text: Optional[str]) -> Dict[str, _Zone]:
    return {
        name: {key: value.split() for key, value in _FIELD.findall(fields)}
        for name, fields in _ZONE.findall(text or "")
    }


def _zone_of(peer: str, zones: Dict[str, _Zone], ask: _Ask) -> str:
    """Return the zone that has the peer's address, else the one that has the interface to it; empty for the default."""
    if not peer:
        return ""
    for name, zone in zones.items():
        if any(_holds(source, peer) for source in zone.get("sources", [])):
            return name
    device = _DEVICE.search(ask(["ip", "-oneline", "route", "get", peer]) or "")
    return next((name for name, zone in zones.items() if device and device.group(1) in zone.get("interfaces", [])), "")


def _holds(source: str, peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer.partition("%")[0]) in ipaddress.ip_network(source, strict=False)
    except ValueError:  # an ipset, or the address of a card
        return False


def _tcp(zone: _Zone) -> List[str]:
    return [port[:-4] for port in zone.get("ports", []) if port.endswith("/tcp")]


def _let_in(zone: _Zone, root: str) -> List[str]:
    if zone.get("target") == ["ACCEPT"]:
        return ["1-65535"]
    ports = _tcp(zone)
    for service in zone.get("services", []):
        # The administrator's own takes the place of one that came with firewalld.
        folders = ("etc/firewalld/services", "usr/lib/firewalld/services")
        text = next(filter(None, (_text(root, f"{folder}/{service}.xml") for folder in folders)), "")
        for words in (dict(_ATTRIBUTE.findall(port)) for port in _SERVICE_PORT.findall(text)):
            # An empty one lets a whole protocol in.
            if words.get("protocol") == "tcp" and _RANGE.fullmatch(words.get("port", "")):
                ports.append(words["port"])
    return ports


def _common(one: List[str], other: List[str]) -> List[str]:
    """Return the ports and ranges that both lists have."""
    pairs = ((port_span(mine), port_span(theirs)) for mine in one for theirs in other)
    both = ((max(mine[0], theirs[0]), min(mine[1], theirs[1])) for mine, theirs in pairs)
    ports = (f"{first}-{last}" if last > first else str(first) for first, last in both if first <= last)
    return list(dict.fromkeys(ports))


def port_span(port: str) -> Tuple[int, int]:
    """Return the first and the last port of a range (FIRST-LAST) or a port; 0 of what is neither, as `any` of ufw."""
    found = _RANGE.fullmatch(port)
    first, last = found.groups() if found else ("0", None)
    return int(first), int(last or first)


def _text(root: str, path: str) -> str:
    return (read(os.path.join(root, path)) or b"").decode("utf-8", "replace")
