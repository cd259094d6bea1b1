# Apache License 2.0 (see LICENSE)
"""Gives slurmctld a new configuration, proves that it works with it, and brings the old one back when it doesn't."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Set, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import slurmctld_service
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
_HOLD = 2.0
#: Nodes register again after a restart; one that doesn't within this time was gone already, and is only told.
_REGISTER = 10.0
_GONE = frozenset(("failed", "inactive", "deactivating"))
_WORSE = frozenset(("DOWN", "FAIL", "FAILING", "INVAL", "INVALID_REG", "ERROR"))


class ProofError(Exception):
    """slurmctld does not work with the configuration in place."""


class Seen(NamedTuple):
    """The cluster at one moment."""

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


class Expected(NamedTuple):
    """What must hold after an application."""

    added: Set[str]
    removed: Set[str]


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

    def see(self) -> Seen:
        """Ask slurmctld for all that decisions need.

        Raises:
            ProofError: It doesn't answer; the message holds the unit's state and last words.
        """
        result = commands.run(["scontrol", "ping"], timeout=15, conf=self.conf)
        controllers = parsers.parse_ping(result.stdout)
        if not any(one["up"] for one in controllers):
            said = "" if controllers else " Slurm says: {0}.".format(result.message.rstrip("."))
            raise ProofError("slurmctld does not answer.{0} {1}".format(said, self.state_and_words()))
        try:
            nodes = commands.show_nodes(conf=self.conf)
            config = commands.show_config(conf=self.conf)
        except commands.SlurmCommandError as problem:
            raise ProofError("{0} {1}".format(problem, self.state_and_words())) from problem
        return Seen(controllers, nodes, config, slurmctld_service.describe_daemon(self.service))

    def is_gone(self) -> bool:
        """Say whether systemd knows slurmctld as ended."""
        unit = slurmctld_service.unit_properties(self.service)
        return unit.get("ActiveState") in _GONE or unit.get("SubState") == "auto-restart"

    def state_and_words(self, since: Optional[float] = None) -> str:
        """Return the unit's state and its last journal lines for a message."""
        unit = slurmctld_service.unit_properties(self.service)
        words = slurmctld_service.journal_lines(self.service, since=since)
        state = "{0}.service is {1}/{2}.".format(
            self.service, unit.get("ActiveState", "unknown"), unit.get("SubState", "")
        )
        return state + ("\nIts last journal lines:\n" + words if words else "")

    def apply(self, application: ApplyMethod, before: Seen, expected: Expected) -> None:
        """Let slurmctld take the files in place, and prove that it works with them.

        Raises:
            ProofError: It doesn't.
        """
        started = time.time()
        if application.action == "reconfigure":
            self._reconfigure(started)
        else:
            self._systemctl("restart", started)
        self._prove(before, expected, started)
        if application.push:
            # Slurm up to 24.05 passes a new configuration to configless slurmds by this only.
            self._reconfigure(started)
        self._hold(before, expected, started)

    def bring_back(self, before: Seen) -> None:
        """Make slurmctld work with the files that were put back, disturbing it as little as possible.

        Raises:
            ProofError: It doesn't answer; it was restarted with the old files.
        """
        nothing = Expected(set(), set())
        started = time.time()
        with contextlib.suppress(ProofError):
            now = self.see()
            same = now.daemon["main_pid"] == before.daemon["main_pid"] and set(now.nodes) == set(before.nodes)
            if same and not now.edited:
                return
            if versions.reconfigures_nodes(versions.version_tuple(now.version)):
                self._reconfigure(started)
                self._lift_drains(before)
                self._prove(before, nothing, started)
                return
        self._systemctl("restart", started)
        self._prove(before, nothing, started)
        self._lift_drains(before)
        self._hold(before, nothing, started)

    def _lift_drains(self, before: Seen) -> None:
        """Resume nodes that Slurm itself drained because the configuration now undone asked too much of them."""
        with contextlib.suppress(commands.SlurmCommandError):
            for name, node in commands.show_nodes(conf=self.conf).items():
                then = before.nodes.get(name, {}).get("state", [])
                by_slurm = re.match(r"Low .*\(reported:", str(node["reason"]))
                if by_slurm and then and node_states.severity(then) == 0:
                    commands.scontrol(["update", "NodeName=" + name, "State=RESUME"], conf=self.conf)

    def _reconfigure(self, started: float) -> None:
        result = commands.run(["scontrol", "reconfigure"], timeout=self.timeout, conf=self.conf)
        if result.rc != 0:
            raise ProofError(
                "scontrol reconfigure: {0}.{1}".format(result.message.rstrip("."), self._complaints(started))
            )

    def _systemctl(self, verb: str, started: float) -> None:
        # Without this, systemd refuses to start a unit that failed too often just now.
        commands.run(["systemctl", "reset-failed", self.service + ".service"], timeout=15)
        result = commands.run(["systemctl", verb, self.service + ".service"], timeout=self.timeout + 30)
        if result.rc != 0:
            raise ProofError(
                "systemctl {0} {1}: {2}.{3}".format(
                    verb, self.service, result.message.rstrip("."), self._complaints(started)
                )
            )

    def _complaints(self, started: float) -> str:
        """Return what slurmctld logged since: its errors first, as they say why."""
        words = slurmctld_service.journal_lines(self.service, 60, since=started).splitlines()
        fatal = [line for line in words if re.search(r"\bfatal:", line)]
        errors = [line for line in words if re.search(r"\berror:", line)]
        told = (errors[-3:] + fatal) if fatal else words[-12:]
        return "\nslurmctld's last journal lines:\n" + "\n".join(told) if told else ""

    def _prove(self, before: Seen, expected: Expected, started: float) -> None:
        """Wait until slurmctld answers and the nodes are as they should be."""
        deadline = time.monotonic() + self.timeout
        patience = time.monotonic() + min(_REGISTER, self.timeout)
        problem = "slurmctld did not answer within {0:g} s.".format(self.timeout)
        while time.monotonic() < deadline:
            self._check_alive(before, started)
            if self._answers(before):
                problem, silent = self._compare(before, expected)
                if not problem and (not silent or time.monotonic() > patience):
                    if silent:
                        self.warnings.append(
                            "these nodes have not registered again yet: {0}. Look at their slurmd.".format(
                                hostlist.fold(silent, self.conf)
                            )
                        )
                    return
                if problem and time.monotonic() > patience:
                    break
            time.sleep(_POLL)
        raise ProofError(problem + self._complaints(started))

    def _hold(self, before: Seen, expected: Expected, started: float) -> None:
        """Look again after a while: a daemon that starts may still die."""
        pid = slurmctld_service.describe_daemon(self.service)["main_pid"]
        time.sleep(_HOLD)
        self._check_alive(before, started)
        if not self._answers(before):
            raise ProofError("slurmctld answered, and then no more." + self._complaints(started))
        problem, _silent = self._compare(before, expected)
        if problem:
            raise ProofError(problem + self._complaints(started))
        now = slurmctld_service.describe_daemon(self.service)["main_pid"]
        if now != pid:
            raise ProofError(
                "slurmctld was replaced by itself: process {0}, then {1}.{2}".format(
                    pid, now, self._complaints(started)
                )
            )

    def _check_alive(self, before: Seen, started: float) -> None:
        """Fail at once when systemd says that slurmctld has ended, in place of waiting for the time-out."""
        if before.daemon["load"] == "loaded" and self.is_gone():
            raise ProofError("slurmctld ended after it got the configuration." + self._complaints(started))

    def _answers(self, before: Seen) -> bool:
        up = {one["host"] for one in commands.ping(conf=self.conf) if one["up"]}
        return before.up <= up

    def _compare(self, before: Seen, expected: Expected) -> Tuple[str, List[str]]:
        """Compare nodes with those before: (what is wrong or empty, those that are not registered yet)."""
        try:
            nodes = commands.show_nodes(conf=self.conf)
        except commands.SlurmCommandError as problem:
            return str(problem), []
        missing = ((set(before.nodes) - expected.removed) | expected.added) - set(nodes)
        if missing:
            return "slurmctld does not know these nodes: {0}.".format(hostlist.fold(missing, self.conf)), []
        left = expected.removed & set(nodes)
        if left:
            return "slurmctld still knows these nodes: {0}.".format(hostlist.fold(left, self.conf)), []
        worse, silent = [], []
        for name in set(before.nodes) - expected.removed:
            state, reason = nodes[name]["state"], str(nodes[name]["reason"])
            now, then = set(state), set(before.nodes[name]["state"])
            # What had not registered before, or was broken, has nothing to lose.
            if node_states.severity(now) <= node_states.severity(then) or node_states.severity(then) > 1:
                continue
            # A node that stopped answering did so by itself; a configuration makes nodes DOWN or INVAL otherwise.
            if now & _WORSE and "NOT_RESPONDING" not in now and not reason.lower().startswith("not responding"):
                worse.append("{0} is {1} ({2})".format(name, "+".join(state), reason))
            else:
                silent.append(name)
        return ("nodes got worse: {0}.".format("; ".join(sorted(worse))) if worse else ""), silent
