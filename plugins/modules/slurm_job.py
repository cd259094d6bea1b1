#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module slurm_job."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: slurm_job
short_description: Verify nodes with a real job
version_added: "0.1.0"
description:
  - Submits one small batch job per node, or one job over all nodes, all at once, and follows them to their end. Runs
    on a host with Slurm's client commands, as a user who may submit jobs.
  - The jobs write no files, need one CPU and 64 MB, and end by themselves. A job that has not ended in time is
    cancelled.
  - A node that does not pass does not fail the module, so that it does not stop the others. See RV(jobs) or
    RV(failed_nodes).
options:
  nodes:
    description: Names of the nodes, or Slurm's bracket expressions. An empty list is fine.
    type: list
    elements: str
    required: true
  per_node:
    description: Submit one job for each node; else one over all nodes, with one task on each.
    type: bool
    default: true
  connect:
    description:
      - Of O(nodes), those of which it is also verified that they and other nodes reach each other. Jobs of two nodes
        each run beside their own, in which srun starts a task on both; one of their nodes is an idle one that is not
        among these.
      - The job over a node that does not pass by itself is cancelled, and the others of that job run another one.
      - A job that finds no room in 60 seconds is cancelled and counts against no node.
    type: list
    elements: str
    default: []
  command:
    description: What the job runs on the node, by a shell. It must return 0.
    type: str
    default: uname -n
  partition:
    description: >-
      Partition to submit to. When unstated, one that is UP and has the node, preferring the default partition.
    type: str
  user:
    description: Submit as this user, which only root can. Needed where root may not run jobs (C(DisableRootJobs)).
    type: str
  account:
    description: Account of the job.
    type: str
  qos:
    description: Quality of service of the job.
    type: str
  time_limit:
    description: Minutes that Slurm lets the job run.
    type: int
    default: 2
  test_only:
    description:
      - Submits nothing, and fails when a rule of the cluster, such as C(DisableRootJobs), an account, a QOS or a
        partition that the user may not use, would refuse the jobs.
      - O(nodes) may be empty.
    type: bool
    default: false
  accept_busy:
    description: A node on which somebody's job runs is verified by it, and gets no job that would have to wait.
    type: bool
    default: true
  timeout:
    description: Seconds until a job that has not ended is cancelled and its node has failed.
    type: float
    default: 120
  interval:
    description: Seconds between checks of the jobs; the first ones follow each other sooner.
    type: float
    default: 0.5
  conf:
    description: >-
      The cluster's slurm.conf. By default the one that the slurmctld of this host was started with, else Slurm's own.
    type: path
attributes:
  check_mode:
    description: Submits nothing and is reported as skipped.
    support: full
  diff_mode:
    description: There is nothing to show; a job changes no state of the cluster.
    support: none
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Run a job on every new node
  ai_infra.slurm.slurm_job:
    nodes: [node7, node8]
  register: verification

- name: Report the nodes that did not pass
  ansible.builtin.debug:
    msg: "{{ verification.failed_nodes }}"

- name: Run one job over the whole cluster, as a user
  ai_infra.slurm.slurm_job:
    nodes: ["node[1-8]"]
    per_node: false
    user: alice
    account: physics
"""

RETURN = r"""
jobs:
  description: The result of each node.
  returned: always
  type: dict
  contains:
    ok:
      description: Whether the node is verified (in check mode, true).
      type: bool
    job_id:
      description: Our job; null when none was submitted.
      type: str
    state:
      description: The job's last state, as Slurm shows it; null when none was submitted.
      type: str
    exit_code:
      description: The job's exit code as code:signal, or null.
      type: str
    message:
      description: What happened, with Slurm's reason.
      type: str
    failure:
      description: For a node that is not verified, code, reason and remedy; else null.
      type: dict
    seconds:
      description: Seconds from submission to the end.
      type: float
  sample: {"node7": {"ok": true, "job_id": "4711", "state": "COMPLETED", "exit_code": "0:0",
    "message": "job 4711 COMPLETED", "failure": null, "seconds": 1.2}}
