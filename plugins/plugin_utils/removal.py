# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes may be removed from a cluster, how each is removed, and what is reported of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.node_states import is_ours
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import membership
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import node_changed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FORCE = "When the machine is dead: -e force=true."
# In the words of the playbook's options.
REMEDIES = {
    Code.NODE_RUNS_JOBS: "Give it more time (drain_timeout), or say -e jobs=requeue or -e jobs=cancel.",
    Code.NODE_REQUESTED_BY_JOBS: (
        "Change them, or say -e jobs=cancel, which cancels them, or -e jobs=requeue, which lets them fail."
    ),
}


def refusals(
    name: str,
    cluster: Mapping[str, Any],
    node: Mapping[str, Any] | None,
    *,
    unreachable: Mapping[str, str] | None = None,
    force: bool = False,
    uninstall: bool = False,
) -> Iterator[Failure]:
    """Find the reasons why a node can't be removed, before anything is changed. Jobs are not checked here.

    Args:
        name: The node's name in Slurm.
        cluster: The controller's facts.
        node: The machine's facts; None when they could not be gathered.
        unreachable: Why they could not be gathered.
        force: The user says that a node that does not answer is dead.
        uninstall: Packages, key and configuration are removed, too.
    """
    known = cluster["nodes"].get(name)
    if uninstall:
        yield from _controller(name, node or {})
    if known is None:
        yield from _other_cluster(name, cluster, node or {}, uninstall=uninstall)
        return
    yield from _reserved(name, cluster["reservations"])
    yield from _not_managed(name, known)
    if not force:
        yield from _silent(name, known, unreachable)


def _controller(name: str, node: Mapping[str, Any]) -> Iterator[Failure]:
    services = node.get("services") or {}
    if (services.get("slurmctld") or {}).get("active") == "active":
        reason = f"{name} runs slurmctld, which uninstall=true would remove."
        yield Failure(Code.HOST_RUNS_SLURMCTLD, reason, "Remove the node without uninstall.")


def _other_cluster(
    name: str, cluster: Mapping[str, Any], node: Mapping[str, Any], *, uninstall: bool
) -> Iterator[Failure]:
    """Refuse a machine that serves another cluster. One with our munge key was left by a run that was cut short."""
    services, files = node.get("services") or {}, node.get("files") or {}
    key = cluster["munge_key"]
    found = (files.get(key["path"]) or {}).get("sha256")
    if (services.get("slurmd") or {}).get("active") == "active" and found != key["sha256"]:
        yield Failure(
            Code.NODE_OF_OTHER_CLUSTER,
            f"{name} is not in this cluster, but slurmd runs there with another cluster's munge key.",
            "Run scale_down with that cluster's controller.",
        )
    elif uninstall:
        # stopping a slurmd that does not run takes nothing away, removing a key and packages does
        for one in membership(node, cluster):
            if not one["ok"]:
                reason = (
                    f"{name} is not in this cluster, and uninstall=true would take from another one: {one['found']}."
                )
                yield Failure(
                    Code(one["code"]), reason, "Run scale_down with that cluster's controller, or without uninstall."
                )


def _reserved(name: str, reservations: Mapping[str, Any]) -> Iterator[Failure]:
    for reservation, held in sorted(reservations.items()):
        if name in held["nodes"]:
            yield Failure(
                Code.NODE_RESERVED,
                f"{name} belongs to the reservation {reservation} ({held['state']}, {held['start']} to {held['end']}).",
                f"Take it out first (scontrol update ReservationName={reservation} Nodes-={name}),"
                " or delete the reservation.",
            )


def _not_managed(name: str, known: Mapping[str, Any]) -> Iterator[Failure]:
    if known.get("defined_in") and not known["managed"]:
        yield Failure(
            Code.NODE_NOT_MANAGED,
            f"{name} is defined in {known['defined_in']}, which slurmscale does not manage.",
            "Drain it, take it out there by hand, and let slurmctld read it.",
        )


