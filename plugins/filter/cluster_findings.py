# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter cluster_findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import RECONFIGURES_NODES
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.versions import version_text
from ansible_collections.ai_infra.slurm.plugins.plugin_utils import repair as checks
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import Thresholds, membership
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import machine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DOCUMENTATION = r"""
name: cluster_findings
short_description: List what is wrong with a cluster
version_added: "0.1.0"
description:
  - Reads the facts that were gathered on the controller and on each node, and the thresholds C(preflight_max_skew) and
    C(preflight_min_free_mb) where they are set. Changes and runs nothing.
options:
  _input:
    description: Inventory names of the nodes.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars).
    type: dict
    required: true
  controller:
    description: Inventory name of the controller.
    type: str
    required: true
"""
EXAMPLES = r"""
- name: List what is wrong
  ansible.builtin.debug:
    msg: "{{ groups['slurm_nodes'] | ai_infra.slurm.cluster_findings(hostvars, groups['slurm_controllers'][0]) }}"
"""
RETURN = r"""
_value:
  description: >-
    One entry for each thing that is wrong, with the keys host, check, code, reason, needed, found, remedy, fix (the
    steps by which it is fixed, none when it is left to a person) and note (whether somebody meant it to be so).
  type: list
  elements: dict
"""

MUNGE = {"/etc/munge": "munge", "/var/lib/munge": "munge", "/var/log/munge": "munge"}


def cluster_findings(
    nodes: Sequence[str],
    hostvars: Mapping[str, Any],
    controller: str,
) -> list[dict[str, Any]]:
    """Return what is wrong, the controller first."""
    facts = hostvars[controller]
    cluster = facts.get("preflight_cluster") or {}
    found = [{"host": controller, **one} for one in _controller(facts, cluster)]
    names, others = {}, set()
    for host in nodes:
        own = hostvars[host]
        names[own.get("slurmd_node_name") or host.split(".")[0]] = host
        if host == controller:
            continue
        foreign = list(_other_cluster(own, cluster))
        others |= {host} if foreign else set()
        found += [{"host": host, **one} for one in foreign or _node(own, facts)]
    for name, node in (cluster.get("nodes") or {}).items():
        machine = names.get(name)
        definition = (hostvars[machine].get("slurmd_plan") or {}).get("definition") if machine else None
        for one in checks.state(name, node, definition, ("slurm", cluster.get("slurm_user", "slurm"))):
            found.append({"host": machine or name, **_limited(one, selected=bool(machine), foreign=machine in others)})
    return found


def _thresholds(facts: Mapping[str, Any]) -> Thresholds:
    usual = Thresholds()
    return Thresholds(
        float(facts.get("preflight_max_skew", usual.max_skew)),
        int(facts.get("preflight_min_free_mb", usual.min_free_mb)),
    )


def _limited(found: dict[str, Any], *, selected: bool, foreign: bool) -> dict[str, Any]:
    """Take the fix from a finding whose machine this run must not change."""
    if not found["fix"] or (selected and not foreign):
        return found
    remedy = "Not among the nodes of this run: name it in nodes, then fix corrects it."
    if foreign:
        remedy = "Not resumed, as its machine serves another cluster."
    return {**found, "fix": [], "remedy": remedy}


