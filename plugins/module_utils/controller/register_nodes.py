# Apache License 2.0 (see LICENSE)
"""One run of slurm_nodes, from the lock to the proof."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, NamedTuple, Optional, Set

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_files import FileSet, lock
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_transaction import change, mend
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.managed_nodes_conf import GRES_FILE
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.planner import (
    Plan,
    Planner,
    RefusedError,
    Tools,
    Wish,
    read_wishes,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import (
    ApplyMethod,
    choose_apply_method,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.slurmctld_control import (
    Controller,
    Expected,
    ProofError,
    Seen,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands, hostlist, versions
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import SlurmConfig, read_text

LOCK_FILE = "/run/slurmscale-nodes.lock"
# What slurmd -G complains about besides the configuration says nothing about the configuration.
_CONFIG_COMPLAINT = re.compile(r"Parse error|Parsing error|Duplicated|Unable to process|gres\.conf", re.IGNORECASE)


class Options(NamedTuple):
    """The module's options."""

    conf: str
    nodes: List[Dict[str, Any]]
    state: str
    partitions: List[str]
    apply: str
    service: str
    timeout: int
    lock_timeout: int


def run(options: Options, *, check_mode: bool) -> Dict[str, Any]:
    """Make the set of nodes as wished.

    Returns:
        The module's result.

    Raises:
        RefusedError: What was asked for would not work; nothing was changed.
        ProofError: slurmctld didn't answer to begin with; nothing was changed.
        ApplyError: The new configuration didn't work.
    """
    wishes = read_wishes(options.nodes)
    directory = os.path.dirname(options.conf)
    if not os.path.isfile(options.conf):
        raise RefusedError(
            "{0} is missing: run this on the controller, or name its slurm.conf by conf.".format(options.conf)
        )
    if not os.access(directory, os.W_OK):
        raise RefusedError("{0} can't be written: run as root (become: true).".format(directory))
    purpose = "{0} {1}".format(options.state, ",".join(wish.name for wish in wishes))
    with lock(LOCK_FILE, options.lock_timeout, purpose):
        return _Run(options, wishes, check_mode=check_mode).run()


