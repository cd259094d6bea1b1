#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module slurm_backup_conf."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_backup_conf
short_description: Update the configuration files of a backup controller to those of the primary
version_added: "0.1.0"
description:
  - A backup controller reads its own slurm.conf when it takes over. So it gets what M(ai_infra.slurm.slurm_nodes) will
    change on the primary before the primary takes it, and gets the old files back when the primary does not.
  - Nothing is done when both controllers have their files in one directory of a shared file system.
  - The files must be the primary's before. Slurm's own parser reads a candidate first. The next run recovers from one
    that was killed.
  - slurmctld is not touched. A backup that is standing by reads the files when it takes over.
author:
  - The slurmscale authors
options:
  conf:
    description: slurm.conf of the backup controller. By default the one that its slurmctld was started with.
    type: path
  files:
    description: What M(ai_infra.slurm.slurm_nodes) returned as RV(ai_infra.slurm.slurm_nodes#module:files).
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: The file, on both hosts.
        type: path
        required: true
      before:
        description: Its text on the primary; nothing when there is no such file.
        type: str
      after:
        description: The text it is to have; nothing when there is to be no such file.
        type: str
  lock_note:
    description: >-
      What M(ai_infra.slurm.slurm_nodes) returned as RV(ai_infra.slurm.slurm_nodes#module:lock_note); by it a shared
      directory is known.
    type: str
    default: ""
  state:
    description:
      - V(staged) puts the new files in place, V(kept) notes that the primary works with them, V(restored) puts the
        old ones back, and starts slurmctld when it has ended with the new ones.
    type: str
    choices: [staged, kept, restored]
    default: staged
attributes:
  check_mode:
    description: Can run in check mode, up to and including the test of the candidate.
    support: full
  diff_mode:
    description: Shows what changes in each file.
    support: full
  platform:
    description: The systems it runs on.
    support: full
    platforms: posix
notes:
  - Needs root. The last 5 backups stay in C(slurmscale-backup) beside slurm.conf.
"""

EXAMPLES = r"""
- name: Find what will change
  ai_infra.slurm.slurm_nodes:
    nodes: [{name: node07, params: {CPUs: 64}}]
  check_mode: true
  register: planned

- name: Bring it to the backup controller
  ai_infra.slurm.slurm_backup_conf:
    files: "{{ planned.files }}"
  delegate_to: ctl2
"""

RETURN = r"""
shared:
  description: Whether the directory of slurm.conf is the primary's own.
  returned: success
  type: bool
failure:
  description: Why the module failed - code, reason and remedy.
  returned: failure
  type: dict
"""

import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.backup_controller import BackupController
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.installation import use_installation
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.lock import LOCK_FILE, lock
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError, fail
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.write_errors import remedy_for

FILE = {
    "path": {"type": "path", "required": True},
    "before": {"type": "str"},
    "after": {"type": "str"},
}
ARGUMENTS = {
    "conf": {"type": "path"},
    "files": {"type": "list", "elements": "dict", "required": True, "options": FILE},
    "lock_note": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["staged", "kept", "restored"], "default": "staged"},
}


def main() -> None:
    """Run the module."""
    # Without a log: it would hold the whole slurm.conf.
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, no_log=True)
    installation = use_installation(module.params["conf"])
    conf = installation.conf
    controller = BackupController(conf, module.params["files"], installation.service)
    try:
        if controller.shares(module.params["lock_note"]):
            module.exit_json(changed=False, shared=True)
        with lock(LOCK_FILE, module.params["state"]):
            result = _run(controller, module.params["state"], check_mode=module.check_mode)
    except FailureError as problem:
        fail(module, problem.failure)
    except (OSError, ValueError) as problem:
        reason = f"A file of the backup controller can't be read or written: {problem}."
        remedy = remedy_for(getattr(problem, "errno", None), os.path.dirname(conf)) or "Correct that, then run again."
        fail(module, Failure(Code.CONFIGURATION_NOT_WRITTEN, reason, remedy))
    module.exit_json(shared=False, **result)


def _run(controller: BackupController, state: str, *, check_mode: bool) -> Dict[str, Any]:
    if state == "staged":
        changes = controller.stage(check_mode=check_mode)
        return {
            "changed": bool(changes),
            "diff": [
                {"before_header": path, "after_header": path, "before": before or "", "after": after or ""}
                for path, (before, after) in sorted(changes.items())
            ],
        }
    if check_mode:
        return {"changed": False}
    return {"changed": controller.keep() if state == "kept" else controller.restore()}


if __name__ == "__main__":
    main()