def _other_cluster(facts: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Find a machine that serves another cluster; nothing else of it is checked, as nothing of it may be changed."""
    node = machine_of(facts)
    if facts.get("repair_failure") or not node:
        return
    for one in membership(node, cluster):
        if not one["ok"]:
            remedy = "Leave this machine out of nodes, or remove it from there first. A repair never changes it."
            yield checks.finding(Code(one["code"]), one["check"], one["needed"], one["found"], remedy)


def _failure(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    failure = facts.get("repair_failure")
    if not failure:
        return
    unreachable = failure["code"] == Code.HOST_UNREACHABLE
    check, needed = ("reachable", "an answer over ssh") if unreachable else ("facts", "all facts of the machine")
    remedy = failure["remedy"] or "Correct what the reason names, then run again."
    yield checks.finding(Code(failure["code"]), check, needed, " ".join(failure["reason"].split()), remedy)


def _controller(facts: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    node = machine_of(facts)
    yield from _failure(facts)
    if facts.get("repair_failure") or not node:
        return
    yield from checks.service(node, "munge")
    # The cluster's facts know the unit also where it is not called slurmctld.
    daemon = cluster.get("daemon") or (node.get("services") or {}).get("slurmctld") or {}
    yield from checks.service({"services": {"slurmctld": daemon}}, "slurmctld")
    if daemon.get("active") == "active" and not cluster.get("answering"):
        said = " ".join(str(cluster.get("message")).split())
        remedy = "See journalctl -u slurmctld; a running slurmctld is not restarted."
        yield checks.finding(Code.CONTROLLER_NOT_ANSWERING, "slurmctld", "an answer", said, remedy)
    edited = str((cluster.get("config") or {}).get("HASH_VAL", ""))
    if edited.startswith("Different"):
        restart = f"before Slurm {version_text(RECONFIGURES_NODES)} a restart if nodes were changed"
        remedy = f"Check what was edited; then scontrol reconfigure, or {restart}."
        needed = "slurmctld works with the files on disk"
        found = f"edited since: {edited}"
        yield checks.finding(Code.CONFIGURATION_EDITED, "configuration", needed, found, remedy)
    yield from checks.key(node, None)
    owner = cluster.get("slurm_user") or "slurm"
    state = (cluster.get("config") or {}).get("StateSaveLocation")
    yield from checks.directories(node, {**MUNGE, **({state: owner} if state else {})})
    yield from checks.thresholds(node, {}, _thresholds(facts))


def _node(facts: Mapping[str, Any], controller: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    node, cluster = machine_of(facts), controller.get("preflight_cluster") or {}
    yield from _failure(facts)
    if facts.get("repair_failure") or not node:
        return
    known = facts.get("slurmd_node_name") in (cluster.get("nodes") or {})
    if not known and not node.get("slurm_version"):
        found, remedy = "a machine without slurmd", "scale_up.yml makes it one."
        yield checks.finding(Code.NODE_NOT_PREPARED, "node", "a node of the cluster", found, remedy, note=True)
        return
    if known or not cluster.get("answering"):
        yield from _of_node(node, facts, controller)
        return
    found, remedy = "not registered", "Run scale_up.yml for it, or take it out of slurm_nodes."
    yield checks.finding(Code.NODE_NOT_REGISTERED, "node", "known to the controller", found, remedy)
    # It may have been taken out of the cluster: no key is deployed to it, and no slurmd is started on it.
    for one in _of_node(node, facts, controller):
        yield {**one, "fix": [], "remedy": "Not fixed as long as it is not registered."} if one["fix"] else one


def _of_node(
    node: Mapping[str, Any], facts: Mapping[str, Any], controller: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    cluster = controller.get("preflight_cluster") or {}
    yield from checks.service(node, "munge")
    yield from checks.service(node, "slurmd")
    wrong_key = list(checks.key(node, (cluster.get("munge_key") or {}).get("sha256") or ""))
    yield from wrong_key
    munge = ((machine_of(controller) or {}).get("services") or {}).get("munge") or {}
    if not wrong_key and node.get("munge_credential") and munge.get("active") == "active":
        yield from checks.credential((controller.get("repair_credentials") or {}).get(facts.get("inventory_hostname")))
    yield from checks.directories(node, {**MUNGE, facts.get("repair_spool") or "/var/spool/slurmd": "root"})
    yield from checks.options(node, facts.get("slurmd_outdated") or [], facts.get("slurmd_options") or "")
    if node.get("slurmd_args"):
        yield from checks.configuration(node, cluster, facts.get("repair_conf_dir") or "/etc/slurm")
    yield from checks.stray_conf_files(node, cluster)
    yield from checks.steps(node, controller.get("repair_jobs"))
    yield from checks.thresholds(node, cluster, _thresholds(facts))


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"cluster_findings": cluster_findings}
