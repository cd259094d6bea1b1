# Apache License 2.0 (see LICENSE)
"""Works out what slurm_nodes has to write: which nodes come, change and go, and which files that takes.

Reads nothing and writes nothing, so that every decision can be tested without Slurm.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import managed_nodes_conf
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.topology import Topology
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import (
    Edit,
    NodeLine,
    SlurmConfig,
    append_line,
    append_to_value,
    apply_edits,
    insert_after_name,
    nodes_of,
    partitions_of,
    remove_after_name,
    remove_from_value,
    remove_line,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.parsers import split_list

_NAME = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$")
_KEY = re.compile(r"^[A-Za-z][A-Za-z0-9]*$")
_BAD_VALUE = re.compile(r"[\n\r\"#\\]")
# What lines of NodeName=DEFAULT say of all nodes rather than of their hardware, so that it holds for ours as well.
# RealMemory is stated for every node that was measured.
_FOR_ALL_NODES = frozenset(
    (
        *("bcastaddr", "corespeccount", "cpuspeclist", "features", "memspeclimit", "port", "realmemory", "reason"),
        *("state", "weight"),
    )
)
_RESERVED = frozenset(("default", "all", managed_nodes_conf.NODE_SET, managed_nodes_conf.PLACEHOLDER))


class RefusedError(FailureError):
    """What was asked for would not work; nothing has been changed."""


class NodeRequest(NamedTuple):
    """A node as it should be.

    Attributes:
        name: Its name.
        params: Parameters of its line.
        gres_lines: Its lines of gres.conf; None leaves them as they are.
        switch: The switch or block of topology.conf to which it is attached; empty when it is not stated.
    """

    name: str
    params: Dict[str, str]
    gres_lines: Optional[List[str]]
    switch: str = ""


class HostLists(NamedTuple):
    """Expands and folds lists of hosts by Slurm's own rules."""

    expand: Callable[[str], List[str]]
    fold: Callable[[List[str]], str]


