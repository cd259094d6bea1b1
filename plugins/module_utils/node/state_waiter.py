# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Brings nodes into a wanted state of service and waits until Slurm shows it."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm_commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import jobs as slurm_jobs
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import node_states as slurm_states
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.node_states import Action, Decision, Node

#: Seconds for which a bad state must last before it is believed: slurmd may be about to register anew.
GRACE = 10
# A node that is DOWN again after this many resumes has a fault that one more will not mend.
_MAX_UPDATES = 3
_UPDATES = (Action.DRAIN, Action.RESUME, Action.DOWN)
_HOLDS = frozenset(("DRAIN", "DRAINING", "DRAINED", "DOWN"))

#: Tells from a node's name, the node, and its jobs what to do.
Judge = Callable[[str, Optional[Node], List[str]], Decision]
#: Sends jobs away and tells which refused to go, and why.
Evict = Callable[[List[str]], Dict[str, str]]


class Settlement:
    """Looks at nodes, does what the judge says, and looks again, until all are settled or the time is over.

    Args:
        names: The nodes.
        judge: Tells what to do about a node.
        with_jobs: Look at the queue too.
        evict: Sends the jobs away for which nodes would otherwise be waited for.
        check_mode: Look once and change nothing.
        conf: A slurm.conf in place of Slurm's default.
    """

    def __init__(
        self,
        names: List[str],
        judge: Judge,
        *,
        with_jobs: bool = False,
        evict: Optional[Evict] = None,
        check_mode: bool = False,
        conf: Optional[str] = None,
    ) -> None:
        self.judge, self.with_jobs, self.check_mode, self.conf = judge, with_jobs, check_mode, conf
        self.evict = evict
        self._evicted: Dict[str, str] = {}
        self.outcomes: Dict[str, Dict[str, Any]] = {
            name: {"ok": None, "known": None, "state": None, "reason": "", "message": "", "changed": False, "jobs": []}
            for name in names
        }
        self.before: Dict[str, Optional[str]] = {}
        self._problem = ""
        self._doubted: Dict[str, float] = {}
        self._refusals: Dict[str, str] = {}
        self._updates: Dict[str, int] = {}
        self._held: Dict[str, frozenset] = {}

    def run(self, timeout: float, interval: float) -> None:
        """Settle the nodes; what became of each is in `outcomes`.

        Args:
            timeout: Seconds until what is not settled has failed. At least one look follows each change.
            interval: Seconds between looks.

        Raises:
            slurm_commands.SlurmCommandError: The controller gave no answer to the first look.
        """
        deadline = time.monotonic() + timeout
        changes = self._step()
        while not self.check_mode and self._open() and (changes or time.monotonic() < deadline):
            pause = 0.2 if changes else min(interval, max(0.0, deadline - time.monotonic()))
            time.sleep(pause)
            try:
                changes = self._step()
                self._problem = ""
            except slurm_commands.SlurmCommandError as problem:
                # The controller may be restarting; only time decides whether it comes back.
                changes, self._problem = False, str(problem)
        for name in self._open():
            self._give_up(name, timeout)

    def _open(self) -> List[str]:
        return [name for name, outcome in self.outcomes.items() if outcome["ok"] is None]

    def _give_up(self, name: str, timeout: float) -> None:
        outcome = self.outcomes[name]
        stayed = ["; job {0}: {1}".format(job, self._evicted[job]) for job in outcome["jobs"] if self._evicted.get(job)]
        said = self._problem or outcome["message"] + "".join(stayed)
        outcome.update(ok=False, message="after {0:g} s: {1}".format(timeout, said))

    def _step(self) -> bool:
        """Look once at all open nodes and do what is due; tell whether something was changed."""
        nodes = slurm_commands.show_nodes(conf=self.conf)
        known = [name for name in self._open() if name in nodes]
        jobs = slurm_jobs.jobs_on(known, self.conf) if self.with_jobs and known else {}
        due: Dict[Tuple[str, str], List[str]] = {}
        waited: List[str] = []
        for name in self._open():
            node = nodes.get(name)
            verdict = self.judge(name, node, jobs.get(name, []))
            self._note(name, node, verdict, jobs.get(name, []))
            waited += jobs.get(name, []) if verdict.action is Action.WAIT else []
            if verdict.action in _UPDATES and self._may_update(name, node, verdict):
                due.setdefault((verdict.action.name, verdict.reason), []).append(name)
        for (state, reason), names in due.items():
            self._update(names, state, reason)
        return self._send_away(waited) or bool(due)

    def _send_away(self, jobs: List[str]) -> bool:
        """Send the jobs away for which drained nodes wait, each once; tell whether there were any."""
        fresh = [job for job in dict.fromkeys(jobs) if job not in self._evicted]
        if not self.evict or self.check_mode or not fresh:
            return False
        refused = self.evict(fresh)
        self._evicted.update({job: refused.get(job, "") for job in fresh})
        return True

    def _note(self, name: str, node: Optional[Node], verdict: Decision, jobs: List[str]) -> None:
        outcome = self.outcomes[name]
        state, held = slurm_states.state_text(node), frozenset(node["state"] if node else ()) & _HOLDS
        self.before.setdefault(name, state)
        reason = slurm_states.held_reason(node) if node else ""
        message = verdict.message.replace(slurm_states.NAME, name)
        outcome.update(known=node is not None, state=state, reason=reason, message=message, jobs=jobs)
        # What scontrol returns does not tell: it fails as a whole when one of many nodes was not held any more.
        if name in self._held and self._held.pop(name) != held:
            outcome["changed"] = True
        if verdict.action is not Action.UNLIKELY:
            self._doubted.pop(name, None)
        if verdict.action is Action.DONE:
            outcome["ok"] = True
        elif self.check_mode:
            self._predict(outcome, verdict)
        elif verdict.action is Action.REFUSE or (verdict.action is Action.UNLIKELY and self._lasts(name)):
            outcome["ok"] = False

    @staticmethod
    def _predict(outcome: Dict[str, Any], verdict: Decision) -> None:
        """Say what a run would do. A node that an earlier task would have made is not there yet, nor is it wrong."""
        changes = verdict.action in _UPDATES
        bad = verdict.action in (Action.REFUSE, Action.UNLIKELY) and outcome["known"]
        outcome.update(ok=not bad, changed=changes)

    def _lasts(self, name: str) -> bool:
        now = time.monotonic()
        return now - self._doubted.setdefault(name, now) >= GRACE

    def _may_update(self, name: str, node: Optional[Node], verdict: Decision) -> bool:
        if self.check_mode or node is None:
            return False
        if self._updates.get(name, 0) >= _MAX_UPDATES:
            self.outcomes[name].update(
                ok=False,
                message="is still {0} with reason '{1}' after {2} was asked for {3} times. {4}".format(
                    self.outcomes[name]["state"],
                    node["reason"],
                    verdict.action.name,
                    _MAX_UPDATES,
                    self._refusals.get(name, ""),
                ).strip(),
            )
            return False
        self._updates[name] = self._updates.get(name, 0) + 1
        self._held[name] = frozenset(node["state"]) & _HOLDS
        return True

    def _update(self, names: List[str], state: str, reason: str) -> None:
        command = ["update", "NodeName=" + ",".join(names), "State=" + state]
        if reason:
            command.append("Reason=" + reason)
        try:
            slurm_commands.scontrol(command, conf=self.conf)
        except slurm_commands.SlurmCommandError as problem:
            # The next look shows which of the nodes were refused.
            for name in names:
                self._refusals[name] = str(problem)