connections:
  description: For each job over several nodes its nodes, ok (null when it was not run) and message.
  returned: always
  type: list
  elements: dict
  sample: [{"nodes": ["node8", "node3"], "ok": true, "message": "job 4713 COMPLETED"}]
failed_nodes:
  description: Nodes that are not verified.
  returned: always
  type: list
  elements: str
  sample: []
"""

from typing import Any, Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.installation import use_installation
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, fail
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.time_limits import JOB_MINUTES, READY_SECONDS
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.verify_connections import ConnectionJobs
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.verify_jobs import (
    JobRun,
    Options,
    outcome,
    policy_failure,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import hostlist
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import SlurmCommandError

ARGUMENTS = {
    "nodes": {"type": "list", "elements": "str", "required": True},
    "per_node": {"type": "bool", "default": True},
    "connect": {"type": "list", "elements": "str", "default": []},
    "command": {"type": "str", "default": "uname -n"},
    "partition": {"type": "str"},
    "user": {"type": "str"},
    "account": {"type": "str"},
    "qos": {"type": "str"},
    "time_limit": {"type": "int", "default": JOB_MINUTES},
    "test_only": {"type": "bool", "default": False},
    "accept_busy": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": READY_SECONDS},
    "interval": {"type": "float", "default": 0.5},
    "conf": {"type": "path"},
}


def verify(
    names: List[str], options: Options, *, per_node: bool, connect: List[str]
) -> Tuple[Dict[str, Dict[str, Any]], List[Dict[str, Any]]]:
    """Verify nodes, and that some of them reach others.

    Args:
        names: The nodes.
        options: What the jobs are like.
        per_node: One job for each node, else one over all.
        connect: Those of them that run a job together with others, too.

    Returns:
        The result of each node, and for each job over several nodes its nodes, ok and message.

    Raises:
        SlurmCommandError: The controller gives no answer.
    """
    if not names:
        return {}, []
    run = JobRun(names, options)
    run.submit(per_node=per_node)
    limited = options._replace(timeout=min(options.timeout, 60))
    together = [name for name in names if name in connect and name not in run.outcomes]
    connections: List[Dict[str, Any]] = []
    # Submitted at once, as Slurm starts batch jobs up to three seconds after their submission.
    pairs = ConnectionJobs(together, limited) if together else None
    run.beside = pairs.run.job_ids if pairs else set()
    run.follow()
    while pairs:
        verified = {name for name in together if run.outcomes[name]["ok"] and run.outcomes[name]["job_id"]}
        failures, told, again = pairs.results(verified)
        connections += told
        for name, failure in failures.items():
            run.outcomes[name].update(ok=False, message=failure.reason, failure=failure.as_dict())
        failed = [name for name in names if not run.outcomes[name]["ok"]]
        pairs = ConnectionJobs(again, limited, avoid=failed) if again else None
    return {name: run.outcomes[name] for name in names}, connections


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    wanted = module.params
    wanted["conf"] = use_installation(wanted["conf"]).stated_conf
    try:
        names = [name for item in wanted["nodes"] for name in hostlist.expand(item, wanted["conf"])]
        if module.check_mode and not wanted["test_only"]:
            jobs = {name: outcome("no job is submitted in check mode") for name in names}
            module.exit_json(changed=False, skipped=True, jobs=jobs, connections=[], failed_nodes=[])
        options = Options(**{name: wanted[name] for name in Options._fields})
        if wanted["test_only"]:
            refused = policy_failure(options)
            if refused:
                fail(module, refused)
            module.exit_json(changed=False, jobs={}, connections=[], failed_nodes=[])
        jobs, connections = verify(names, options, per_node=wanted["per_node"], connect=wanted["connect"])
    except SlurmCommandError as error:
        remedy = "The controller must answer before nodes can be verified: systemctl status slurmctld"
        fail(module, Failure(Code.CONTROLLER_NOT_ANSWERING, str(error), remedy))
    failed = [name for name, job in jobs.items() if not job["ok"]]
    module.exit_json(changed=False, jobs=jobs, connections=connections, failed_nodes=failed)


if __name__ == "__main__":
    main()
