# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Attaches nodes to the switches or blocks of topology.conf, and takes them out again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, Iterable, List

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import append_to_value, remove_from_value
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.parsers import split_list

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.planner import NodeRequest
    from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import Edit, SlurmConfig, Statement

TOPOLOGY_FILE = "topology.conf"
_KINDS = ("SwitchName", "BlockName")


class TopologyError(FailureError):
    """A node would stand in no switch, or in one that does not exist; nothing has been changed."""


def uses_file(plugin: str) -> bool:
    """Say whether a TopologyPlugin reads topology.conf."""
    return plugin.lower().rpartition("/")[2] in ("tree", "block")


class Topology:
    """topology.conf.

    Args:
        config: The file with what it includes.
        expand: Expands lists of hosts.
    """

    def __init__(self, config: SlurmConfig, expand: Callable[[str], List[str]]) -> None:
        self.files: Dict[str, str] = config.files
        # Those that have nodes; the others join switches.
        self.leaves: Dict[str, Statement] = {
            one.pairs[one.kind].value: one for kind in _KINDS for one in config.of_kind(kind) if one.get("Nodes")
        }
        self.members = {name for one in self.leaves.values() for name in expand(one.get("Nodes"))}

    def attach(self, nodes: Iterable[NodeRequest], added: Iterable[str]) -> List[Edit]:
        """Return the edits that put nodes which stand in no switch into the stated ones.

        Args:
            nodes: The nodes.
            added: Those that are new.

        Raises:
            TopologyError: No switch is stated for a new node, or one that does not exist.
        """
        wanted: Dict[str, List[str]] = {}
        for node in nodes:
            if node.name in self.members:
                continue
            if node.switch in self.leaves:
                wanted.setdefault(node.switch, []).append(node.name)
            elif node.switch or node.name in added:
                stated = f"there is no {node.switch} with nodes" if node.switch else "it names no switch for it"
                raise TopologyError(
                    Code.NODE_WITHOUT_SWITCH,
                    f"node {node.name} does not stand in {TOPOLOGY_FILE}, and {stated}.",
                    f"Set slurmd_switch of the node to one of these: {', '.join(sorted(self.leaves)) or 'none'}.",
                )
        return [append_to_value(self.leaves[leaf], "Nodes", ",".join(names)) for leaf, names in wanted.items()]

    def detach(self, names: Iterable[str]) -> List[Edit]:
        """Return the edits that take out nodes which stand there by their own name behind another one."""
        gone = set(names)
        edits: List[Edit] = []
        for leaf in self.leaves.values():
            items = split_list(leaf.get("Nodes"))
            # In one piece where they stand in a row, as they were appended.
            row = [index for index, item in enumerate(items) if item in gone and index > 0]
            while row:
                last = first = row.pop()
                while row and row[-1] == first - 1:
                    first = row.pop()
                edits += remove_from_value(leaf, "Nodes", ",".join(items[first : last + 1]))
        return edits
