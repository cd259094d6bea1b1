#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module slurm_drain."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: slurm_drain
short_description: Take Slurm nodes out of service and bring them back
version_added: "0.1.0"
description:
  - Drains nodes and waits until no job is on them, resumes them, or waits until they are available. Runs on a host
    where C(scontrol) reaches the controller with an administrator's rights.
  - Only drains whose reason begins with C(slurmscale) are taken back. What somebody else drained or set DOWN, or what
    Slurm itself holds back for less memory or CPUs than configured, is reported with its reason and left alone.
  - The reason of such a drain goes with it. A Slurm without accounting keeps it until a job starts on the node, so
    there the module runs a job that does nothing; where it can't, a blank reason stays until the next job.
  - A node that can't be brought into the state does not fail the module, so that it does not stop the others. Look at
    RV(nodes) or RV(failed_nodes).
options:
  nodes:
    description: Names of the nodes, or Slurm's bracket expressions.
    type: list
    elements: str
    required: true
  state:
    description:
      - V(drained) drains each node and waits until no job is on it. A node that is drained already, by whomever, is
        left as it is. DRAINING and COMPLETING are waited for, and a state that is not known counts as busy.
      - V(resumed) takes our own drains and DOWN states back.
      - V(available) does the same and waits until the node is IDLE, MIXED or ALLOCATED and its slurmd answers.
    type: str
    choices: [drained, resumed, available]
    required: true
  reason:
    description: Reason for a drain. Slurm shows it with C(slurmscale) in front.
    type: str
    default: taken out of service
  jobs:
    description:
      - What happens to the jobs on nodes that shall be V(drained). V(wait) lets them end.
      - V(requeue) sends them back to the queue, where they start again on other nodes. Slurm requeues batch jobs that
        allow it; the others are waited for, and the message says why they stayed.
      - V(cancel) ends them.
      - A job on several nodes is requeued or cancelled as a whole.
    type: str
    choices: [wait, requeue, cancel]
    default: wait
  removing:
    description:
      - The nodes will be removed from the cluster, at which Slurm ends pending jobs that ask for one of them by name.
        Used for V(state=drained).
      - Such jobs are reported as RV(nodes.requested_by). With O(jobs=wait) a node that they ask for is not free, with
        V(cancel) they are cancelled, and with V(requeue) they are only reported.
    type: bool
    default: false
  dead:
    description:
      - Names of nodes on which nothing runs any more, as an administrator has confirmed. Used for V(state=drained).
      - Once Slurm misses such a node too, it is set DOWN when jobs are on it, at which Slurm requeues or ends them, and
        a state that is not known is not waited for. A node that does answer Slurm is treated as every other one.
    type: list
    elements: str
    default: []
  resume_down:
    description:
      - Names of nodes to resume also when Slurm set them DOWN because their slurmd was away, with its reasons
        C(Not responding) or C(Node unexpectedly rebooted), or when they are DOWN without a reason because they are new;
        or drained them because their slurmd had fewer Gres than configured, and they have registered rightly since.
      - Meant for nodes that this very run makes. With V(state=available) they are resumed once their slurmd answers.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Seconds to wait. With 0 the nodes are changed and checked once.
      - By default 120 for V(state=available), else 300.
    type: float
  interval:
    description: Seconds between checks.
    type: float
    default: 2
  conf:
    description: >-
      The cluster's slurm.conf. By default the one that the slurmctld of this host was started with, else Slurm's own.
    type: path
attributes:
  check_mode:
    description: Tells what would be drained or resumed, changes nothing and does not wait.
    support: full
  diff_mode:
    description: Shows the states before and after of the nodes that changed.
    support: full
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Drain two nodes and wait up to an hour for their jobs
  ai_infra.slurm.slurm_drain:
    nodes: [node7, node8]
    state: drained
    reason: scale down
    timeout: 3600
  register: drained

- name: Stop when a node is still busy
  ai_infra.slurm.require:
    findings: "{{ drained.nodes.values() | map(attribute='failure') | select | list }}"

- name: Free a node now; its jobs start again elsewhere
  ai_infra.slurm.slurm_drain:
    nodes: [node7]
    state: drained
    jobs: requeue

- name: Wait until the new nodes are there
  ai_infra.slurm.slurm_drain:
    nodes: ["node[9-12]"]
    state: available
    resume_down: [node9, node10]
"""

RETURN = r"""
nodes:
  description: What became of each node.
  returned: always
  type: dict
  contains:
    ok:
      description: Whether the node is as wanted (in check mode, whether it would be tried).
      type: bool
    known:
      description: Whether the controller knows the node.
      type: bool
    state:
      description: Its state, such as V(IDLE+DRAIN); null when the controller does not know it.
      type: str
    reason:
      description: Slurm's reason, when the node is held back.
      type: str
    message:
      description: What was found or what is still missing.
      type: str
    changed:
      description: Whether it was drained or resumed.
      type: bool
    jobs:
      description: Jobs that are still on it, for O(state=drained).
      type: list
      elements: str
    requested_by:
      description: Pending jobs that ask for it by name, for O(removing).
      type: list
      elements: str
    failure:
      description: For a node that is not as wanted, code, reason and remedy; else null.
      type: dict
  sample: {"node7": {"ok": false, "known": true, "state": "MIXED+DRAIN", "reason": "slurmscale: scale down",
    "message": "after 3600 s: still runs jobs 4711", "changed": true, "jobs": ["4711"], "requested_by": [],
    "failure": {"code": "node-runs-jobs", "reason": "node7 still runs jobs 4711 after 3600 s.",
    "remedy": "Wait longer, or state what happens to its jobs: squeue --nodelist node7"}}}
