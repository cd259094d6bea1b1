# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter readiness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DOCUMENTATION = r"""
name: readiness
short_description: Says what keeps a machine from becoming a compute node
version_added: "0.1.0"
description:
  - Compares what was found on a machine with what its controller and the product need. Changes and runs nothing.
options:
  _input:
    description: What M(ai_infra.slurm.slurm_node_probe) returns as C(node).
    type: dict
    required: true
  cluster:
    description: What M(ai_infra.slurm.slurm_cluster_info) returns as C(cluster).
    type: dict
    required: true
  max_skew:
    description: Seconds by which the clocks may differ. Munge refuses credentials from 300 on.
    type: int
    default: 60
  min_free_mb:
    description: Megabytes that must be free where packages and the spool go.
    type: int
    default: 512
"""
EXAMPLES = r"""
- name: Say what is missing
  ansible.builtin.debug:
    msg: "{{ preflight_node | ai_infra.slurm.readiness(preflight_cluster) | rejectattr('ok') }}"
"""
RETURN = r"""
_value:
  description: One entry per check with the keys check, ok, needed, found and remedy.
  type: list
  elements: dict
"""

SUPPORTED = "Rocky, AlmaLinux, RHEL, CentOS Stream 8-10; Ubuntu 20.04-26.04; Debian 11-13"
# Majors of Slurm in order of release; the position says how far two versions are apart.
MAJORS = (
    "19.05",
    "20.02",
    "20.11",
    "21.08",
    "22.05",
    "23.02",
    "23.11",
    "24.05",
    "24.11",
    "25.05",
    "25.11",
    "26.05",
    "26.11",
)
PYTHON = (3, 8)


def readiness(
    node: Mapping[str, Any], cluster: Mapping[str, Any], max_skew: int = 60, min_free_mb: int = 512
) -> list[dict[str, Any]]:
    """Return one entry per check."""
    return [
        *_system(node),
        *_version(node, cluster),
        *_clock(node, cluster, max_skew),
        *_accounts(node, cluster),
        *_disks(node, min_free_mb),
    ]


def _entry(check: str, ok: bool, needed: str, found: str, remedy: str) -> dict[str, Any]:  # noqa: FBT001 - a record
    return {"check": check, "ok": ok, "needed": needed, "found": found, "remedy": "" if ok else remedy}


def _system(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    os = node["os"]
    yield _entry(
        "operating system",
        bool(os["supported"]),
        SUPPORTED,
        os.get("pretty") or str(os.get("id")),
        "Install one of the supported systems, or leave this machine out of nodes.",
    )
    yield _entry(
        "privileges",
        node["uid"] == 0,
        "uid 0",
        f"uid {node['uid']}",
        "Log in as root, or set ansible_become: true and a user that may become root.",
    )
    version = tuple(int(part) for part in node["python"].split(".")[:2])
    yield _entry(
        "Python",
        version >= PYTHON,
        "3.8 or later",
        node["python"],
        "Install a newer python3, or set ansible_python_interpreter to one that is there.",
    )


def _major(version: str) -> int:
    major = ".".join(version.split(".")[:2])
    return MAJORS.index(major) if major in MAJORS else -1


def _version(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    found, controller = node.get("slurm_version"), cluster.get("version")
    if not found or not controller:
        return
    # Two earlier majors up to 24.05, three from 24.11 (Slurm's upgrade guide).
    window = 3 if _major(controller) >= MAJORS.index("24.11") else 2
    newer = [int(part) for part in found.split(".")[:3]] > [int(part) for part in controller.split(".")[:3]]
    old = _major(controller) - _major(found) > window if -1 not in (_major(controller), _major(found)) else False
    yield _entry(
        "Slurm version",
        not newer and not old,
        f"at most {controller} and at most {window} majors older",
        found,
        f"Remove the installed slurmd {found}, and this run installs the one of the controller.",
    )


def _clock(node: Mapping[str, Any], cluster: Mapping[str, Any], max_skew: int) -> Iterator[dict[str, Any]]:
    if not node.get("control_time") or not cluster.get("control_time"):
        return
    skew = (node["time"] - node["control_time"]) - (cluster["time"] - cluster["control_time"])
    yield _entry(
        "clock",
        abs(skew) <= max_skew,
        f"within {max_skew} s of the controller's",
        f"{skew:+.0f} s",
        "Set up time synchronisation (chrony) on the node; munge refuses credentials of a wrong time.",
    )


def _accounts(node: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, wanted in (cluster.get("users") or {}).items():
        found = (node.get("users") or {}).get(name)
        if not wanted or not found or wanted.get("name", name) != name:
            continue  # made later, or SlurmUser is called otherwise on this cluster
        same = (found["uid"], found["gid"]) == (wanted["uid"], wanted["gid"])
        yield _entry(
            f"user {name}",
            same,
            f"uid {wanted['uid']}, gid {wanted['gid']} as on the controller",
            f"uid {found['uid']}, gid {found['gid']}",
            f"Stop what runs as {name}, give it the controller's uid and gid (usermod, groupmod, chown its files),"
            " and run again.",
        )


def _disks(node: Mapping[str, Any], min_free_mb: int) -> Iterator[dict[str, Any]]:
    for path, free in (node.get("disks") or {}).items():
        if free is not None:
            yield _entry(
                f"space in {path}",
                free >= min_free_mb,
                f"{min_free_mb} MB free",
                f"{free} MB",
                f"Free some space in {path}.",
            )


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"readiness": readiness}