class ForeignNode(NamedTuple):
    """A node that is left as it is, because others have defined it.

    Attributes:
        reason: Where it is defined.
        differences: Parameters that were asked for and that it has otherwise.
    """

    reason: str
    differences: Tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """Reason and differences as one text."""
        if not self.differences:
            return self.reason
        return f"{self.reason}, with {', '.join(self.differences)}: change it there when that is wrong"


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        changes: path -> (text before or None, text after or None); None means that there is no such file.
        added: Names new in our file.
        updated: Names of ours with new parameters or Gres.
        removed: Names removed from our file.
        kept: Nodes that others have defined, by name.
        managed: All managed nodes afterwards.
    """

    changes: Dict[str, Tuple[Optional[str], Optional[str]]]
    added: List[str]
    updated: List[str]
    removed: List[str]
    kept: Dict[str, ForeignNode]
    managed: managed_nodes_conf.Nodes


def requested_nodes(nodes: List[Dict[str, Any]], refused: Optional[Dict[str, Failure]] = None) -> List[NodeRequest]:
    """Read the module's option.

    Args:
        nodes: The option.
        refused: Takes the nodes that are refused, by name, so that the others are returned; None for all or none.

    Raises:
        RefusedError: A name or parameter would not survive in slurm.conf, or a node stands there twice.
    """
    times = Counter(node["name"] for node in nodes)
    found: List[NodeRequest] = []
    for node in nodes:
        try:
            found.append(_requested_node(node, times[node["name"]]))
        except RefusedError as problem:
            if refused is None:
                raise
            refused[node["name"]] = problem.failure
    return found


def _requested_node(node: Dict[str, Any], times: int) -> NodeRequest:
    name = node["name"]
    if not _NAME.match(name) or name.lower() in _RESERVED:
        reason = f"'{name}' can't be a node's name."
        raise RefusedError(Code.NODE_REQUEST_INVALID, reason, "Give one plain host name per node.")
    if times > 1:
        reason = f"node {name} is given twice."
        raise RefusedError(Code.NODE_REQUEST_INVALID, reason, "Give it once with all its parameters.")
    params = {key: "" if value is None else str(value) for key, value in (node.get("params") or {}).items()}
    for key, value in params.items():
        if not _KEY.match(key) or key.lower() == "nodename" or _BAD_VALUE.search(value):
            reason = f"node {name}: {key}={value!r} can't be a parameter of slurm.conf."
            raise RefusedError(Code.NODE_REQUEST_INVALID, reason)
    lines = node.get("gres_lines")
    for line in lines or []:
        if "\n" in line or "=" not in line:
            raise RefusedError(Code.NODE_REQUEST_INVALID, f"node {name}: {line!r} is no line for gres.conf.")
    lines = None if lines is None else managed_nodes_conf.bind_gres(name, lines)
    for named in managed_nodes_conf.read_gres(
        "\n".join([managed_nodes_conf.GRES_BEGIN, *(lines or []), managed_nodes_conf.GRES_END])
    ):
        if named != name:
            reason = f"node {name}: its gres_lines name the node {named}."
            raise RefusedError(Code.NODE_REQUEST_INVALID, reason)
    return NodeRequest(name, params, lines, node.get("switch") or "")


class Planner:
    """Makes a plan from the configuration on disk and what slurmctld knows.

    Args:
        config: slurm.conf with its includes.
        gres_text: Text of gres.conf, None when there is none.
        known: Nodes that slurmctld knows, from `commands.show_nodes`.
        hosts: For lists of hosts.
        topology: topology.conf; None when there is none or slurmctld does not use it.
    """

    def __init__(
        self,
        config: SlurmConfig,
        gres_text: Optional[str],
        known: Dict[str, Dict[str, Any]],
        hosts: HostLists,
        topology: Optional[SlurmConfig] = None,
    ) -> None:
        self.config = config
        self.gres_text = gres_text
        self.known = known
        self.hosts = hosts
        self.path = config.include_path(managed_nodes_conf.NODE_FILE)
        self.included = self.path in config.files
        self.lines = nodes_of(config, hosts.expand)
        self.old = managed_nodes_conf.read_nodes(config, self.path, hosts.expand)
        self.old_gres = managed_nodes_conf.read_gres(gres_text or "")
        self.topology = Topology(topology, hosts.expand) if topology else None

    def add(self, nodes: List[NodeRequest], partitions: List[str]) -> Plan:
        """Plan state=present.

        Raises:
            RefusedError: No partition would take a new node, or a definition stands in the way.
        """
        managed, gres = dict(self.old), dict(self.old_gres)
        kept: Dict[str, ForeignNode] = {}
        for node in nodes:
            foreign = self._foreign(node)
            if foreign:
                kept[node.name] = foreign
                continue
            old = self.old.get(node.name)
            merged = managed_nodes_conf.merge_params(old or {}, node.params)
            managed[node.name] = merged if merged == old else self._against_defaults(node.name, merged)
            if node.gres_lines is not None:
                gres[node.name] = node.gres_lines
        added = [name for name in managed if name not in self.old]
        updated = [
            name
            for name, old in self.old.items()
            if managed[name] != old or gres.get(name, []) != self.old_gres.get(name, [])
        ]
        shared = managed_nodes_conf.shared_machine(
            {**{name: line.params for name, line in self.lines.items()}, **managed}, added + updated
        )
        if shared:
            raise RefusedError(
                Code.NODE_ADDRESS_SHARED,
                f"{shared}.",
                "Give each its own (a clone: hostnamectl set-hostname NAME), or its own Port.",
            )
        ours = [node for node in nodes if node.name not in kept]
        edits = self._partition_edits(managed, [node.name for node in ours], added + updated, partitions)
        if self.topology:
            edits += self.topology.attach(ours, added)
        return self._plan(managed, gres, edits, (added, updated, []), kept)

    def remove(self, names: List[str]) -> Plan:
        """Plan state=absent.

        Raises:
            RefusedError: A node is defined by somebody else's line.
        """
        for name in names:
            line = self.lines.get(name)
            if line and name not in self.old:
                raise RefusedError(
                    Code.NODE_NOT_MANAGED,
                    f"node {name} is defined in {line.statement.where}, which slurmscale does not manage.",
                    "Remove it there, then let slurmctld read it.",
                )
        managed = {name: params for name, params in self.old.items() if name not in names}
        gres = {name: lines for name, lines in self.old_gres.items() if name not in names}
        removed = [name for name in self.old if name in names]
        topology = self.topology.detach(removed) if self.topology else []
        edited = None if managed or not self.included else self._without_our_nodes()
        if edited is None:
            return self._plan(managed, gres, topology, ([], [], removed), {})
        changes: Dict[str, Tuple[Optional[str], Optional[str]]] = {}
        for path, text in edited.items():
            self._change(changes, path, self.config.files[path], text)
        self._change(changes, self.path, self.config.files.get(self.path), None)
        self._change_gres(changes, {})
        self._change_topology(changes, topology)
        return Plan(changes, [], [], sorted(removed, key=managed_nodes_conf.natural), {}, managed)

    def _without_our_nodes(self) -> Optional[Dict[str, str]]:
        """Return the files without all that was added for our nodes; None where slurm.conf needs it.

        It does when setup_controller wrote it, when there is no other node, and when other lines name our NodeSet.
        """
        conf, include = self.config.path, "Include " + managed_nodes_conf.NODE_FILE
        lines = [one for one in self.config.statements if one.path != self.path]
        nodes = [one for one in lines if one.kind == "nodename" and one.name.upper() != "DEFAULT"]
        if managed_nodes_conf.MANAGED_CONF in self.config.files[conf] or not nodes:
            return None
        edits = [edit for one in partitions_of(self.config).values() for edit in self._partition_edits_back(one)]
        types = self._appended_types()
        theirs = [one for one in lines if "grestypes" in one.pairs][-1:]
        edits += [edit for one in theirs if types for edit in remove_from_value(one, "GresTypes", types)]
        edited = dict(self.config.files, **apply_edits(self.config.files, edits))
        edited[conf] = remove_line(edited[conf], include)
        del edited[self.path]
        left = SlurmConfig.load(conf, lambda path: edited.get(path, self.config.files[path]))
        named = [
            pair
            for one in left.statements
            for pair in one.pairs.values()
            if managed_nodes_conf.NODE_SET in split_list(pair.value)
        ]
        return None if self.path in left.files or named else edited

    def _foreign(self, node: NodeRequest) -> Optional[ForeignNode]:
        """Return what others have defined a node as; None when it is ours or new."""
        if node.name in self.old:
            return None
        line = self.lines.get(node.name)
        if line:
            return self._foreign_line(node, line)
        if self.known.get(node.name, {}).get("dynamic"):
            return ForeignNode("it registered itself as a dynamic node")
        return None

    def _foreign_line(self, node: NodeRequest, line: NodeLine) -> ForeignNode:
        where = line.statement.where
        if any(key.lower() == "state" and value.upper() == "FUTURE" for key, value in line.params.items()):
            raise RefusedError(
                Code.NODE_NOT_MANAGED,
                f"node {node.name} is defined in {where} with State=FUTURE, so slurmctld does not know it.",
                "Remove it from that line, then slurmscale defines it.",
            )
        differs = managed_nodes_conf.differing_params(
            line.params, {key: value for key, value in node.params.items() if value}
        )
        return ForeignNode(f"it is defined in {where}", tuple(differs))

    def _partition_edits(
        self, managed: managed_nodes_conf.Nodes, ours: List[str], fresh: List[str], partitions: List[str]
    ) -> List[Edit]:
        """Return the edits after which every named partition takes our nodes, once for all later ones."""
        found = partitions_of(self.config)
        listing = ", ".join(f"{name} (Nodes={found[name]['nodes']})" for name in sorted(found)) or "none"
        unknown = [name for name in partitions if name not in found]
        if unknown:
            raise RefusedError(
                Code.NODE_WITHOUT_PARTITION,
                f"there is no partition {', '.join(unknown)}. The partitions are: {listing}.",
                "Name one of these or add it to slurm.conf.",
            )
        if not partitions:
            for name in fresh:
                if not any(self._takes(one["nodes"], name, managed) for one in found.values()):
                    raise RefusedError(
                        Code.NODE_WITHOUT_PARTITION,
                        f"no partition would take node {name}. The partitions are: {listing}.",
                        "Name those that shall take it in the option partitions, or give one of them Nodes=ALL.",
                    )
        lacking = [part for part in partitions if not all(self._takes(found[part]["nodes"], n, managed) for n in ours)]
        return [self._partition_edit(found[name]) for name in lacking]

    def _partition_edit(self, partition: Dict[str, Any]) -> Edit:
        statement = partition["statement"]
        if statement.get("Nodes"):
            return append_to_value(statement, "Nodes", managed_nodes_conf.NODE_SET)
        return insert_after_name(self.config, statement, self._inherited(partition["nodes"]))

    @staticmethod
    def _inherited(nodes: str) -> str:
        """Return the Nodes= of a partition that had none of its own: our NodeSet first, as a sign of that."""
        return "Nodes=" + ",".join([managed_nodes_conf.NODE_SET, *filter(None, [nodes])])

    def _partition_edits_back(self, partition: Dict[str, Any]) -> List[Edit]:
        """Return the edit that undoes _partition_edit, if any."""
        statement, ours = partition["statement"], managed_nodes_conf.NODE_SET
        nodes = statement.get("Nodes")
        if nodes == ours or nodes.startswith(ours + ","):
            return remove_after_name(self.config, statement, "Nodes=" + nodes)
        return remove_from_value(statement, "Nodes", ours) if nodes else []

    def _takes(self, expression: str, name: str, nodes: managed_nodes_conf.Nodes) -> bool:
        """Say whether a partition's Nodes= takes a node of ours."""
        features = split_list(
            next((value for key, value in nodes[name].items() if managed_nodes_conf.canonical(key) == "features"), "")
        )
        for item in split_list(expression):
            sets = [one for one in self.config.of_kind("NodeSet") if one.name == item and one.path != self.path]
            if item.upper() == "ALL" or item == managed_nodes_conf.NODE_SET:
                return True
            if any(one.get("Feature") and one.get("Feature") in features for one in sets):
                return True
            if any(self._takes(one.get("Nodes"), name, nodes) for one in sets if one.get("Nodes") != item):
                return True
            if not sets and name in self.hosts.expand(item):
                return True
        return False

    def _gres_types(
        self, managed: managed_nodes_conf.Nodes, gres: Dict[str, List[str]]
    ) -> Tuple[Set[str], str, List[Edit]]:
        """Return the GresTypes for our file, or what the administrator's line lacks and its edit where there is one."""
        needed: Set[str] = set()
        for name, params in managed.items():
            needed |= managed_nodes_conf.gres_types_of(params, gres.get(name, []))
        theirs = [line for line in self.config.settings("GresTypes") if line.path != self.path]
        if not theirs:
            return needed, "", []
        missing = sorted(needed - set(split_list(theirs[-1].get("GresTypes"))))
        appended = ",".join(missing)
        return set(), appended, [append_to_value(theirs[-1], "GresTypes", appended)] if missing else []

    def _plan(
        self,
        managed: managed_nodes_conf.Nodes,
        gres: Dict[str, List[str]],
        edits: List[Edit],
        names: Tuple[List[str], List[str], List[str]],
        kept: Dict[str, ForeignNode],
    ) -> Plan:
        changes: Dict[str, Tuple[Optional[str], Optional[str]]] = {}
        for statement in self.config.of_kind("NodeSet"):
            if statement.name == managed_nodes_conf.NODE_SET and statement.path != self.path:
                raise RefusedError(
                    Code.NODE_SET_TAKEN,
                    f"{statement.where} defines a NodeSet {managed_nodes_conf.NODE_SET}, which slurmscale needs for "
                    "its nodes.",
                    "Rename that one.",
                )
        if any(names) or edits:
            types, appended, gres_edits = self._gres_types(managed, gres)
            appended = ",".join(filter(None, [self._appended_types(), appended]))
            text = managed_nodes_conf.render(managed, types, self.hosts.fold, appended)
            self._change(changes, self.path, self.config.files.get(self.path), text)
            self._change_gres(changes, {name: lines for name, lines in gres.items() if name in managed})
            in_topology = [one for one in edits if self.topology and one.path in self.topology.files]
            self._change_topology(changes, in_topology)
            edited = apply_edits(self.config.files, [one for one in edits if one not in in_topology] + gres_edits)
            if not self.included:
                main = edited.get(self.config.path, self.config.files[self.config.path])
                edited[self.config.path] = append_line(main, "Include " + managed_nodes_conf.NODE_FILE)
            for path, changed in edited.items():
                self._change(changes, path, self.config.files[path], changed)
        added, updated, removed = (sorted(some, key=managed_nodes_conf.natural) for some in names)
        return Plan(changes, added, updated, removed, kept, managed)

    def _appended_types(self) -> str:
        return managed_nodes_conf.appended_types(self.config.files.get(self.path, ""))

    def _against_defaults(self, name: str, params: Dict[str, str]) -> Dict[str, str]:
        """Return parameters that override lines of NodeName=DEFAULT, for a node whose hardware is stated.

        Raises:
            RefusedError: Nothing can be stated against it.
        """
        stated = {managed_nodes_conf.canonical(key): value for key, value in params.items()}
        if "cpus" not in stated:
            return params
        # What Slurm takes where nothing is stated.
        usual = {
            "boards": ("Boards", "1"),
            "sockets": ("Sockets", stated.get("cpus", "1")),
            "corespersocket": ("CoresPerSocket", "1"),
            "threadspercore": ("ThreadsPerCore", "1"),
            "tmpdisk": ("TmpDisk", "0"),
        }
        against: Dict[str, str] = {}
        for key, (spelling, value) in self._defaults().items():
            if key in stated or key in _FOR_ALL_NODES:
                continue
            if key not in usual:
                raise RefusedError(
                    Code.NODE_DEFINITION_INVALID,
                    f"node {name} would get {spelling}={value} from a line NodeName=DEFAULT of slurm.conf.",
                    f"State {spelling} in slurmd_parameters of the node, or take it out of that line.",
                )
            against[usual[key][0]] = usual[key][1]
        return {**params, **against}

    def _defaults(self) -> Dict[str, Tuple[str, str]]:
        """Return what lines of NodeName=DEFAULT say where our file is included: key -> its spelling and value."""
        defaults: Dict[str, Tuple[str, str]] = {}
        for statement in self.config.of_kind("NodeName"):
            if statement.path == self.path:
                break
            if statement.name.upper() == "DEFAULT":
                params = statement.params.items()
                defaults.update({managed_nodes_conf.canonical(key): (key, value) for key, value in params})
        return defaults

    def _change_topology(self, changes: Dict[str, Any], edits: List[Edit]) -> None:
        if self.topology:
            for path, text in apply_edits(self.topology.files, edits).items():
                self._change(changes, path, self.topology.files[path], text)

    def _change_gres(self, changes: Dict[str, Any], gres: Dict[str, List[str]]) -> None:
        path = os.path.join(os.path.dirname(self.config.path), managed_nodes_conf.GRES_FILE)
        self._change(changes, path, self.gres_text, managed_nodes_conf.render_gres(self.gres_text or "", gres))

    @staticmethod
    def _change(changes: Dict[str, Any], path: str, before: Optional[str], after: Optional[str]) -> None:
        if before != after:
            changes[path] = (before, after)
