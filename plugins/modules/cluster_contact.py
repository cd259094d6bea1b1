#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action cluster_contact."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_contact
short_description: Find out, stage by stage, whether the controller of a cluster can be used, and describe the cluster
version_added: "0.1.0"
author: The slurmscale authors
description:
  - Goes from the name of a controller to its cluster - C(resolve) its name, C(tcp) to its port, C(hostkey), C(auth),
    C(sudo) when Ansible is to become another user, and C(slurm), which M(ai_infra.slurm.slurm_cluster_info) describes.
  - A stage that fails ends it and is the result; the task itself does not fail.
  - Changes nothing. A host key that is not known is not accepted and not stored; its fingerprint is returned, to be
    compared by somebody and given as O(fingerprint).
  - The first three stages are left to ssh where the host is reached by another host or not by ssh.
options:
  fingerprint:
    description: Fingerprint of the host key, as somebody has compared it. Only this key is accepted then.
    type: str
    default: ""
  strict:
    description: Require a known or confirmed host key also where Ansible's setting host_key_checking is off.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for each answer.
    type: int
    default: 15
attributes:
  action:
    description: Runs on the control machine as an action, which runs a module on the host.
    support: full
  check_mode:
    description: Does the same as without check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no diff.
    support: N/A
"""
EXAMPLES = r"""
- name: Look at the cluster
  ai_infra.slurm.cluster_contact:
    fingerprint: SHA256:0Vq7cqrV4wXbcrhHPAK8VvwV6a6jd9C3qKx1xCJr2lQ
  register: contact
"""
RETURN = r"""
success:
  description: Whether all stages passed.
  returned: always
  type: bool
stage:
  description: The last stage that was tried.
  returned: always
  type: str
  sample: slurm
stages:
  description: Of each stage that was tried its name, whether it is ok, what was found, and the error.
  returned: always
  type: list
  elements: dict
  sample: [{"stage": "resolve", "ok": true, "found": "10.0.0.2", "error": null}]
error:
  description: Of the stage that failed code, reason and remedy; null when none did.
  returned: always
  type: dict
fingerprint:
  description: Fingerprint of the host key that is trusted, or else of the first one that the host shows.
  returned: always
  type: str
host_keys:
  description: The host keys that are trusted, as lines of a known_hosts file.
  returned: always
  type: list
  elements: str
info:
  description: >-
    What the cluster is - cluster_name, version, conf_file, configless, port, slurm_user, controllers, partitions, nodes
    (state and reason by name), states (how many nodes are in each), accounting, auth, munge_key (whether there is
    one); null unless all stages passed.
  returned: always
  type: dict
"""
