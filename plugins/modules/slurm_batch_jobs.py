#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module slurm_batch_jobs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: slurm_batch_jobs
short_description: Submit, query and cancel batch jobs as an unprivileged user
version_added: "0.1.0"
description:
  - Runs on a host with Slurm's client commands, as the user whose jobs these are. Refuses to run as root, and as the
    user of slurmctld.
  - The script goes to C(sbatch) by standard input. The job inherits no variable but HOME, USER, LOGNAME, SHELL and
    PATH.
  - Slurm's commands and its slurm.conf are those of the slurmctld of this host, where it has one in an unusual place.
  - States, reasons and exit codes are those of Slurm. What has left the queue is asked for in the accounting, if there
    is any.
options:
  action:
    description:
      - V(submit) submits a job, V(query) tells how jobs stand, V(cancel) cancels jobs, V(read) reads a file that a job
        wrote.
    type: str
    required: true
    choices: [submit, query, cancel, read]
  user:
    description: The user whose jobs these are, and as whom the module must run.
    type: str
    required: true
  script:
    description: The text of the job's script, beginning with C(#!). Needed by O(action=submit).
    type: str
  name:
    description: Name of the job.
    type: str
  partition:
    description: Where it runs.
    type: str
  nodes:
    description: Number of nodes, or the least and the greatest one, as in V(2-4).
    type: str
  time:
    description: Limit of its run time in one of Slurm's forms, such as V(30) (minutes) or V(1-12:00:00).
    type: str
  chdir:
    description: Directory in which it runs, on the node. By default the home directory of the user.
    type: str
  output:
    description: File for its output, on the node; C(%j) is the job's id.
    type: str
  jobs:
    description: Ids of jobs. Needed by O(action=query) and O(action=cancel).
    type: list
    elements: str
  since:
    description: >-
      When the first of O(jobs) was submitted, in seconds since 1970. Jobs of the accounting that are older are others.
    type: float
    default: 0
  path:
    description: The file that O(action=read) reads.
    type: str
  limit:
    description: Bytes that O(action=read) reads at most, from the end of the file.
    type: int
    default: 1048576
attributes:
  check_mode:
    description: Submits and cancels nothing and is then reported as skipped; the other actions change nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Submit a job
  ai_infra.slurm.slurm_batch_jobs:
    action: submit
    user: alice
    script: |
      #!/bin/sh
      srun hostname
    nodes: "2"
  become: true
  become_user: alice
  register: submitted

- name: See how it stands
  ai_infra.slurm.slurm_batch_jobs:
    action: query
    user: alice
    jobs: ["{{ submitted.job_id }}"]
  become: true
  become_user: alice
"""

RETURN = r"""
job_id:
  description: Slurm's id of the job that was submitted.
  returned: O(action=submit)
  type: str
  sample: "4711"
jobs:
  description: The jobs that are still known, by id, as Slurm describes them.
  returned: O(action) is not V(read)
  type: dict
  sample:
    "4711": {"job_id": "4711", "state": "RUNNING", "reason": "None", "exit_code": "0:0", "nodes": "n[1-2]",
      "user": "alice", "partition": "main", "batch_host": "n1", "name": "test", "output": "/srv/alice/slurm-4711.out"}
accounting:
  description: >-
    What the accounting could tell of jobs that have left the queue - V(kept), V(none) when the cluster has none,
    V(failed) when it gave no answer; empty when there were no such jobs.
  returned: O(action) is not V(read)
  type: str
problem:
  description: Why the accounting gave no answer; of O(action=read), why the file could not be read.
  returned: always
  type: str
found:
  description: Whether the file could be read.
  returned: O(action=read)
  type: bool
text:
  description: What was read.
  returned: O(action=read)
  type: str
size:
  description: Size of the file in bytes.
  returned: O(action=read)
  type: int
"""

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Dict, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.installation import use_installation
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import FailureError, fail
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import batch_jobs

if TYPE_CHECKING:
    import pwd

ARGUMENTS = {
    "action": {"type": "str", "required": True, "choices": ["submit", "query", "cancel", "read"]},
    "user": {"type": "str", "required": True},
    # It may hold what nobody else should read, and would end up in the journal.
    "script": {"type": "str", "no_log": True},
    "name": {"type": "str"},
    "partition": {"type": "str"},
    "nodes": {"type": "str"},
    "time": {"type": "str"},
    "chdir": {"type": "str"},
    "output": {"type": "str"},
    "jobs": {"type": "list", "elements": "str"},
    "since": {"type": "float", "default": 0},
    "path": {"type": "str"},
    "limit": {"type": "int", "default": 1048576},
}
NEEDED = [("action", "submit", ["script"]), ("action", "query", ["jobs"]), ("action", "cancel", ["jobs"]),
          ("action", "read", ["path"])]  # fmt: skip


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, required_if=NEEDED, supports_check_mode=True)
    wanted = module.params
    action = wanted["action"]
    try:
        user = batch_jobs.require_plain_user(wanted["user"])
        if action == "read":
            module.exit_json(changed=False, **batch_jobs.read_output(wanted["path"], wanted["limit"]))
        if module.check_mode and action != "query":
            module.exit_json(changed=False, skipped=True, jobs={}, accounting="", problem="")
        os.chdir("/tmp")  # noqa: S108 # whose home directory is not on this host works in one that every host has
        with contextlib.suppress(OSError):
            os.chdir(user.pw_dir)
        conf = use_installation().stated_conf
        if action == "submit":
            module.exit_json(changed=True, **_submit(wanted, user, conf))
        if action == "cancel":
            for job_id in wanted["jobs"]:
                batch_jobs.cancel(job_id, conf)
        found = batch_jobs.find(wanted["jobs"], wanted["since"], conf)
        module.exit_json(changed=action == "cancel", **_described(found))
    except FailureError as error:
        fail(module, error.failure)


def _submit(wanted: Dict[str, Any], user: pwd.struct_passwd, conf: Optional[str]) -> Dict[str, Any]:
    batch_jobs.require_no_operator(user, conf)
    names = ("partition", "nodes", "time", "chdir", "output")
    options = {"job-name": wanted["name"], **{name: wanted[name] for name in names}}
    job_id = batch_jobs.submit(wanted["script"], options, user, conf)
    try:
        found = batch_jobs.find([job_id], time.time(), conf)
    except FailureError as error:
        # The job is there, and that is what has to be known.
        found = batch_jobs.Found({}, "failed", str(error))
    return {"job_id": job_id, **_described(found)}


def _described(found: batch_jobs.Found) -> Dict[str, Any]:
    jobs = {job_id: job._asdict() for job_id, job in found.jobs.items()}
    return {"jobs": jobs, "accounting": found.accounting, "problem": found.problem}


if __name__ == "__main__":
    main()
