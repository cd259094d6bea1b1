# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter removal_refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DOCUMENTATION = r"""
name: removal_refusals
short_description: Says why a node must not be taken out of a cluster
version_added: "0.1.0"
description:
  - Decides before anything is touched, from one look at the controller and one at the node. Whether jobs run is not
    decided here; they can be waited for.
options:
  _input:
    description: The node's name in Slurm.
    type: str
    required: true
  cluster:
    description: What M(ai_infra.slurm.slurm_cluster_info) returns as C(cluster).
    type: dict
    required: true
  node:
    description: What M(ai_infra.slurm.slurm_node_probe) returns as C(node); nothing when it could not be looked at.
    type: dict
  unreachable:
    description: Why the machine can't be looked at.
    type: str
    default: ""
  force:
    description: Whether the user says that a node that does not answer is dead.
    type: bool
    default: false
  uninstall:
    description: Whether packages, key and configuration are removed, too.
    type: bool
    default: false
"""
EXAMPLES = r"""
- name: Keep a node that is reserved
  ansible.builtin.assert:
    that: "'node07' | ai_infra.slurm.removal_refusals(preflight_cluster, preflight_node) is falsy"
"""
RETURN = r"""
_value:
  description: Sentences that say what was found and what to do, empty when the node may be removed.
  type: list
  elements: str
"""

# The file that slurm_nodes writes.
OURS = "/slurmscale-nodes.conf line "


def removal_refusals(  # noqa: PLR0917 - a filter's options are its arguments
    name: str,
    cluster: Mapping[str, Any],
    node: Mapping[str, Any] | None = None,
    unreachable: str = "",
    force: bool = False,  # noqa: FBT001, FBT002 - a filter's option
    uninstall: bool = False,  # noqa: FBT001, FBT002 - the same
) -> list[str]:
    """Return what speaks against the removal, in sentences."""
    known = cluster["nodes"].get(name)
    problems = list(_of_a_controller(name, node or {})) if uninstall else []
    if known is None:
        return problems + list(_of_a_stranger(name, cluster, node or {}))
    problems += _of_the_cluster(name, known, cluster)
    if force:
        return problems
    if unreachable:
        problems.append(
            f"{unreachable.strip()} Whether something runs there can't be told, so it counts as busy."
            " When the machine is dead: -e force=true."
        )
    elif {"NOT_RESPONDING", "UNKNOWN"} & set(known["state"]):
        problems.append(
            f"Slurm gets no answer from it ({'+'.join(known['state'])}), so it counts as busy."
            " Start its slurmd, or when it is dead: -e force=true."
        )
    return problems


def _of_a_controller(name: str, node: Mapping[str, Any]) -> Iterator[str]:
    services = node.get("services") or {}
    if (services.get("slurmctld") or {}).get("active") == "active":
        yield f"{name} runs slurmctld, which uninstall=true would take away. Remove it without uninstall."


def _of_a_stranger(name: str, cluster: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[str]:
    """Refuse a machine that serves another cluster. One with our munge key was left by a run that was cut short."""
    services, files = node.get("services") or {}, node.get("files") or {}
    key = cluster["munge_key"]
    found = (files.get(key["path"]) or {}).get("sha256")
    if (services.get("slurmd") or {}).get("active") == "active" and found != key["sha256"]:
        yield (
            f"{name} is not in this cluster, but slurmd runs there with another cluster's munge key."
            " Run scale_down with that cluster's controller."
        )


def _of_the_cluster(name: str, known: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[str]:
    for reservation, held in sorted(cluster["reservations"].items()):
        if name in held["nodes"]:
            yield (
                f"{name} belongs to the reservation {reservation} ({held['state']}, {held['start']} to {held['end']})."
                f" Take it out first (scontrol update ReservationName={reservation} Nodes-={name}),"
                " or delete the reservation."
            )
    where = known.get("defined_in", "")
    if where and OURS not in where:
        yield (
            f"{name} is defined in {where}, which slurmscale does not manage."
            " Drain it, take it out there by hand, and let slurmctld read it."
        )


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"removal_refusals": removal_refusals}
