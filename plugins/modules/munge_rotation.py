#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: one host's part in changing a cluster's munge key."""

from __future__ import annotations

DOCUMENTATION = r"""
module: munge_rotation
short_description: Change the munge key of a cluster at one moment, with a way back that needs nobody
version_added: "0.1.0"
description:
  - All hosts of a cluster must change their key together. So the new key is laid beside the old one everywhere first;
    then every host is given the same time at which it changes by itself; and after a while it changes back by itself,
    unless it is told that all is well. A host that is lost on the way, or whose control machine dies, ends with the old
    key.
  - What happens is done by a transient unit of systemd, C(slurmscale-munge-rotation), which this module starts and
    stops.
  - The steps are V(made) on one host, V(armed) on each host that has the new key, V(changed), then V(proved), then
    V(kept) on each host when all of them were proved; V(old) in any case of doubt.
author:
  - The slurmscale authors
options:
  state:
    description:
      - V(made) makes a new key beside the old one, on one host.
      - V(armed) starts the unit that changes the key at O(at), and back O(hold) seconds later.
      - V(changed) waits until the unit has changed the key, and tells when munged answered again.
      - V(proved) stops the unit, so that the new key stays. The old one is still there.
      - V(kept) removes the old key for good.
      - V(old) stops the unit, puts the old key back where it was changed, and removes the new one.
    type: str
    choices: [made, armed, changed, proved, kept, old]
    required: true
  path:
    description: The key. The new one lies beside it with C(.new), the old one with C(.old).
    type: path
    default: /etc/munge/munge.key
  service:
    description: The unit of munged, without C(.service).
    type: str
    default: munge
  at:
    description: Seconds since 1970 at which the key is changed, for V(armed).
    type: float
  hold:
    description: Seconds after O(at) until the old key comes back by itself, for V(armed).
    type: int
    default: 120
  size:
    description: Bytes of the new key, for V(made).
    type: int
    default: 1024
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
- name: Change the key in ten seconds, and back in two minutes unless told otherwise
  ai_infra.slurm.munge_rotation:
    state: armed
    at: "{{ now(utc=true).timestamp() + 10 }}"

- name: Go back to the old key
  ai_infra.slurm.munge_rotation:
    state: old
"""

RETURN = r"""
active:
  description: Which key munged works with now, V(old) or V(new).
  returned: success
  type: str
sha256:
  description: Fingerprint of the key in place.
  returned: success
  type: str
began:
  description: When the host began to change the key, seconds since 1970.
  returned: for O(state=changed)
  type: float
answered:
  description: When its munged answered with the new key.
  returned: for O(state=changed)
  type: float
credential:
  description: A credential made with the new key, for a proof on another host. Call it with C(no_log).
  returned: for O(state=changed)
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.munge.rotation import Rotation, RotationError


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"choices": ["made", "armed", "changed", "proved", "kept", "old"], "required": True},
            "path": {"type": "path", "default": "/etc/munge/munge.key"},
            "service": {"type": "str", "default": "munge"},
            "at": {"type": "float"},
            "hold": {"type": "int", "default": 120},
            "size": {"type": "int", "default": 1024},
        },
        required_if=[("state", "armed", ["at"])],
        supports_check_mode=True,
    )
    options = module.params
    rotation = Rotation(options["path"], options["service"], check_mode=module.check_mode)
    arguments = {"made": (options["size"],), "armed": (options["at"], options["hold"])}.get(options["state"], ())
    try:
        result = getattr(rotation, options["state"])(*arguments)
        module.exit_json(changed=rotation.touched, **rotation.seen(), **(result or {}))
    except (RotationError, OSError) as problem:
        module.fail_json(msg=str(problem))


if __name__ == "__main__":
    main()
