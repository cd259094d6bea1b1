# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter cluster_findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.plugin_utils import repair as checks
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness_checks import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DOCUMENTATION = r"""
name: cluster_findings
short_description: Lists all that is wrong with a cluster
version_added: "0.1.0"
description:
  - Reads the facts that a look left on the controller and on each node, and the limits C(preflight_max_skew) and
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
    One entry for each thing that is wrong with the keys host, check, needed, found, remedy, mend (how it can be mended,
    empty when it is left to a person) and note (whether somebody meant it to be so).
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
    names = {}
    for host in nodes:
        own = hostvars[host]
        names[own.get("repair_name") or host.split(".")[0]] = host
        if host != controller:
            found += [{"host": host, **one} for one in _node(own, facts)]
    for name, node in (cluster.get("nodes") or {}).items():
        host = names.get(name)
        definition = hostvars[host].get("slurmd_definition") if host else None
        for one in checks.state(name, node, definition, ("slurm", cluster.get("slurm_user", "slurm"))):
            found.append({"host": host, **one} if host else {"host": name, **_foreign(one)})
    return found


def _limits(facts: Mapping[str, Any]) -> Limits:
    usual = Limits()
    return Limits(
        float(facts.get("preflight_max_skew", usual.max_skew)),
        int(facts.get("preflight_min_free_mb", usual.min_free_mb)),
    )


def _foreign(found: dict[str, Any]) -> dict[str, Any]:
    if not found["mend"]:
        return found
    return {
        **found,
        "mend": "",
        "remedy": "Not among the nodes of this run: name it in nodes, then fix looks after it.",
    }


def _failure(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    said = " ".join(str(facts.get("repair_failure") or "").split())
    if "can't be reached" in said:
        said = said.partition(" Check that")[0]
        remedy = "Get it running and reachable (power, network, ansible_host, ansible_user), then run again."
        yield checks.finding("reachable", "an answer over ssh", said, remedy)
    elif said:
        yield checks.finding(
            "look", "a complete look at the machine", said, "Do what the message says, then run again."
        )


def _controller(facts: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    node = facts.get("preflight_node")
    yield from _failure(facts)
    if facts.get("repair_failure") or not node:
        return
    yield from checks.service(node, "munge")
    yield from checks.service(node, "slurmctld")
    active = ((node.get("services") or {}).get("slurmctld") or {}).get("active") == "active"
    if active and not cluster.get("answering"):
        said = " ".join(str(cluster.get("message")).split())
        yield checks.finding(
            "slurmctld", "an answer", said, "See journalctl -u slurmctld; it is not restarted blindly."
        )
    edited = str((cluster.get("config") or {}).get("HASH_VAL", ""))
    if edited.startswith("Different"):
        remedy = (
            "Look at what was edited; then scontrol reconfigure, or before Slurm 24.11 a restart if nodes were changed."
        )
        needed = "slurmctld works with the files on disk"
        yield checks.finding("configuration", needed, f"edited since: {edited}", remedy)
    yield from checks.key(node, None)
    owner = cluster.get("slurm_user") or "slurm"
    state = (cluster.get("config") or {}).get("StateSaveLocation")
    yield from checks.directories(node, {**MUNGE, **({state: owner} if state else {})})
    yield from checks.limits(node, {}, _limits(facts))


def _node(facts: Mapping[str, Any], controller: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    node, cluster = facts.get("preflight_node"), controller.get("preflight_cluster") or {}
    yield from _failure(facts)
    if facts.get("repair_failure") or not node:
        return
    known = facts.get("repair_name") in (cluster.get("nodes") or {})
    if not known and not node.get("slurm_version"):
        yield checks.finding(
            "node", "a node of the cluster", "a machine without slurmd", "scale_up.yml makes it one.", note=True
        )
        return
    if not known and cluster.get("answering"):
        yield checks.finding("node", "known to the controller", "not registered", "Run register_nodes.yml for it.")
    yield from checks.service(node, "munge")
    yield from checks.service(node, "slurmd")
    wrong_key = list(checks.key(node, (cluster.get("munge_key") or {}).get("sha256") or ""))
    yield from wrong_key
    munge = ((controller.get("preflight_node") or {}).get("services") or {}).get("munge") or {}
    if not wrong_key and node.get("munge_credential") and munge.get("active") == "active":
        yield from checks.credential((controller.get("repair_credentials") or {}).get(facts.get("inventory_hostname")))
    yield from checks.directories(node, {**MUNGE, facts.get("repair_spool") or "/var/spool/slurmd": "root"})
    yield from checks.options(node, facts.get("slurmd_outdated") or [], facts.get("slurmd_options") or "")
    if node.get("slurmd_args"):
        yield from checks.configuration(node, cluster, facts.get("repair_conf_dir") or "/etc/slurm")
    yield from checks.steps(node, controller.get("repair_jobs"))
    yield from checks.limits(node, cluster, _limits(facts))


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"cluster_findings": cluster_findings}
