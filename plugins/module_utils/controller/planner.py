# Apache License 2.0 (see LICENSE)
"""Works out what slurm_nodes has to write: which nodes come, change and go, and which files that takes.

Reads nothing and writes nothing, so that every decision can be tested without Slurm.
"""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import managed_nodes_conf as own
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
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.parsers import split_list

_NAME = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$")
_KEY = re.compile(r"^[A-Za-z][A-Za-z0-9]*$")
_BAD_VALUE = re.compile(r"[\n\r\"#\\]")
_RESERVED = frozenset(("default", "all", own.NODE_SET, own.PLACEHOLDER))


class RefusedError(Exception):
    """What was asked for would not work; nothing has been changed."""


class Wish(NamedTuple):
    """A node as it should be. `gres_lines` None leaves its lines in gres.conf as they are."""

    name: str
    params: Dict[str, str]
    gres_lines: Optional[List[str]]


class Tools(NamedTuple):
    """Slurm's own rules for lists of hosts."""

    expand: Callable[[str], List[str]]
    fold: Callable[[List[str]], str]


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        changes: path -> (text before or None, text after or None); None means that there is no such file.
        added: Names new in our file.
        updated: Names of ours with new parameters or Gres.
        removed: Names taken out of our file.
        kept: name -> why it was left as it is, for nodes that others have defined.
        nodes: All managed nodes afterwards.
    """

    changes: Dict[str, Tuple[Optional[str], Optional[str]]]
    added: List[str]
    updated: List[str]
    removed: List[str]
    kept: Dict[str, str]
    nodes: own.Nodes


def read_wishes(nodes: List[Dict[str, Any]]) -> List[Wish]:
    """Turn the module's option into wishes.

    Raises:
        RefusedError: A name or parameter would not survive in slurm.conf, or a node stands there twice.
    """
    wishes: Dict[str, Wish] = {}
    for node in nodes:
        name = node["name"]
        if not _NAME.match(name) or name.lower() in _RESERVED:
            raise RefusedError("'{0}' can't be a node's name: give one plain host name per node.".format(name))
        if name in wishes:
            raise RefusedError("node {0} is given twice; give it once with all its parameters.".format(name))
        params = {key: "" if value is None else str(value) for key, value in (node.get("params") or {}).items()}
        for key, value in params.items():
            if not _KEY.match(key) or key.lower() == "nodename" or _BAD_VALUE.search(value):
                raise RefusedError("node {0}: {1}={2!r} can't be a parameter of slurm.conf.".format(name, key, value))
        lines = node.get("gres_lines")
        for line in lines or []:
            if "\n" in line or "=" not in line:
                raise RefusedError("node {0}: {1!r} is no line for gres.conf.".format(name, line))
        lines = None if lines is None else own.bind_gres(name, lines)
        for stranger in own.read_gres("\n".join([own.GRES_BEGIN, *(lines or []), own.GRES_END])):
            if stranger != name:
                raise RefusedError("node {0}: its gres_lines name the node {1}.".format(name, stranger))
        wishes[name] = Wish(name, params, lines)
    return list(wishes.values())


class Planner:
    """Makes a plan from the configuration on disk and what slurmctld knows.

    Args:
        config: slurm.conf with its includes.
        gres_text: Text of gres.conf, None when there is none.
        known: Nodes that slurmctld knows, from `slurm_commands.show_nodes`.
        tools: For lists of hosts.
    """

    def __init__(
        self, config: SlurmConfig, gres_text: Optional[str], known: Dict[str, Dict[str, Any]], tools: Tools
    ) -> None:
        self.config = config
        self.gres_text = gres_text
        self.known = known
        self.tools = tools
        self.path = config.include_path(own.NODE_FILE)
        self.included = self.path in config.files
        self.lines = nodes_of(config, tools.expand)
        self.old = own.read_nodes(config, self.path, tools.expand)
        self.old_gres = own.read_gres(gres_text or "")

    def add(self, wishes: List[Wish], partitions: List[str]) -> Plan:
        """Plan state=present.

        Raises:
            RefusedError: No partition would take a new node, or a definition stands in the way.
        """
        nodes, gres = dict(self.old), dict(self.old_gres)
        kept: Dict[str, str] = {}
        for wish in wishes:
            why = self._kept(wish)
            if why:
                kept[wish.name] = why
                continue
            nodes[wish.name] = own.merge_params(self.old.get(wish.name, {}), wish.params)
            if wish.gres_lines is not None:
                gres[wish.name] = wish.gres_lines
        added = [name for name in nodes if name not in self.old]
        updated = [
            name
            for name, old in self.old.items()
            if nodes[name] != old or gres.get(name, []) != self.old_gres.get(name, [])
        ]
        shared = own.shared_place(
            {**{name: line.params for name, line in self.lines.items()}, **nodes}, added + updated
        )
        if shared:
            raise RefusedError(shared + ": give each its own, or its own Port.")
        ours = [wish.name for wish in wishes if wish.name not in kept]
        edits = self._partition_edits(nodes, ours, added + updated, partitions)
        return self._plan(nodes, gres, edits, (added, updated, []), kept)

    def remove(self, names: List[str]) -> Plan:
        """Plan state=absent.

        Raises:
            RefusedError: A node is defined by somebody else's line.
        """
        for name in names:
            line = self.lines.get(name)
            if line and name not in self.old:
                raise RefusedError(
                    "node {0} is defined in {1}, which slurmscale does not manage: take it out there, then let "
                    "slurmctld read it.".format(name, line.statement.where)
                )
        nodes = {name: params for name, params in self.old.items() if name not in names}
        gres = {name: lines for name, lines in self.old_gres.items() if name not in names}
        removed = [name for name in self.old if name in names]
        return self._plan(nodes, gres, [], ([], [], removed), {})

    def _kept(self, wish: Wish) -> str:
        """Say why a node defined by others stays as it is; empty when it is ours or new."""
        if wish.name in self.old:
            return ""
        line = self.lines.get(wish.name)
        if line:
            return self._kept_line(wish, line)
        if self.known.get(wish.name, {}).get("dynamic"):
            return "it registered itself as a dynamic node"
        return ""

    def _kept_line(self, wish: Wish, line: NodeLine) -> str:
        where = line.statement.where
        if any(key.lower() == "state" and value.upper() == "FUTURE" for key, value in line.params.items()):
            raise RefusedError(
                "node {0} is defined in {1} with State=FUTURE, so slurmctld does not know it. Take it out of that "
                "line, then slurmscale defines it.".format(wish.name, where)
            )
        differs = own.differing_params(line.params, {key: value for key, value in wish.params.items() if value})
        if not differs:
            return "it is defined in {0}".format(where)
        return "it is defined in {0}, with {1}: change it there when that is wrong".format(where, ", ".join(differs))

    def _partition_edits(
        self, nodes: own.Nodes, ours: List[str], fresh: List[str], partitions: List[str]
    ) -> List[Edit]:
        """Return the edits after which every named partition takes our nodes, once for all later ones."""
        found = partitions_of(self.config)
        listing = ", ".join("{0} (Nodes={1})".format(name, found[name]["nodes"]) for name in sorted(found)) or "none"
        unknown = [name for name in partitions if name not in found]
        if unknown:
            raise RefusedError(
                "there is no partition {0}. The partitions are: {1}. Name one of these or add it to slurm.conf.".format(
                    ", ".join(unknown), listing
                )
            )
        if not partitions:
            for name in fresh:
                if not any(self._takes(one["nodes"], name, nodes) for one in found.values()):
                    raise RefusedError(
                        "no partition would take node {0}. The partitions are: {1}. Name those that shall take it in "
                        "the option partitions, or give one of them Nodes=ALL.".format(name, listing)
                    )
        lacking = [part for part in partitions if not all(self._takes(found[part]["nodes"], n, nodes) for n in ours)]
        return [self._partition_edit(found[name]) for name in lacking]

    def _partition_edit(self, partition: Dict[str, Any]) -> Edit:
        statement = partition["statement"]
        if statement.get("Nodes"):
            return append_to_value(statement, "Nodes", own.NODE_SET)
        inherited = partition["nodes"] + "," if partition["nodes"] else ""
        return insert_after_name(self.config, statement, "Nodes={0}{1}".format(inherited, own.NODE_SET))

    def _takes(self, expression: str, name: str, nodes: own.Nodes) -> bool:
        """Say whether a partition's Nodes= takes a node of ours."""
        features = split_list(
            next((value for key, value in nodes[name].items() if own.canonical(key) == "features"), "")
        )
        for item in split_list(expression):
            sets = [one for one in self.config.of_kind("NodeSet") if one.name == item and one.path != self.path]
            if item.upper() == "ALL" or item == own.NODE_SET:
                return True
            if any(one.get("Feature") and one.get("Feature") in features for one in sets):
                return True
            if any(self._takes(one.get("Nodes"), name, nodes) for one in sets if one.get("Nodes") != item):
                return True
            if not sets and name in self.tools.expand(item):
                return True
        return False

    def _gres_types(self, nodes: own.Nodes, gres: Dict[str, List[str]]) -> Tuple[Set[str], List[Edit]]:
        """Return the GresTypes for our file, or the edit of the administrator's line where there is one."""
        needed: Set[str] = set()
        for name, params in nodes.items():
            needed |= own.gres_types_of(params, gres.get(name, []))
        theirs = [line for line in self.config.settings("GresTypes") if line.path != self.path]
        if not theirs:
            return needed, []
        missing = sorted(needed - set(split_list(theirs[-1].get("GresTypes"))))
        return set(), [append_to_value(theirs[-1], "GresTypes", ",".join(missing))] if missing else []

    def _plan(
        self,
        nodes: own.Nodes,
        gres: Dict[str, List[str]],
        edits: List[Edit],
        names: Tuple[List[str], List[str], List[str]],
        kept: Dict[str, str],
    ) -> Plan:
        changes: Dict[str, Tuple[Optional[str], Optional[str]]] = {}
        for statement in self.config.of_kind("NodeSet"):
            if statement.name == own.NODE_SET and statement.path != self.path:
                raise RefusedError(
                    "{0} defines a NodeSet {1}, which slurmscale needs for its own nodes: rename that one.".format(
                        statement.where, own.NODE_SET
                    )
                )
        if any(names) or edits:
            types, gres_edits = self._gres_types(nodes, gres)
            text = own.render(nodes, types, self.tools.fold)
            self._change(changes, self.path, self.config.files.get(self.path), text)
            gres = {name: lines for name, lines in gres.items() if name in nodes}
            gres_path = os.path.join(os.path.dirname(self.config.path), own.GRES_FILE)
            self._change(changes, gres_path, self.gres_text, own.render_gres(self.gres_text or "", gres))
            edited = apply_edits(self.config.files, edits + gres_edits)
            if not self.included:
                main = edited.get(self.config.path, self.config.files[self.config.path])
                edited[self.config.path] = append_line(main, "Include " + own.NODE_FILE)
            for path, changed in edited.items():
                self._change(changes, path, self.config.files[path], changed)
        return Plan(changes, *(sorted(some, key=own.natural) for some in names), kept, nodes)

    @staticmethod
    def _change(changes: Dict[str, Any], path: str, before: Optional[str], after: Optional[str]) -> None:
        if before != after:
            changes[path] = (before, after)