class _Run:
    """What happens while the lock is held."""

    def __init__(self, options: Options, wishes: List[Wish], *, check_mode: bool) -> None:
        self.options = options
        self.wishes = wishes
        self.check_mode = check_mode
        self.files = FileSet(options.conf)
        self.controller = Controller(options.conf, options.service, options.timeout)
        self.mended = ""

    def run(self) -> Dict[str, Any]:
        self._mend()
        seen = self._see()
        config = SlurmConfig.load(self.options.conf)
        plan = self._plan(config, seen)
        expected = self._expected(plan, seen)
        pending = (expected.added - set(seen.nodes)) | (expected.removed & set(seen.nodes))
        if not plan.changes and not pending:
            return self._result(plan, seen, set(seen.nodes), "none")
        application = self._application(seen)
        self._refuse_busy(plan, seen)
        self._refuse_edited(seen, application)
        self._refuse_nameless(expected, seen)
        self._check_candidate(plan, config)
        if self.check_mode:
            after = (set(seen.nodes) | expected.added) - expected.removed
            return self._result(plan, seen, after, application.action)
        backup = change(self.controller, self.files, plan.changes, application, (seen, expected))
        after = commands.show_nodes(conf=self.options.conf)
        return self._result(plan, seen, set(after), application.action, backup)

    def _mend(self) -> None:
        if not self.check_mode:
            self.mended = mend(self.controller, self.files)
        elif self.files.marked():
            self.mended = "an earlier run was killed before its proof; a run without check mode mends that first"

    def _see(self) -> Seen:
        try:
            return self.controller.see()
        except ProofError as problem:
            raise RefusedError(
                "Nothing was changed, as slurmctld has to answer before its nodes are changed. {0}Start or mend it, "
                "then run again. Found: {1}".format("Note: {0}. ".format(self.mended) if self.mended else "", problem)
            ) from problem

    def _plan(self, config: SlurmConfig, seen: Seen) -> Plan:
        conf = self.options.conf
        tools = Tools(lambda text: hostlist.expand(text, conf), lambda names: hostlist.fold(names, conf))
        gres_text: Optional[str] = None
        with contextlib.suppress(FileNotFoundError):
            gres_text = read_text(os.path.join(os.path.dirname(conf), GRES_FILE))
        planner = Planner(config, gres_text, seen.nodes, tools)
        if self.options.state == "absent":
            return planner.remove([wish.name for wish in self.wishes])
        return planner.add(self.wishes, self.options.partitions)

    def _expected(self, plan: Plan, seen: Seen) -> Expected:
        """Return which nodes slurmctld has to know afterwards, and which no more."""
        names = {wish.name for wish in self.wishes} - set(plan.kept)
        if self.options.state == "absent":
            dynamic = {name for name in names if seen.nodes.get(name, {}).get("dynamic")}
            return Expected(set(), names - dynamic)
        # slurmctld tells nobody of nodes in state FUTURE.
        hidden = {name for name in names if plan.nodes[name].get("State", "").upper() == "FUTURE"}
        return Expected(names - hidden, set())

    def _application(self, seen: Seen) -> ApplyMethod:
        version = versions.version_tuple(seen.version)
        return choose_apply_method(version, seen.daemon, self.options.apply, configless=seen.configless)

    def _refuse_busy(self, plan: Plan, seen: Seen) -> None:
        """Refuse to remove nodes with jobs; whatever Slurm can't tell counts as a job."""
        names = [name for name in plan.removed if name in seen.nodes]
        if not names:
            return
        states = "RUNNING,COMPLETING,SUSPENDED,CONFIGURING,STOPPED,STAGE_OUT,SIGNALING,RESIZING"
        folded = hostlist.fold(names, self.options.conf)
        argv = ["squeue", "--all", "--noheader", "--states=" + states, "--format=%i (%u, %T, on %N)"]
        result = commands.run([*argv, "--nodelist=" + folded], conf=self.options.conf)
        if result.rc != 0:
            raise RefusedError("whether jobs run on {0} can't be told: {1}".format(folded, result.message))
        busy = [name for name in names if seen.nodes[name]["cpus_allocated"]]
        if result.stdout.strip() or busy:
            raise RefusedError(
                "these nodes still run jobs: {0}. Drain them and wait for the jobs first. Jobs: {1}".format(
                    hostlist.fold(busy or names, self.options.conf),
                    "; ".join(result.stdout.split("\n")).strip("; ") or "just ending",
                )
            )

    def _refuse_edited(self, seen: Seen, application: ApplyMethod) -> None:
        """Refuse to activate somebody's edits where Slurm has no way back from them.

        The backup would hold these edits too, so that restoring could leave the cluster without a controller.
        """
        if not seen.edited:
            return
        found = "{0}, or a file that it includes, was edited after slurmctld read it ({1})".format(
            self.options.conf, seen.config["HASH_VAL"]
        )
        if application.guarded:
            self.controller.warnings.append(found + ": these edits become active, too.")
            return
        raise RefusedError(
            "{0}. This change takes a {1}, which would make those edits active, and if slurmctld dies of them there "
            "is no configuration to go back to. Undo them, or make them active yourself first (scontrol reconfigure; "
            "systemctl restart {2} when they concern nodes), then run again.".format(
                found, application.action, self.options.service
            )
        )

    def _refuse_nameless(self, expected: Expected, seen: Seen) -> None:
        """Refuse to let slurmctld read a node whose address it can't resolve: it drops that node, with its jobs.

        Slurm also tries each for ten seconds, in which it answers nobody. A node that is removed may be nameless.
        """
        addresses = {
            name: node["addr"]
            for name, node in seen.nodes.items()
            # Those tell their address themselves.
            if node["addr"] and not node["dynamic"] and "CLOUD" not in node["state"] and name not in expected.removed
        }
        with ThreadPoolExecutor(max_workers=32) as pool:
            found = list(pool.map(lambda name: (name, _resolves(addresses[name])), addresses))
        nameless = [name for name, resolved in found if not resolved]
        if nameless:
            raise RefusedError(
                "Nothing was changed, as this host can't resolve the addresses of these nodes: {0}. slurmctld would "
                "drop them, with the jobs on them, when it reads its configuration. Mend name service or /etc/hosts, "
                "or take these nodes out, too, then run again.".format(hostlist.fold(nameless, self.options.conf))
            )

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
            raise RefusedError("Nothing was changed, as Slurm refuses the new configuration: {0}".format(text))

    def _result(
        self, plan: Plan, seen: Seen, after: Set[str], action: str, backup: Optional[str] = None
    ) -> Dict[str, Any]:
        warnings = [
            "node {0} stays as it is: {1}".format(name, why) for name, why in plan.kept.items() if "with " in why
        ]
        parts = [
            "{0} {1}".format(what, hostlist.fold(names, self.options.conf))
            for what, names in (("added", plan.added), ("updated", plan.updated), ("removed", plan.removed))
            if names
        ]
        if len(seen.controllers) > 1 and action != "none":
            warnings.append("there are {0} controllers: each needs these files.".format(len(seen.controllers)))
        return {
            "changed": action != "none",
            "action": action,
            "backup": backup,
            "added": plan.added,
            "updated": plan.updated,
            "removed": plan.removed,
            "kept": plan.kept,
            "nodes_before": sorted(seen.nodes),
            "nodes_after": sorted(after),
            "mended": self.mended,
            "message": "; ".join(parts)
            or ("slurmctld has to read the files again" if action != "none" else "no change"),
            "warnings": warnings + self.controller.warnings,
            "diff": [_diff(path, before, after) for path, (before, after) in sorted(plan.changes.items())],
        }


def _resolves(address: str) -> bool:
    try:
        return bool(socket.getaddrinfo(address, None))
    except (OSError, UnicodeError):
        return False


def _refuses(result: commands.CommandResult) -> bool:
    return result.rc not in (0, commands.NOT_FOUND) and bool(_CONFIG_COMPLAINT.search(result.stderr + result.stdout))


def _diff(path: str, before: Optional[str], after: Optional[str]) -> Dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before or "", "after": after or ""}
