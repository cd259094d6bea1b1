# Apache License 2.0 (see LICENSE)
"""Registers nodes with the controller, or removes them: one run of slurm_nodes, from the lock to the last check."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.cluster_facts import local_addresses
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_files import FileSet
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_transaction import (
    apply_changes,
    recover_interrupted,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.lock import (
    LOCK_FILE,
    LOCK_TIMEOUT,
    SHARED_LOCK,
    lock,
    read_lock_note,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.managed_nodes_conf import GRES_FILE
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.planner import (
    HostLists,
    NodeRequest,
    Plan,
    Planner,
    RefusedError,
    requested_nodes,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import (
    ApplyMethod,
    choose_apply_method,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.slurmctld_control import (
    ClusterState,
    Controller,
    NodeChange,
    SlurmctldError,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.topology import TOPOLOGY_FILE, uses_file
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.write_errors import remedy_for, what_forbids
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.network import is_address, resolve
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands, hostlist, versions
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import SlurmConfig, read_text

# What slurmd -G complains about besides the configuration says nothing about the configuration.
_CONFIG_COMPLAINT = re.compile(r"Parse error|Parsing error|Duplicated|Unable to process|gres\.conf", re.IGNORECASE)
# From here on a configless slurmd takes new Gres at a reconfigure. Earlier ones read gres.conf only when they start.
_TAKES_GRES_AT_ONCE = (24, 11)
# Refusals that one node of a request can cause.
_OF_A_NODE = frozenset(
    (
        Code.NODE_ADDRESS_SHARED,
        Code.NODE_WITHOUT_PARTITION,
        Code.NODE_WITHOUT_SWITCH,
        Code.NODE_DEFINITION_INVALID,
        Code.NODE_NOT_MANAGED,
        Code.NODE_IS_CONTROLLER,
        Code.CONFIGURATION_REFUSED,
    )
)


class Options(NamedTuple):
    """The module's options."""

    conf: str
    nodes: List[Dict[str, Any]]
    state: str
    partitions: List[str]
    apply: str
    service: str
    timeout: int
    allow_controller: bool = False
    skip_refused: bool = False
    renew_addresses: Sequence[str] = ()
    backups: int = 0
    digest: Optional[str] = None
    lock_timeout: int = LOCK_TIMEOUT


def run(options: Options, *, check_mode: bool) -> Dict[str, Any]:
    """Make the set of nodes as requested.

    Returns:
        The module's result.

    Raises:
        RefusedError: What was asked for would not work; nothing was changed.
        BusyError: Another run works on this configuration; nothing was changed.
        ApplyError: The new configuration didn't work.
    """
    refused: Dict[str, Failure] = {}
    nodes = requested_nodes(options.nodes, refused if options.skip_refused else None)
    directory = os.path.dirname(options.conf)
    if not os.path.isfile(options.conf):
        raise RefusedError(
            Code.CONFIGURATION_UNREADABLE,
            f"{options.conf} is missing.",
            "Run this on the controller, or name its slurm.conf by conf.",
        )
    if not os.access(directory, os.W_OK):
        raise _not_writable(directory)
    purpose = f"{options.state} {','.join(node.name for node in nodes)}"
    registration = _Registration(options, nodes, refused, check_mode=check_mode)
    with lock(LOCK_FILE, purpose, options.lock_timeout):
        if check_mode:
            return dict(registration.run(), lock_note="")
        shared = os.path.join(os.path.dirname(os.path.realpath(options.conf)), SHARED_LOCK)
        with lock(shared, purpose, options.lock_timeout) as held:
            if not held:
                registration.controller.warnings.append(
                    f"the file system of {shared} has no locks: let no other controller change it at the same time."
                )
            return dict(registration.run(), lock_note=read_lock_note(shared))


def _not_writable(directory: str) -> RefusedError:
    number = what_forbids(directory)
    if os.geteuid() != 0 and number != errno.EROFS:
        return RefusedError(Code.PRIVILEGES_MISSING, f"{directory} can't be written.", "Run as root (become: true).")
    reason = f"Nothing was changed, as {directory} can't be written: {os.strerror(number)}."
    return RefusedError(Code.CONFIGURATION_NOT_WRITTEN, reason, remedy_for(number, directory))


