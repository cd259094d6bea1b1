# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine must have to be a compute node, compared with what was found on it and on its controller."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.operating_system import SUPPORTED
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PYTHON = (3, 8)
Entry = dict[str, Any]


class Limits(NamedTuple):
    """What a machine must keep to."""

    max_skew: float = 60
    min_free_mb: int = 512
    min_memory_mb: int = 256


def entry(check: str, ok: bool, needed: str, found: str, remedy: str) -> Entry:  # noqa: FBT001 - a record
    """Return one line of a report; a remedy is only for what is not well."""
    return {"check": check, "ok": ok, "needed": needed, "found": found, "remedy": "" if ok else remedy}


def system(node: Mapping[str, Any], limits: Limits) -> Iterator[Entry]:
    """Compare operating system, rights, Python and hardware."""
    os, hardware = node["os"], node["hardware"] or {}
    yield entry(
        "operating system",
        bool(os["supported"]),
        SUPPORTED,
        os.get("pretty") or str(os.get("id")),
        "Install one of the supported systems, or leave this machine out of nodes.",
    )
    yield entry(
        "privileges",
        node["uid"] == 0,
        "uid 0",
        f"uid {node['uid']}",
        "Log in as root, or set ansible_become: true and a user that may become root.",
    )
    version = tuple(int(part) for part in node["python"].split(".")[:2])
    yield entry(
        "Python",
        version >= PYTHON,
        "3.8 or later",
        node["python"],
        "Install a newer python3, or set ansible_python_interpreter to one that is there.",
    )
    yield entry(
        "CPUs",
        (hardware.get("cpus") or 0) > 0,
        "at least 1",
        str(hardware.get("cpus") or "not measured"),
        "See why neither slurmd -C nor the kernel tells the CPUs: slurmd -C; lscpu",
    )
    yield entry(
        "memory",
        (hardware.get("real_memory") or 0) >= limits.min_memory_mb,
        f"{limits.min_memory_mb} MB",
        f"{hardware.get('real_memory') or 0} MB",
        "Give the machine more memory, or set preflight_min_memory_mb lower.",
    )


def version(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Entry]:
    """Compare slurmd with slurmctld: never newer, and inside Slurm's window."""
    found, controller = node.get("slurm_version"), cluster.get("version")
    if not controller:
        return
    needed = f"at most {controller} and at most {versions.window(controller)} releases older"
    if not found:
        yield entry("Slurm version", True, needed, "not installed", "")  # noqa: FBT003 - a record
        return
    yield entry(
        "Slurm version",
        not versions.is_newer(found, controller) and not versions.is_too_old(found, controller),
        needed,
        found,
        f"Remove the installed slurmd {found}; scale_up then installs the controller's version from AppHub.",
    )


