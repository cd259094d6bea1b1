# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What the facts of a cluster prove, so that its controller need not be asked again. In doubt they prove nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.managed_nodes_conf import merge_params
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.planner import RefusedError, requested_nodes
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.topology import uses_file
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.node_states import is_available

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Seconds for which they count. Others change a cluster, too.
_FRESH = 60
# Of the role slurmctld-reconfigure those that say what is registered, and where; the others say how.
OPTIONS = frozenset(
    f"slurmctld_reconfigure_{name}" for name in ("conf", "partitions", "state", "backups", "renew_addresses")
)


def in_doubt(names: Iterable[str], cluster: Mapping[str, Any], now: float) -> list[str]:
    """Return the nodes of which the facts do not prove that they take or run jobs.

    Args:
        names: Their names in Slurm.
        cluster: What slurm_cluster_info found.
        now: The time of the control machine, in seconds since 1970.
    """
    nodes = cluster.get("nodes") or {}
    fresh = 0 <= now - float(cluster.get("control_time") or 0) < _FRESH
    return [name for name in names if not fresh or not is_available((nodes.get(name) or {}).get("state") or ())]


def registered(definitions: Sequence[Mapping[str, Any]], cluster: Mapping[str, Any], now: float) -> bool:
    """Tell whether registering nodes would neither change nor refuse anything, nor warn of anything.

    Args:
        definitions: The nodes, as slurm_nodes takes them.
        cluster: What slurm_cluster_info found.
        now: The time of the control machine, in seconds since 1970.
    """
    config = cluster.get("config") or {}
    if (
        not cluster.get("answering")
        or cluster.get("interrupted") is not False
        # Edited since slurmctld read it, or not known.
        or config.get("HASH_VAL") != "Match"
        or len(cluster.get("controllers") or ()) != 1
        or uses_file(str(config.get("TopologyPlugin") or ""))
        or in_doubt((one["name"] for one in definitions), cluster, now)
    ):
        return False
    try:
        requested = requested_nodes([dict(one) for one in definitions])
    except RefusedError:
        return False
    written, nodes = cluster.get("registered") or {}, cluster["nodes"]
    return all(
        node.name in written
        and nodes[node.name].get("managed") is True
        and not nodes[node.name].get("dynamic")
        and not node.switch
        and merge_params(written[node.name]["params"], node.params) == written[node.name]["params"]
        and node.gres_lines in (None, written[node.name]["gres_lines"])
        for node in requested
    )


def to_register(
    nodes: Iterable[Mapping[str, Any]], controller: Mapping[str, Any], acted: Iterable[str], now: float
) -> list[dict[str, Any]]:
    """Return the definitions of nodes for slurm_nodes; none when the facts prove that all are registered as they are.

    Args:
        nodes: The nodes that nothing failed on, as `results.continuing` returns them.
        controller: The variables of the controller.
        acted: The hosts that were set up in this run, whose addresses slurmctld has to resolve again.
        now: The time of the control machine, in seconds since 1970.
    """
    static = [node for node in nodes if not node["dynamic"]]
    definitions = [node["definition"] for node in static]
    proven = not list(acted) and not any(controller.get(name) for name in OPTIONS)
    proven = proven and registered(definitions, controller.get("preflight_cluster") or {}, now)
    return [] if proven else definitions
