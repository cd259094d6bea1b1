#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module munge_rotation."""

from __future__ import annotations

DOCUMENTATION = r"""
module: munge_rotation
short_description: Change the munge key of a cluster at one moment, with a timed return to the old key
version_added: "0.1.0"
description:
  - All hosts of a cluster must change their key together. So the new key is staged beside the old one everywhere first;
    then every host is given the same time at which it switches by itself; and after a while it returns to the old key
    by itself, unless it is told that the change is committed. A host that is lost on the way, or whose control machine
    dies, ends with the old key.
  - The switch and the return are done by a transient unit of systemd, C(slurmscale-munge-rotation-TIME), which this
    module starts and stops. It is started again when it is killed.
  - The steps are V(staged) on one host, V(scheduled) on each host that has the new key, V(switched), then V(committed),
    then V(finished) on each host when all of them were committed; V(rolled_back) in any case of doubt.
  - A rotation holds a host from its first step there until V(finished) or V(rolled_back). Meanwhile every other
    rotation is refused and changes nothing. The files on disk show its state at any moment, see RV(phase).
author:
  - The slurmscale authors
options:
  state:
    description:
      - V(status) tells which key is in place and how far a rotation is, and changes nothing.
      - V(staged) makes a new key beside the old one, on one host.
      - V(scheduled) starts the unit that switches to the new key at O(at), and back O(hold) seconds later.
      - V(switched) waits until the unit has switched, and tells when munged answered again.
      - V(committed) lets the new key stay. The old one is still there.
      - V(finished) removes the old key for good.
      - V(rolled_back) stops the unit, puts the old key back where it was changed, and removes the new one.
    type: str
    choices: [status, staged, scheduled, switched, committed, finished, rolled_back]
    required: true
  rotation:
    description:
      - A name of this rotation, the same in all of its steps and on all of its hosts, such as the time of its start.
      - Needed for all states but V(status), and V(rolled_back) with O(force).
    type: str
    default: ""
  path:
    description:
      - The key. Beside it lie the new one with C(.new), the old one with C(.old) while it may come back or C(.previous)
        once the new one is committed, and the name of the rotation with C(.rotation).
    type: path
    default: /etc/munge/munge.key
  service:
    description: The unit of munged, without C(.service).
    type: str
    default: munge
  at:
    description: Seconds since 1970 at which the key is switched, for V(scheduled).
    type: float
  hold:
    description: Seconds after O(at) until the old key comes back by itself, for V(scheduled).
    type: int
    default: 120
  size:
    description: Bytes of the new key, for V(staged).
    type: int
    default: 1024
  force:
    description: For V(rolled_back), also end a rotation of another name, such as one whose control machine died.
    type: bool
    default: false
attributes:
  check_mode:
    description: Tells what would be done, and does nothing.
    support: full
  diff_mode:
    description: Shows what changed in diff mode. A key is never shown.
    support: none
  platform:
    description: The systems it runs on.
    support: full
    platforms: posix
notes:
  - Needs root and systemd.
"""

EXAMPLES = r"""
- name: Switch to the new key in ten seconds, and back in two minutes unless it is committed
  ai_infra.slurm.munge_rotation:
    state: scheduled
    rotation: "{{ rotation_name }}"
    at: "{{ now().timestamp() + 10 }}"

- name: Return to the old key
  ai_infra.slurm.munge_rotation:
    state: rolled_back
    rotation: "{{ rotation_name }}"
"""

RETURN = r"""
active:
  description: Which key is in place, V(old) or V(new). Without a rotation it is V(old).
  returned: always
  type: str
sha256:
  description: Fingerprint of the key in place.
  returned: always
  type: str
phase:
  description:
    - V(none), V(staged), V(scheduled), V(switched) (the old key comes back at RV(return_at)), V(committed), or
      V(returned) (the unit took the new key back).
  returned: always
  type: str
rotation:
  description: The name of the rotation that has this host, or null.
  returned: always
  type: str
return_at:
  description: When the old key comes back by itself, seconds since 1970, or null.
  returned: always
  type: float
interrupted:
  description: Whether the rotation stopped halfway and will not go on.
  returned: always
  type: bool
began:
  description: When the host began to switch keys, seconds since 1970.
  returned: for O(state=switched)
  type: float
answered:
  description: When its munged answered with the new key.
  returned: for O(state=switched)
  type: float
credential:
  description: A credential made with the new key, for another host to decode. Call it with C(no_log).
  returned: for O(state=switched)
  type: str
"""

import os
from typing import Any, Callable, Dict, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError, fail
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.write_errors import remedy_for
from ansible_collections.ai_infra.slurm.plugins.module_utils.munge.rotation import KeyRotation

STATES = ["status", "staged", "scheduled", "switched", "committed", "finished", "rolled_back"]


def take_step(rotation: KeyRotation, options: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Bring the host into the wanted state.

    Args:
        rotation: The key of this host.
        options: The module's options.

    Returns:
        What the step tells beside the status.
    """
    steps: Dict[str, Callable[[], Optional[Dict[str, Any]]]] = {
        "status": lambda: None,
        "staged": lambda: rotation.stage(options["size"]),
        "scheduled": lambda: rotation.schedule(options["at"], options["hold"]),
        "switched": rotation.wait_for_switch,
        "committed": rotation.commit,
        "finished": rotation.finish,
        "rolled_back": lambda: rotation.roll_back(force=options["force"]),
    }
    return steps[options["state"]]()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"choices": STATES, "required": True},
            "rotation": {"type": "str", "default": ""},
            "path": {"type": "path", "default": "/etc/munge/munge.key"},
            "service": {"type": "str", "default": "munge"},
            "at": {"type": "float"},
            "hold": {"type": "int", "default": 120},
            "size": {"type": "int", "default": 1024},
            "force": {"type": "bool", "default": False},
        },
        required_if=[("state", "scheduled", ["at"])],
        supports_check_mode=True,
    )
    options = module.params
    rotation = KeyRotation(options["path"], options["service"], options["rotation"], check_mode=module.check_mode)
    if not (options["rotation"] or options["state"] == "status" or options["force"]):
        message = f"rotation must be stated for state {options['state']}."
        fail(module, Failure(Code.REQUEST_INVALID, message))
    try:
        result = take_step(rotation, options)
        module.exit_json(changed=rotation.changed, **rotation.status(), **(result or {}))
    except FailureError as error:
        fail(module, error.failure, **rotation.status())
    except OSError as problem:
        remedy = remedy_for(problem.errno, os.path.dirname(options["path"]))
        fail(module, Failure(Code.FILE_NOT_WRITTEN, str(problem), remedy))


if __name__ == "__main__":
    main()
