# Apache License 2.0 (see LICENSE)
"""Gives slurmctld a new configuration, and verifies that it works with it."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any, Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import slurmctld_service
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import reconfigures_nodes
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import (
    commands,
    hostlist,
    node_states,
    parsers,
    versions,
)

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import ApplyMethod

_POLL = 0.1
#: A daemon may die a second after it was started: it counts as up when it still answers after this time.
_SECOND_CHECK = 2.0
#: Nodes register again after a restart; one that doesn't within this time is only named in a warning.
_REGISTRATION = 10.0
_GONE = frozenset(("failed", "inactive", "deactivating"))
_WORSE = frozenset(("DOWN", "FAIL", "FAILING", "INVAL", "INVALID_REG", "ERROR"))


class SlurmctldError(FailureError):
    """slurmctld does not answer, or does not work with the configuration in place."""

    def __init__(self, reason: str, code: Code = Code.SLURMCTLD_NOT_STARTED) -> None:
        super().__init__(code, reason)


class ClusterState(NamedTuple):
    """The cluster at one moment, as slurmctld and systemd tell it."""

    controllers: List[Dict[str, Any]]
    nodes: Dict[str, Dict[str, Any]]
    config: Dict[str, str]
    daemon: Dict[str, Any]

    @property
    def up(self) -> Set[str]:
        """The controllers that answer."""
        return {one["host"] for one in self.controllers if one["up"]}

    @property
    def version(self) -> str:
        """Version of the slurmctld that runs."""
        return self.config.get("SLURM_VERSION", "")

    @property
    def configless(self) -> bool:
        """Whether slurmds get their configuration from slurmctld."""
        return "enable_configless" in self.config.get("SlurmctldParameters", "").lower()

    @property
    def edited(self) -> bool:
        """Whether slurm.conf on disk is another than slurmctld last read; Slurm compares checksums itself."""
        return self.config.get("HASH_VAL", "").startswith("Different")


class NodeChange(NamedTuple):
    """What slurmctld must know after a change.

    Attributes:
        added: Nodes that it must know.
        removed: Nodes that it must not know any more.
        late: Nodes that can't have the Gres of their new lines before their slurmd has read it, too.
    """

    added: Set[str]
    removed: Set[str]
    late: FrozenSet[str] = frozenset()


class Controller:
    """The slurmctld of this host.

    Args:
        conf: Its slurm.conf.
        service: Its unit.
        timeout: Seconds within which it has to answer again.
    """

    def __init__(self, conf: str, service: str, timeout: float) -> None:
        self.conf = conf
        self.service = service
        self.timeout = timeout
        self.warnings: List[str] = []

    def read_state(self) -> ClusterState:
        """Ask slurmctld for all that decisions need.

        Raises:
            SlurmctldError: It doesn't answer; the message holds the unit's state and its last journal lines.
        """
        result = commands.run(["scontrol", "ping"], timeout=15, conf=self.conf)
        controllers = parsers.parse_ping(result.stdout)
        if not any(one["up"] for one in controllers):
            said = "" if controllers else f" Slurm says: {result.message.rstrip('.')}."
            message = f"slurmctld does not answer.{said} {self.unit_and_journal()}"
            raise SlurmctldError(message, Code.CONTROLLER_NOT_ANSWERING)
        try:
            nodes = commands.show_nodes(conf=self.conf)
            config = commands.show_config(conf=self.conf)
        except commands.SlurmCommandError as problem:
            message = f"{problem} {self.unit_and_journal()}"
            raise SlurmctldError(message, Code.CONTROLLER_NOT_ANSWERING) from problem
        return ClusterState(controllers, nodes, config, slurmctld_service.describe_daemon(self.service))

    def is_gone(self) -> bool:
        """Say whether systemd knows slurmctld as ended."""
        unit = slurmctld_service.unit_properties(self.service)
        return unit.get("ActiveState") in _GONE or unit.get("SubState") == "auto-restart"

    def unit_and_journal(self, since: Optional[float] = None) -> str:
        """Return the unit's state and its last journal lines for a message."""
        unit = slurmctld_service.unit_properties(self.service)
        lines = slurmctld_service.journal_lines(self.service, since=since)
        state = f"{self.service}.service is {unit.get('ActiveState', 'unknown')}/{unit.get('SubState', '')}."
        return state + ("\nIts last journal lines:\n" + lines if lines else "")

    def apply(self, method: ApplyMethod, before: ClusterState, change: NodeChange) -> None:
        """Let slurmctld take the files in place, and verify that it works with them.

        Raises:
            SlurmctldError: It doesn't.
        """
        started = time.time()
        if method.action == "reconfigure":
            self._reconfigure(started)
        else:
            self._systemctl("restart", started)
        self._wait_until_it_works(before, change, started)
        if method.push:
            # Slurm up to 24.05 passes a new configuration to configless slurmds by this only.
            self._reconfigure(started)
        self._check_again(before, change, started)

    def recover(self, before: ClusterState) -> None:
        """Make slurmctld work with the files that were put back, disturbing it as little as possible.

        Raises:
            SlurmctldError: It doesn't answer; it was restarted with the old files.
        """
        nothing = NodeChange(set(), set())
        started = time.time()
        # A backup may have ended with the files that are put back, and is started after this.
        before = before._replace(controllers=before.controllers[:1])
        with contextlib.suppress(SlurmctldError):
            now = self.read_state()
            same = now.daemon["main_pid"] == before.daemon["main_pid"] and set(now.nodes) == set(before.nodes)
            if same and not now.edited:
                return
            if reconfigures_nodes(versions.version_tuple(now.version)):
                self._reconfigure(started)
                self._resume_drained_by_slurm(before)
                self._wait_until_it_works(before, nothing, started)
                return
        self._systemctl("restart", started)
        self._wait_until_it_works(before, nothing, started)
        self._resume_drained_by_slurm(before)
        self._check_again(before, nothing, started)

    def _resume_drained_by_slurm(self, before: ClusterState) -> None:
        """Resume nodes that Slurm drained itself, because what is rolled back asked too much of them."""
        with contextlib.suppress(commands.SlurmCommandError):
            for name, node in commands.show_nodes(conf=self.conf).items():
                then = before.nodes.get(name, {}).get("state", [])
                reason = str(node["reason"])
                by_slurm = re.match(r"Low .*\(reported:", reason) or node_states.lacked_gres(reason)
                if by_slurm and then and node_states.severity(then) == 0:
                    commands.scontrol(["update", "NodeName=" + name, "State=RESUME"], conf=self.conf)

    def _reconfigure(self, started: float) -> None:
        result = commands.run(["scontrol", "reconfigure"], timeout=self.timeout, conf=self.conf)
        if result.rc != 0:
            raise SlurmctldError(f"scontrol reconfigure: {result.message.rstrip('.')}.{self._journal_errors(started)}")

    def _systemctl(self, verb: str, started: float) -> None:
        # Without this, systemd refuses to start a unit that failed too often just now.
        commands.run(["systemctl", "reset-failed", self.service + ".service"], timeout=15)
        result = commands.run(["systemctl", verb, self.service + ".service"], timeout=self.timeout + 30)
        if result.rc != 0:
            message = result.message.rstrip(".")
            raise SlurmctldError(f"systemctl {verb} {self.service}: {message}.{self._journal_errors(started)}")

    def _journal_errors(self, started: float) -> str:
        """Return what slurmctld logged since: its errors first, as they say why."""
        lines = slurmctld_service.journal_lines(self.service, 60, since=started).splitlines()
        fatal = [line for line in lines if re.search(r"\bfatal:", line)]
        errors = [line for line in lines if re.search(r"\berror:", line)]
        shown = (errors[-3:] + fatal) if fatal else lines[-12:]
        return "\nslurmctld's last journal lines:\n" + "\n".join(shown) if shown else ""

    def _wait_until_it_works(self, before: ClusterState, change: NodeChange, started: float) -> None:
        """Wait until slurmctld answers and the nodes are as they should be."""
        deadline = time.monotonic() + self.timeout
        # Before the deadline, however short the time-out: a node that is late is no failure.
        registered_by = time.monotonic() + min(_REGISTRATION, self.timeout / 2)
        problem = f"slurmctld did not answer within {self.timeout:g} s."
        while time.monotonic() < deadline:
            self._check_alive(before, started)
            if self._answers(before):
                problem, silent = self._compare(before, change)
                if not problem and (not silent or time.monotonic() > registered_by):
                    if silent:
                        folded = hostlist.fold(silent, self.conf)
                        self.warnings.append(
                            f"these nodes have not registered again yet: {folded}. See why: journalctl -u slurmd."
                        )
                    return
                if problem and time.monotonic() > registered_by:
                    break
            time.sleep(_POLL)
        raise SlurmctldError(problem + self._journal_errors(started))

    def _check_again(self, before: ClusterState, change: NodeChange, started: float) -> None:
        """Check again after a while: a daemon that starts may still die."""
        pid = slurmctld_service.describe_daemon(self.service)["main_pid"]
        time.sleep(_SECOND_CHECK)
        self._check_alive(before, started)
        if not self._answers(before):
            raise SlurmctldError("slurmctld answered, and then stopped answering." + self._journal_errors(started))
        problem, _silent = self._compare(before, change)
        if problem:
            raise SlurmctldError(problem + self._journal_errors(started))
        now = slurmctld_service.describe_daemon(self.service)["main_pid"]
        if now != pid:
            raise SlurmctldError(
                f"slurmctld ended and was started again: process {pid}, then {now}.{self._journal_errors(started)}"
            )

    def _check_alive(self, before: ClusterState, started: float) -> None:
        """Fail at once when systemd says that slurmctld has ended, in place of waiting for the time-out."""
        if before.daemon["load"] == "loaded" and self.is_gone():
            raise SlurmctldError("slurmctld ended after it got the configuration." + self._journal_errors(started))

    def _answers(self, before: ClusterState) -> bool:
        up = {one["host"] for one in commands.ping(conf=self.conf) if one["up"]}
        return before.up <= up

    def _compare(self, before: ClusterState, change: NodeChange) -> Tuple[str, List[str]]:
        """Compare nodes with those before: (what is wrong or empty, those that are not registered yet)."""
        try:
            nodes = commands.show_nodes(conf=self.conf)
        except commands.SlurmCommandError as problem:
            return str(problem), []
        missing = ((set(before.nodes) - change.removed) | change.added) - set(nodes)
        if missing:
            return f"slurmctld does not know these nodes: {hostlist.fold(missing, self.conf)}.", []
        left = change.removed & set(nodes)
        if left:
            return f"slurmctld still knows these nodes: {hostlist.fold(left, self.conf)}.", []
        worse, silent = [], []
        for name in set(before.nodes) - change.removed:
            state, reason = nodes[name]["state"], str(nodes[name]["reason"])
            now, then = set(state), set(before.nodes[name]["state"])
            # What had not registered before, or was broken, has nothing to lose.
            if node_states.severity(now) <= node_states.severity(then) or node_states.severity(then) > 1:
                continue
            if name in change.late and node_states.lacked_gres(reason):
                continue
            # A configuration makes nodes DOWN or INVAL; a node that stops answering has another reason to.
            if now & _WORSE and "NOT_RESPONDING" not in now and not reason.lower().startswith("not responding"):
                worse.append(f"{name} is {'+'.join(state)} ({reason})")
            else:
                silent.append(name)
        return (f"nodes got worse: {'; '.join(sorted(worse))}." if worse else ""), silent