class _Registration:
    """One registration or removal, while the lock is held."""

    def __init__(
        self, options: Options, nodes: List[NodeRequest], refused: Dict[str, Failure], *, check_mode: bool
    ) -> None:
        self.options = options
        self.nodes = nodes
        self.refused = refused
        self.check_mode = check_mode
        self.files = FileSet(options.conf)
        self.controller = Controller(options.conf, options.service, options.timeout)
        self.recovered = ""
        self.renewed: List[str] = []
        self.before: Dict[str, str] = {}

    def run(self) -> Dict[str, Any]:
        self._recover_interrupted()
        state = self._read_state()
        config = SlurmConfig.load(self.options.conf)
        self.before = dict(config.files)
        try:
            prepared = self._prepare(config, state)
        except FailureError as problem:
            if not self.options.skip_refused or problem.failure.code not in _OF_A_NODE:
                raise
            prepared = self._prepare_others(config, state)
        plan, change, method = prepared
        self._refuse_other_plan(plan)
        if method is None:
            self._renew_addresses(state)
            return self._result(plan, state, set(state.nodes), "none")
        if self.check_mode:
            after = (set(state.nodes) | change.added) - change.removed
            return self._result(plan, state, after, method.action)
        backup = apply_changes(self.controller, self.files, plan.changes, method, (state, change))
        known = commands.show_nodes(conf=self.options.conf)
        return self._result(plan, state, set(known), method.action, backup)

    def _prepare(self, config: SlurmConfig, state: ClusterState) -> Tuple[Plan, NodeChange, Optional[ApplyMethod]]:
        """Return the plan and how it is applied, None when there is nothing to do; refuse what would not work."""
        plan = self._plan(config, state)
        change = self._node_change(plan, state)
        pending = (change.added - set(state.nodes)) | (change.removed & set(state.nodes))
        if not plan.changes and not pending:
            return plan, change, None
        self._refuse_standby(state)
        method = self._apply_method(state)
        self._refuse_controller(plan, state)
        self._refuse_busy(plan, state)
        self._refuse_edited(state, method)
        self._refuse_unresolvable(change, state)
        self._check_candidate(plan, config)
        return plan, change, method

    def _prepare_others(
        self, config: SlurmConfig, state: ClusterState
    ) -> Tuple[Plan, NodeChange, Optional[ApplyMethod]]:
        """Leave out the nodes that are refused, each with its reason.

        Of two that can't both be nodes, one that is called as its machine is right rather than the other.
        """
        accepted: List[NodeRequest] = []
        for node in sorted(self.nodes, key=lambda one: "NodeHostname" in one.params):
            self.nodes = [*accepted, node]
            try:
                self._prepare(config, state)
            except FailureError as problem:
                if problem.failure.code not in _OF_A_NODE:
                    raise
                self.refused[node.name] = problem.failure
            else:
                accepted.append(node)
        self.nodes = accepted
        return self._prepare(config, state)

    def _recover_interrupted(self) -> None:
        if not self.check_mode:
            self.recovered = recover_interrupted(self.controller, self.files)
        elif self.files.interrupted():
            self.recovered = "an earlier run was killed before it ended; a run without check mode deals with that first"

    def _read_state(self) -> ClusterState:
        try:
            return self.controller.read_state()
        except SlurmctldError as problem:
            note = f" Note: {self.recovered}." if self.recovered else ""
            raise RefusedError(
                Code.CONTROLLER_NOT_ANSWERING,
                f"Nothing was changed, as slurmctld has to answer before its nodes are changed.{note} {problem}",
                f"See why: journalctl -u {self.options.service}. Start it, then run again.",
            ) from problem

    def _plan(self, config: SlurmConfig, state: ClusterState) -> Plan:
        conf = self.options.conf
        hosts = HostLists(lambda text: hostlist.expand(text, conf), lambda names: hostlist.fold(names, conf))
        gres_text: Optional[str] = None
        with contextlib.suppress(FileNotFoundError):
            gres_text = read_text(os.path.join(os.path.dirname(conf), GRES_FILE))
        planner = Planner(config, gres_text, state.nodes, hosts, self._topology(config))
        if self.options.state == "absent":
            return planner.remove([node.name for node in self.nodes])
        return planner.add(self.nodes, self.options.partitions)

    def _topology(self, config: SlurmConfig) -> Optional[SlurmConfig]:
        path = os.path.join(os.path.dirname(self.options.conf), TOPOLOGY_FILE)
        used = uses_file(config.value("TopologyPlugin")) and os.path.isfile(path)
        return SlurmConfig.load(path) if used else None

    def _node_change(self, plan: Plan, state: ClusterState) -> NodeChange:
        """Return which nodes slurmctld has to know afterwards, and which no more."""
        names = {node.name for node in self.nodes} - set(plan.kept)
        if self.options.state == "absent":
            dynamic = {name for name in names if state.nodes.get(name, {}).get("dynamic")}
            return NodeChange(set(), names - dynamic)
        # slurmctld tells nobody of nodes in state FUTURE.
        hidden = {name for name in names if plan.managed[name].get("State", "").upper() == "FUTURE"}
        # Without configless mode slurmd does not get them from slurmctld at all.
        at_once = state.configless and versions.version_tuple(state.version) >= _TAKES_GRES_AT_ONCE
        return NodeChange(names - hidden, set(), frozenset() if at_once else frozenset(plan.updated))

    def _apply_method(self, state: ClusterState) -> ApplyMethod:
        version = versions.version_tuple(state.version)
        return choose_apply_method(version, state.daemon, self.options.apply, configless=state.configless)

    def _refuse_other_plan(self, plan: Plan) -> None:
        """Refuse a change that is not the one that was prepared on the backup controllers."""
        if self.options.digest and self.options.digest != _digest(plan):
            raise RefusedError(
                Code.CONTROLLER_BUSY,
                f"Nothing was changed, as another run has changed {self.options.conf} since this change was planned.",
                "Run again.",
            )

    def _refuse_standby(self, state: ClusterState) -> None:
        """Refuse to change files that the acting controller, on another host, does not read."""
        if len(state.controllers) > 1 and not state.daemon["main_pid"]:
            raise RefusedError(
                Code.CONTROLLER_NOT_ANSWERING,
                "Nothing was changed, as slurmctld does not run on this host; "
                f"{', '.join(sorted(state.up))} acts for it.",
                f"Start it, then run again: systemctl start {self.options.service}",
            )

    def _refuse_controller(self, plan: Plan, state: ClusterState) -> None:
        """Refuse to make this host a compute node unless that is allowed: its jobs would compete with slurmctld."""
        if self.options.allow_controller:
            return
        own = local_addresses()
        names = {own["hostname"], own["fqdn"], own["hostname"].partition(".")[0]}
        hosts: Dict[str, str] = {}
        addresses: Dict[str, str] = {}
        for name in set(plan.added) - set(state.nodes):
            params = {key.lower(): value for key, value in plan.managed[name].items()}
            hosts[name] = params.get("nodehostname", name)
            addresses[name] = params.get("nodeaddr", hosts[name])
        for name, found in _resolve_all(addresses).items():
            if hosts[name] in names or found & set(own["ips"]):
                raise RefusedError(
                    Code.NODE_IS_CONTROLLER,
                    f"Nothing was changed, as node {name} would be this host, {own['hostname']}, where slurmctld runs.",
                    "Leave it out, or put the controller into the group slurm_nodes, too, when it shall run jobs.",
                )

    def _refuse_busy(self, plan: Plan, state: ClusterState) -> None:
        """Refuse to remove nodes with jobs; whatever Slurm can't tell counts as a job."""
        names = [name for name in plan.removed if name in state.nodes]
        if not names:
            return
        states = "RUNNING,COMPLETING,SUSPENDED,CONFIGURING,STOPPED,STAGE_OUT,SIGNALING,RESIZING"
        folded = hostlist.fold(names, self.options.conf)
        argv = ["squeue", "--all", "--noheader", "--states=" + states, "--format=%i (%u, %T, on %N)"]
        result = commands.run([*argv, "--nodelist=" + folded], conf=self.options.conf)
        if result.rc != 0:
            raise RefusedError(Code.NODE_RUNS_JOBS, f"squeue can't say whether jobs run on {folded}: {result.message}")
        busy = [name for name in names if state.nodes[name]["cpus_allocated"]]
        if result.stdout.strip() or busy:
            jobs = "; ".join(result.stdout.strip().split("\n")) or "just ending"
            raise RefusedError(
                Code.NODE_RUNS_JOBS,
                f"these nodes still run jobs: {hostlist.fold(busy or names, self.options.conf)}. Jobs: {jobs}.",
                "Drain them and wait for the jobs first.",
            )

    def _refuse_edited(self, state: ClusterState, method: ApplyMethod) -> None:
        """Refuse to activate somebody's edits where Slurm has no way back from them.

        The backup would hold these edits too, so that restoring could leave the cluster without a controller.
        """
        if not state.edited:
            return
        found = (
            f"{self.options.conf}, or a file that it includes, was edited after slurmctld read it "
            f"({state.config['HASH_VAL']})"
        )
        if method.guarded:
            self.controller.warnings.append(found + ": these edits become active, too.")
            return
        raise RefusedError(
            Code.CONFIGURATION_EDITED,
            f"{found}. This change takes a {method.action}, which would make those edits active, and if slurmctld dies "
            "of them there is no configuration to go back to.",
            "Undo them, or make them active yourself first (scontrol reconfigure; "
            f"systemctl restart {self.options.service} when they concern nodes), then run again.",
        )

    def _refuse_unresolvable(self, change: NodeChange, state: ClusterState) -> None:
        """Refuse to let slurmctld read a node whose address it can't resolve: it drops that node, with its jobs.

        Slurm also tries each for ten seconds, in which it answers nobody. A node that is removed may be unresolved.
        """
        addresses = {
            name: node["addr"]
            for name, node in state.nodes.items()
            # Those tell their address themselves.
            if node["addr"] and not node["dynamic"] and "CLOUD" not in node["state"] and name not in change.removed
        }
        unresolved = [name for name, found in _resolve_all(addresses).items() if not found]
        if unresolved:
            raise RefusedError(
                Code.NODE_ADDRESS_UNKNOWN,
                "Nothing was changed, as this host can't resolve the addresses of these nodes: "
                f"{hostlist.fold(unresolved, self.options.conf)}. slurmctld would drop them, with the jobs on them, "
                "when it reads its configuration.",
                "Correct the name service or /etc/hosts, or remove these nodes, too, then run again.",
            )

    def _renew_addresses(self, state: ClusterState) -> None:
        """Let slurmctld resolve again the addresses of nodes whose machine may have another one than it remembers.

        It does so for all when it reads its configuration; a NodeAddr that is updated to the same name is not resolved.
        """
        silent = {one.name for one in self.nodes if "NOT_RESPONDING" in state.nodes.get(one.name, {}).get("state", ())}
        self.renewed = [
            name
            for name in sorted(silent | set(self.options.renew_addresses))
            # A dynamic node tells its address itself, and what is a number is not resolved.
            if self.options.state == "present"
            and state.nodes.get(name, {}).get("addr")
            and not is_address(state.nodes[name]["addr"])
            and not state.nodes[name]["dynamic"]
        ]
        if self.renewed and state.edited:
            names = hostlist.fold(self.renewed, self.options.conf)
            self.controller.warnings.append(
                f"slurmctld keeps the addresses of {names}: slurm.conf was edited, and resolving them again would make"
                " the edits active. Do it yourself: scontrol reconfigure"
            )
            self.renewed = []
        if self.renewed and not self.check_mode:
            method = ApplyMethod("reconfigure", push=False, guarded=False)
            self.controller.apply(method, state, NodeChange(set(), set()))

    def _check_candidate(self, plan: Plan, config: SlurmConfig) -> None:
        """Let Slurm's own parsers read the changed files. Versions up to 26.05 have no better test."""
        with self.files.candidate(plan.changes, list(config.files)) as candidate:
            # An unreadable file ends scontrol before it asks any controller.
            complaints = [commands.run(["scontrol", "show", "hostnames", "a"], timeout=20, conf=candidate)]
            if (plan.added or plan.updated) and complaints[0].rc == 0:
                node = (plan.added + plan.updated)[0]
                slurmd = ["slurmd", "-G", "-f", candidate, "-N", node]
                complaints.append(commands.run(slurmd, timeout=20, conf=candidate))
        parsed, *more = complaints
        refused = [parsed] if parsed.rc != 0 else [one for one in more if _refuses(one)]
        if refused:
            text = refused[0].message.replace(os.path.dirname(candidate), os.path.dirname(self.options.conf))
            reason = f"Nothing was changed, as Slurm refuses the new configuration: {text}"
            raise RefusedError(Code.CONFIGURATION_REFUSED, reason)

    def _result(
        self, plan: Plan, state: ClusterState, after: Set[str], action: str, backup: Optional[str] = None
    ) -> Dict[str, Any]:
        warnings = [
            f"node {name} stays as it is: {foreign.message}"
            for name, foreign in plan.kept.items()
            if foreign.differences
        ]
        parts = [
            f"{what} {hostlist.fold(names, self.options.conf)}"
            for what, names in (("added", plan.added), ("updated", plan.updated), ("removed", plan.removed))
            if names
        ]
        if len(state.controllers) > 1 + self.options.backups and action != "none":
            warnings.append(
                f"there are {len(state.controllers)} controllers: each needs these files. "
                "They get them when all of them are in the group slurm_controllers."
            )
        return {
            "changed": action != "none" or bool(self.renewed),
            "action": action,
            "backup": backup,
            "added": plan.added,
            "updated": plan.updated,
            "removed": plan.removed,
            "refused": {name: failure.as_dict() for name, failure in sorted(self.refused.items())},
            "renewed": self.renewed,
            "kept": {name: foreign.message for name, foreign in plan.kept.items()},
            "nodes_before": sorted(state.nodes),
            "nodes_after": sorted(after),
            "recovered": self.recovered,
            "message": "; ".join(parts)
            or ("slurmctld has to read the files again" if action != "none" else "no change"),
            "warnings": warnings + self.controller.warnings,
            "digest": _digest(plan),
            "files": self._files(plan) if len(state.controllers) > 1 else [],
            "diff": [_diff(path, before, after) for path, (before, after) in sorted(plan.changes.items())],
        }

    def _files(self, plan: Plan) -> List[Dict[str, Optional[str]]]:
        """Return all files of the configuration as they were and as they are to be."""
        texts = {path: (text, text) for path, text in self.before.items()}
        return [
            {"path": path, "before": before, "after": after}
            for path, (before, after) in sorted({**texts, **plan.changes}.items())
        ]


def _digest(plan: Plan) -> str:
    return hashlib.sha256(json.dumps(plan.changes, sort_keys=True).encode()).hexdigest()


def _resolve_all(addresses: Dict[str, str]) -> Dict[str, Set[str]]:
    """Resolve the address of each node, many at a time: one that can't be resolved may take seconds."""
    with ThreadPoolExecutor(max_workers=32) as pool:
        found = pool.map(lambda name: (name, set(resolve(addresses[name]))), addresses)
        return dict(found)


def _refuses(result: commands.CommandResult) -> bool:
    return result.rc not in (0, commands.NOT_FOUND) and bool(_CONFIG_COMPLAINT.search(result.stderr + result.stdout))


def _diff(path: str, before: Optional[str], after: Optional[str]) -> Dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before or "", "after": after or ""}