failed_nodes:
  description: Nodes that are not as wanted.
  returned: always
  type: list
  elements: str
  sample: [node7]
"""

from typing import Any, Dict, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.installation import use_installation
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, fail
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.blank_reasons import remove_blank_reasons
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.state_waiter import (
    Decide,
    Evict,
    JobRules,
    StateWaiter,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.time_limits import DRAIN_SECONDS, READY_SECONDS
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import hostlist, jobs, node_states
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import SlurmCommandError

ARGUMENTS = {
    "nodes": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": ["drained", "resumed", "available"], "required": True},
    "reason": {"type": "str", "default": "taken out of service"},
    "jobs": {"type": "str", "choices": ["wait", "requeue", "cancel"], "default": "wait"},
    "removing": {"type": "bool", "default": False},
    "dead": {"type": "list", "elements": "str", "default": []},
    "resume_down": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "float"},
    "interval": {"type": "float", "default": 2},
    "conf": {"type": "path"},
}


def choose_decision(params: Dict[str, Any]) -> Decide:
    """Choose how it is decided what to do about a node.

    Args:
        params: The module's options.

    Returns:
        A function of a node's name, the node, and its jobs.
    """
    if params["state"] == "drained":
        reason, dead = node_states.prefixed_reason(params["reason"]), params["dead"]
        return lambda name, node, on_node: node_states.decide_drained(node, on_node, reason, dead=name in dead)
    decide = node_states.decide_resumed if params["state"] == "resumed" else node_states.decide_available
    return lambda name, node, _on_node: decide(node, resume_down=name in params["resume_down"])


def job_rules(params: Dict[str, Any]) -> JobRules:
    """Choose which jobs count and what becomes of them.

    Args:
        params: The module's options.
    """
    if params["state"] != "drained":
        return JobRules()
    conf = params["conf"]

    def cancel(ids: Any) -> Dict[str, str]:
        jobs.cancel(ids, conf)
        return {}

    evict: Dict[str, Optional[Evict]] = {
        "wait": None,
        "requeue": lambda ids: jobs.requeue(ids, conf),
        "cancel": cancel,
    }
    return JobRules(
        on_nodes=True,
        requesting=params["removing"],
        evict=evict[params["jobs"]],
        evict_requesting=cancel if params["jobs"] == "cancel" else None,
        accept_requesting=params["jobs"] == "requeue",
    )


def timeout_of(params: Dict[str, Any]) -> float:
    """Return how long to wait.

    Args:
        params: The module's options.

    Returns:
        Seconds.
    """
    if params["timeout"] is not None:
        return float(params["timeout"])
    return READY_SECONDS if params["state"] == "available" else DRAIN_SECONDS


def result_of(waiter: StateWaiter) -> Dict[str, Any]:
    """Make the module's result.

    Args:
        waiter: After its run.
    """
    changed = [name for name, outcome in waiter.outcomes.items() if outcome["changed"]]
    shown = "message" if waiter.check_mode else "state"
    return {
        "changed": bool(changed),
        "nodes": waiter.outcomes,
        "failed_nodes": [name for name, outcome in waiter.outcomes.items() if not outcome["ok"]],
        "diff": {
            "before": "".join(f"{name} {waiter.before[name]}\n" for name in changed),
            "after": "".join(f"{name} {waiter.outcomes[name][shown]}\n" for name in changed),
        },
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    wanted = module.params
    wanted["conf"] = use_installation(wanted["conf"]).stated_conf
    for option in ("nodes", "dead", "resume_down"):
        # Ansible makes a text of a truth value, which would name a node that does not exist.
        if {"True", "False"} & set(wanted[option]):
            fail(module, Failure(Code.REQUEST_INVALID, f"{option} must be names of nodes, not true or false."))
    try:
        names = [name for item in wanted["nodes"] for name in hostlist.expand(item, wanted["conf"])]
        if not names:
            fail(module, Failure(Code.REQUEST_INVALID, "nodes must name at least one node, but is empty."))
        waiter = StateWaiter(
            names,
            choose_decision(wanted),
            job_rules(wanted),
            check_mode=module.check_mode,
            conf=wanted["conf"],
        )
        waiter.run(timeout_of(wanted), wanted["interval"])
        if wanted["state"] != "drained" and not module.check_mode:
            remove_blank_reasons([name for name, outcome in waiter.outcomes.items() if outcome["ok"]], wanted["conf"])
    except SlurmCommandError as error:
        remedy = "The controller must answer before nodes can be drained or resumed: systemctl status slurmctld"
        fail(module, Failure(Code.CONTROLLER_NOT_ANSWERING, str(error), remedy))
    module.exit_json(**result_of(waiter))


if __name__ == "__main__":
    main()