def skew(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> float | None:
    """Return by how many seconds the node's clock is ahead of the controller's; None when one is not known."""
    if not node.get("control_time") or not cluster.get("control_time"):
        return None
    ahead: float = (node["time"] - node["control_time"]) - (cluster["time"] - cluster["control_time"])
    return ahead


def clock(node: Mapping[str, Any], cluster: Mapping[str, Any], limits: Limits) -> Iterator[Entry]:
    """Compare the clocks."""
    ahead = skew(node, cluster)
    if ahead is not None:
        yield entry(
            "clock",
            abs(ahead) <= limits.max_skew,
            f"within {limits.max_skew} s of the controller's",
            f"{ahead:+.0f} s",
            "Set up time synchronisation (chrony) on the node; munge refuses credentials of a wrong time.",
        )


def accounts(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Entry]:
    """Compare the numbers of the users slurm and munge."""
    for name, wanted in (cluster.get("users") or {}).items():
        found = (node.get("users") or {}).get(name)
        if not wanted or not found or wanted.get("name", name) != name:
            continue  # made later, or SlurmUser is called otherwise on this cluster
        same = (found["uid"], found["gid"]) == (wanted["uid"], wanted["gid"])
        yield entry(
            f"user {name}",
            same,
            f"uid {wanted['uid']}, gid {wanted['gid']} as on the controller",
            f"uid {found['uid']}, gid {found['gid']}",
            f"Stop what runs as {name}, give it the controller's uid and gid (usermod, groupmod, chown its files),"
            " and run again.",
        )


def disks(node: Mapping[str, Any], limits: Limits) -> Iterator[Entry]:
    """Compare the free space."""
    for path, free in (node.get("disks") or {}).items():
        if free is not None:
            yield entry(
                f"space in {path}",
                free >= limits.min_free_mb,
                f"{limits.min_free_mb} MB free",
                f"{free} MB",
                f"Free some space in {path}.",
            )


def apphub(node: Mapping[str, Any]) -> Iterator[Entry]:
    """Say whether the node itself reaches AppHub."""
    urls = (node.get("network") or {}).get("urls") or {}
    if urls:
        yield entry(
            "AppHub",
            any(answer["ok"] for answer in urls.values()),
            "an answer to a request from the node",
            "; ".join(f"{url}: {answer['message']}" for url, answer in urls.items()),
            "Open the way from the node to AppHub (name, route, firewall, proxy); try on the node: "
            f"curl -i {next(iter(urls))}",
        )


def controller_from_node(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[Entry]:
    """Say whether the node finds the controllers by name and reaches their port."""
    network = node.get("network") or {}
    own = (cluster.get("addresses") or {}).get("hostname") == node.get("hostname")
    for name, addresses in (network.get("resolve") or {}).items():
        yield entry(
            f"name of {name}",
            _usable(addresses, own=own),
            "an address that is not this machine's own loopback" if not own else "an address",
            ", ".join(addresses) or "none",
            f"Put {name} with its address into DNS or into the node's /etc/hosts.",
        )
    for target, answer in (network.get("connect") or {}).items():
        yield entry(
            f"port {target}",
            answer["state"] == "open",
            "slurmctld answers the node",
            f"{answer['state']}: {answer['message']}",
            f"Open the way from the node to {target} (firewall, route); slurmd registers over it.",
        )


def node_from_controller(node: Mapping[str, Any], reach: Mapping[str, Any]) -> Iterator[Entry]:
    """Say whether the controller finds the node by name and reaches its port.

    As long as no slurmd listens, a refused connection is as good as an open one: nothing hides the port.
    """
    if str(node.get("hostname", "unknown")).split(".")[0] in ("", "localhost"):
        yield entry(
            "host name",
            False,  # noqa: FBT003 - a record
            "a name of its own",
            str(node.get("hostname")),
            "Give the machine its name: hostnamectl set-hostname NAME",
        )
    name, network = reach.get("name"), reach.get("network") or {}
    if reach.get("state"):
        yield entry("seen by the controller", True, "found and reached", f"registered, {reach['state']}", "")  # noqa: FBT003
        return
    if reach.get("problem"):
        remedy = "See that the controller answers over ssh, then run again."
        said = f"it can't be asked: {reach['problem']}"
        yield entry("seen by the controller", False, "found and reached", said, remedy)  # noqa: FBT003 - a record
    if name not in (network.get("resolve") or {}):
        return
    addresses = network["resolve"][name]
    yield entry(
        "name on the controller",
        _usable(addresses, own=bool(reach.get("own"))),
        f"the controller finds {name}",
        ", ".join(addresses) or "no address",
        f"Put {name} with its address into DNS or into the controller's /etc/hosts, or state NodeAddr in"
        " slurmd_parameters.",
    )
    slurmd = (node.get("services") or {}).get("slurmd") or {}
    running = slurmd.get("active") == "active"
    for target, answer in (network.get("connect") or {}).items():
        if addresses and target.rpartition(":")[0] == name:
            yield entry(
                f"port {target}",
                answer["state"] == "open" or (answer["state"] == "refused" and not running),
                "slurmd answers the controller" if running else "nothing hides it from the controller",
                f"{answer['state']}: {answer['message']}",
                f"Open the way from the controller to {target} (firewall, route)"
                + (", and see whether slurmd listens: journalctl -u slurmd" if running else "."),
            )


def _usable(addresses: list[str], *, own: bool) -> bool:
    # Debian's installer writes 127.0.1.1 for a machine's own name; copied elsewhere it leads nowhere.
    return any(own or not ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in addresses)