def _silent(name: str, known: Mapping[str, Any], unreachable: Mapping[str, str] | None) -> Iterator[Failure]:
    if unreachable:
        reason = f"{unreachable['reason']} Whether jobs run on {name} can't be told, so it counts as busy."
        yield Failure(Code(unreachable["code"]), reason, f"{unreachable['remedy']} {FORCE}".strip())
    elif {"NOT_RESPONDING", "UNKNOWN"} & set(known["state"]):
        reason = f"slurmctld gets no answer from {name} ({'+'.join(known['state'])}), so it counts as busy."
        yield Failure(Code.NODE_NOT_RESPONDING, reason, f"Start its slurmd. {FORCE}")


def busy(drain: Mapping[str, Any], *, keep_drained: bool = False, check_mode: bool = False) -> Failure:
    """Say why a node that was to be drained is kept.

    Args:
        drain: What slurm_drain returned for the node.
        keep_drained: Our drain is not taken back.
        check_mode: Nothing was drained.
    """
    reported = drain["failure"]
    taken_back = drain["changed"] and not check_mode and not keep_drained
    after = (
        "The drain of this run was taken back."
        if taken_back
        else f"It stays drained: {drain['reason']}." * bool(drain["reason"])
    )
    reason = f"{reported['reason'].rstrip('.')}. {after}".strip()
    code = Code(reported["code"])
    return Failure(code, reason, REMEDIES.get(code) or reported["remedy"])


def plan(
    leaving: Iterable[Mapping[str, Any]], drained: Mapping[str, Any], known: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Divide nodes by how they are removed from the controller.

    Args:
        leaving: The variables of the hosts that are to leave.
        drained: What slurm_drain returned, by the node's name in Slurm.
        known: The nodes of the controller.

    Returns:
        static: the nodes to take out of the configuration, each with a name; hosts: their inventory names; drained:
        names of nodes that are kept though this run drained them.
    """
    static: list[dict[str, Any]] = []
    hosts: list[str] = []
    kept: list[str] = []
    for host in leaving:
        name = host["slurmd_node_name"]
        drain = drained.get(name) or {}
        if host.get("scale_failure"):
            kept += [name] * bool(drain.get("changed"))
        # In check mode nothing was drained, and a node with jobs would be refused.
        elif not drain.get("jobs") and not known[name].get("dynamic"):
            static.append({"name": name, "params": {}})
            hosts.append(host["inventory_hostname"])
    return {"static": static, "hosts": hosts, "drained": kept}


def outcome(
    host: Mapping[str, Any], drain: Mapping[str, Any], *, left: bool, uninstall: bool = False, check_mode: bool = False
) -> dict[str, str]:
    """Return the result of a node that is not in the cluster any more, and its message.

    Args:
        host: The variables of the host.
        drain: What slurm_drain returned for it.
        left: This run took it out of the cluster.
        uninstall: Packages, key and configuration were to be removed, too.
        check_mode: Nothing was changed.
    """
    if check_mode:
        jobs = drain.get("jobs") or []
        then = f"runs jobs {','.join(jobs)} now" if jobs else drain.get("message", "")
        parts = ["would be removed" if left else "is not in the cluster", then]
        return {"result": "planned", "message": "; ".join(filter(None, parts))}
    changed = node_changed(host)
    reached = "scale_unreachable" not in host
    parts = ["is out of the cluster" if left else "is not in the cluster"]
    if not reached:
        parts.append("can not be reached, so nothing was stopped or uninstalled there")
    elif uninstall:
        parts.append("nothing of Slurm is left there")
    elif left or changed:
        parts.append("slurmd is stopped")
    if drain.get("requested_by"):
        parts.append(f"the pending jobs {','.join(drain['requested_by'])} asked for it by name and fail")
    # The drain of somebody else did not hinder the removal.
    if drain.get("reason") and not is_ours(drain["reason"]):
        parts.append(drain["message"])
    return {"result": "removed" if left else "done" if changed else "unchanged", "message": "; ".join(parts)}
