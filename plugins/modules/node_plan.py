#!/usr/bin/python
# Apache License 2.0 (see LICENSE)
"""Documentation of the action node_plan: what has to be done to make a machine a node, or why it can't be one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_plan
short_description: Plan what makes a machine a compute node
version_added: "0.1.0"
author: The slurmscale authors
description:
  - Compares what was measured on the machine, its controller and AppHub with what is stated, and returns whether the
    machine can be a node, as what it is registered, and which steps it needs.
  - Fails when the machine can't be a node; the result then holds C(failure) and C(failures), too.
  - Reads the variables C(preflight_node) of the machine, C(preflight_cluster) of the controller, and
    C(apphub_client_catalog) and C(scale_common_checks) of localhost; with O(write_hosts) C(preflight_addresses), too.
    Runs on the control machine only, and connects to nothing.
options:
  controller:
    description: The controller in the inventory.
    type: str
    required: true
  name:
    description: The node's name in Slurm.
    type: str
    required: true
  version:
    description: The version of Slurm to install, whole (V(24.11.5-4)) or its beginning (V(24.11)).
    type: str
    default: ""
  registration:
    description: V(static), or V(dynamic) for a node that registers by itself.
    type: str
    default: static
  dynamic:
    description: Whether slurmd registers the node by itself.
    type: bool
    default: false
  defined:
    description: The definition of the node and what is wrong with it, as the filter node_definition returns them.
    type: dict
  thresholds:
    description: What the machine must keep to - max_skew, min_free_mb and min_memory_mb.
    type: dict
    default: {}
  take_over:
    description: Whether a machine of another cluster may be taken when no job runs on it.
    type: bool
    default: false
  checks:
    description: Which checks are made.
    type: list
    elements: str
    choices: [readiness, registration, definition, packages]
    default: [readiness, registration, definition, packages]
  repository:
    description: The repository of AppHub for the machine, such as V(rpm/el9). Without one, packages are not checked.
    type: str
    default: ""
  packages:
    description: Names of the packages that the machine needs.
    type: list
    elements: str
    default: []
  open_firewall:
    description: Whether firewalld or ufw of the machine will be opened for the cluster, and need not be open now.
    type: bool
    default: false
  write_hosts:
    description: Whether names of the cluster that the machine does not resolve will be written to its C(/etc/hosts).
    type: bool
    default: false
  beside:
    description: Ids of repositories of dnf that the machine is to have beside AppHub.
    type: list
    elements: str
    default: []
  steps:
    description: The steps that the roles need, in their order.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [ai_infra.slurm.local_action]
"""
EXAMPLES = r"""
- name: Plan the node
  ai_infra.slurm.node_plan:
    controller: ctl1
    name: node07
    version: "24.11"
    defined: "{{ preflight_node.hardware | ai_infra.slurm.node_definition('node07') }}"
    steps: "{{ munge_steps + slurmd_steps }}"
  register: slurmd_plan
"""
RETURN = r"""
ready:
  description: Whether the machine can be a node.
  returned: always
  type: bool
findings:
  description: One entry per check with the keys check, code, ok, needed, found, reason and remedy.
  returned: always
  type: list
  elements: dict
definition:
  description: What is registered - name, params and gres_lines. Null when the machine can't be defined.
  returned: always
  type: dict
  sample: {"name": "node07", "params": {"CPUs": 64, "RealMemory": 251860}, "gres_lines": []}
steps:
  description: >-
    What has to be done - O(steps), after V(hosts) when C(/etc/hosts) lacks a name. Empty for a node that is right, and
    for one that is not ready.
  returned: always
  type: list
  elements: str
  sample: [repository, packages, accounts, key, munge, configuration, slurmd]
hosts:
  description: The names and addresses that C(/etc/hosts) has, or is to get by the step hosts, from the role slurmd.
  returned: always
  type: dict
  sample: {"ctl1": "10.0.0.2", "node08": "10.0.0.8"}
failure:
  description: The first failure, with the keys code, reason and remedy.
  returned: failure
  type: dict
failures:
  description: All failures.
  returned: failure
  type: list
  elements: dict
"""
