# Apache License 2.0 (see LICENSE)
"""Brings nodes into a wanted state of service and waits until Slurm shows it."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands, jobs
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.node_states import (
    NAME,
    Action,
    Decision,
    Node,
    held_reason,
    is_ours,
    state_text,
)

#: Seconds for which a bad state must last before it is believed: slurmd may be about to register again.
GRACE = 10
# A node that is DOWN again after this many resumes has a fault that one more will not end.
_MAX_UPDATES = 3
_UPDATES = (Action.DRAIN, Action.RESUME, Action.DOWN)
_NOT_CHECKED = {
    "ok": None,
    "known": None,
    "state": None,
    "reason": "",
    "message": "",
    "changed": False,
    "failure": None,
}
_HOLDS = frozenset(("DRAIN", "DRAINING", "DRAINED", "DOWN"))

#: Tells from a node's name, the node, and its jobs what to do.
Decide = Callable[[str, Optional[Node], List[str]], Decision]
#: Ends or requeues jobs and tells which it could not, and why.
Evict = Callable[[List[str]], Dict[str, str]]


class JobRules(NamedTuple):
    """Which jobs count, and what becomes of those for which nodes would otherwise be waited for.

    Attributes:
        on_nodes: Ask for the jobs on the nodes.
        requesting: Ask for pending jobs that name the nodes, too.
        evict: Ends or requeues the jobs on nodes; without it they are waited for.
        evict_requesting: Ends pending jobs that name a node; without it they are waited for.
        accept_requesting: A pending job that names a node is reported, and not waited for.
    """

    on_nodes: bool = False
    requesting: bool = False
    evict: Optional[Evict] = None
    evict_requesting: Optional[Evict] = None
    accept_requesting: bool = False


class StateWaiter:
    """Checks nodes, does what is decided, and checks again, until all are as wanted or the time is over.

    Args:
        names: The nodes.
        decide: Tells what to do about a node.
        rules: What becomes of jobs.
        check_mode: Check once and change nothing.
        conf: A slurm.conf in place of Slurm's default.
    """

    def __init__(
        self,
        names: List[str],
        decide: Decide,
        rules: Optional[JobRules] = None,
        *,
        check_mode: bool = False,
        conf: Optional[str] = None,
    ) -> None:
        self.decide, self.check_mode, self.conf = decide, check_mode, conf
        self.rules = rules or JobRules()
        self.outcomes: Dict[str, Dict[str, Any]] = {
            name: dict(_NOT_CHECKED, jobs=[], requested_by=[]) for name in names
        }
        self.before: Dict[str, Optional[str]] = {}
        self._decisions: Dict[str, Decision] = {}
        self._problem: Optional[commands.SlurmCommandError] = None
        self._unlikely_since: Dict[str, float] = {}
        self._update_errors: Dict[str, str] = {}
        self._updates: Dict[str, int] = {}
        self._holds_before_update: Dict[str, FrozenSet[str]] = {}
        self._evicted: Dict[str, str] = {}

    def run(self, timeout: float, interval: float) -> None:
        """Bring the nodes into the wanted state; the result of each is in `outcomes`.

        Args:
            timeout: Seconds until a node that is not as wanted has failed. At least one check follows each change.
            interval: Seconds between checks.

        Raises:
            commands.SlurmCommandError: The controller gave no answer to the first check.
        """
        deadline = time.monotonic() + timeout
        changes = self._check_nodes()
        while not self.check_mode and self._pending() and (changes or time.monotonic() < deadline):
            pause = 0.2 if changes else min(interval, max(0.0, deadline - time.monotonic()))
            time.sleep(pause)
            try:
                changes = self._check_nodes()
                self._problem = None
            except commands.SlurmCommandError as problem:
                # The controller may be restarting; only time decides whether it comes back.
                changes, self._problem = False, problem
        for name in self._pending():
            self._time_out(name, timeout)

    def _pending(self) -> List[str]:
        return [name for name, outcome in self.outcomes.items() if outcome["ok"] is None]

    def _check_nodes(self) -> bool:
        """Check all pending nodes once and do what is due; tell whether something was changed."""
        nodes = commands.show_nodes(conf=self.conf)
        known = [name for name in self._pending() if name in nodes]
        running = jobs.jobs_on(known, self.conf) if self.rules.on_nodes and known else {}
        requesting = jobs.jobs_requesting(known, self.conf) if self.rules.requesting and known else {}
        due: Dict[Tuple[str, str], List[str]] = {}
        waited: List[str] = []
        for name in self._pending():
            node, on_node = nodes.get(name), running.get(name, [])
            self.outcomes[name].update(jobs=on_node, requested_by=requesting.get(name, []))
            decision = self._decide(name, node, on_node)
            self._record(name, node, decision)
            waited += on_node if decision.action is Action.WAIT else []
            if decision.action in _UPDATES and self._may_update(name, node, decision):
                due.setdefault((decision.action.name, decision.reason), []).append(name)
        for (state, reason), names in due.items():
            self._update(names, state, reason, [name for name in names if is_ours(nodes[name]["reason"])])
        asking = [job for name in known for job in requesting.get(name, [])]
        evicted = self._evict(waited, self.rules.evict), self._evict(asking, self.rules.evict_requesting)
        return any(evicted) or bool(due)

    def _decide(self, name: str, node: Optional[Node], on_node: List[str]) -> Decision:
        decision = self.decide(name, node, on_node)
        asking = self.outcomes[name]["requested_by"]
        if decision.action is not Action.DONE or not asking:
            return decision
        message = f"is asked for by the pending jobs {','.join(asking)}, which fail when it is removed"
        if self.rules.accept_requesting:
            return decision._replace(message=f"{decision.message}, but {message}")
        remedy = f"Change or cancel them, or state what happens to jobs: scontrol update JobId={asking[0]} ReqNodeList="
        return Decision(Action.WAIT, message, code=Code.NODE_REQUESTED_BY_JOBS, remedy=remedy)

    def _evict(self, ids: List[str], evict: Optional[Evict]) -> bool:
        """End or requeue jobs, each once; tell whether there were any."""
        fresh = [job for job in dict.fromkeys(ids) if job not in self._evicted]
        if not evict or self.check_mode or not fresh:
            return False
        refused = evict(fresh)
        self._evicted.update({job: refused.get(job, "") for job in fresh})
        return True

    def _record(self, name: str, node: Optional[Node], decision: Decision) -> None:
        outcome = self.outcomes[name]
        self._decisions[name] = decision
        state, holds = state_text(node), frozenset(node["state"] if node else ()) & _HOLDS
        self.before.setdefault(name, state)
        outcome.update(known=node is not None, state=state, reason=held_reason(node) if node else "")
        outcome["message"] = decision.message
        # What scontrol returns does not tell: it fails as a whole when one of many nodes was not held any more.
        if name in self._holds_before_update and self._holds_before_update.pop(name) != holds:
            outcome["changed"] = True
        if decision.action is not Action.UNLIKELY:
            self._unlikely_since.pop(name, None)
        if decision.action is Action.DONE:
            outcome["ok"] = True
        elif self.check_mode:
            self._predict(name, decision)
        elif decision.action is Action.REFUSE or (decision.action is Action.UNLIKELY and self._outlasts_grace(name)):
            self._fail(name, decision.code, decision.message, decision.remedy)

    def _predict(self, name: str, decision: Decision) -> None:
        """Report what a run would do. A node that an earlier task would have created is missing without being wrong."""
        outcome = self.outcomes[name]
        outcome.update(ok=True, changed=decision.action in _UPDATES)
        if decision.action in (Action.REFUSE, Action.UNLIKELY) and outcome["known"]:
            self._fail(name, decision.code, decision.message, decision.remedy)

    def _fail(self, name: str, code: Code, message: str, remedy: str = "", after: str = "") -> None:
        remedy = remedy.replace(NAME, name)
        shown = f"after {after}: {message}" if after else f"{message}. {remedy}".rstrip(" .")
        reason = f"{name} {message} after {after}." if after else f"{name} {message}."
        self.outcomes[name].update(ok=False, message=shown, failure=Failure(code, reason, remedy).as_dict())

    def _time_out(self, name: str, timeout: float) -> None:
        outcome, decision = self.outcomes[name], self._decisions[name]
        after = f"{timeout:g} s"
        if self._problem:
            failure = Failure(Code.CONTROLLER_NOT_ANSWERING, str(self._problem), "systemctl status slurmctld")
            outcome.update(ok=False, message=f"after {after}: {self._problem}", failure=failure.as_dict())
            return
        waited = outcome["jobs"] + outcome["requested_by"]
        stayed = "".join(f"; job {job}: {self._evicted[job]}" for job in waited if self._evicted.get(job))
        self._fail(name, decision.code, decision.message + stayed, decision.remedy, after)

    def _outlasts_grace(self, name: str) -> bool:
        now = time.monotonic()
        return now - self._unlikely_since.setdefault(name, now) >= GRACE

    def _may_update(self, name: str, node: Optional[Node], decision: Decision) -> bool:
        if self.check_mode or node is None:
            return False
        if self._updates.get(name, 0) >= _MAX_UPDATES:
            answer = self._update_errors.get(name)
            message = (
                f"is still {state_text(node)} with reason '{node['reason']}' after {_MAX_UPDATES} times "
                f"State={decision.action.name}{': ' + answer if answer else ''}"
            )
            self._fail(name, Code.SLURM_UPDATE_REFUSED, message, f"scontrol show node {NAME}")
            return False
        self._updates[name] = self._updates.get(name, 0) + 1
        self._holds_before_update[name] = frozenset(node["state"]) & _HOLDS
        return True

    def _update(self, names: List[str], state: str, reason: str, ours: List[str]) -> None:
        """Change the state of nodes. Slurm keeps the reason of a node that is resumed: ours is cleared."""
        if state != Action.RESUME.name:
            self._scontrol(names, [f"State={state}", *([f"Reason={reason}"] if reason else [])])
            return
        others = [name for name in names if name not in ours]
        # slurmctld ignores an empty reason, a blank one replaces the old; see blank_reasons for what becomes of it.
        for group, more in ((ours, ["Reason= "]), (others, [])):
            if group:
                self._scontrol(group, [f"State={state}", *more])

    def _scontrol(self, names: List[str], words: List[str]) -> None:
        try:
            commands.scontrol(["update", "NodeName=" + ",".join(names), *words], conf=self.conf)
        except commands.SlurmCommandError as problem:
            # The next check shows which of the nodes were refused.
            for name in names:
                self._update_errors[name] = str(problem)
