#!/usr/bin/python
# Apache License 2.0 (see LICENSE)
"""Documentation of the action validate_variables: what is stated of all hosts, compared with the roles' specs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_variables
short_description: Validate the variables of all hosts of a run at once
version_added: "0.1.0"
author: The slurmscale authors
description:
  - Compares what is stated of each host with the argument specs of roles of this collection, and fails when a value is
    not what a role can take. Names the hosts, one failure for all that state the same.
  - Does once what every role would do for itself on every host. Runs on the control machine only.
options:
  roles:
    description: Names of roles of this collection, or patterns of names, such as V(slurmd-*).
    type: list
    elements: str
    required: true
  hosts:
    description: Names of hosts in the inventory.
    type: list
    elements: str
    required: true
extends_documentation_fragment: [ai_infra.slurm.local_action]
"""
EXAMPLES = r"""
- name: Validate the variables of the nodes
  ai_infra.slurm.validate_variables:
    roles: [preflight, slurmd]
    hosts: "{{ groups['slurm_nodes'] }}"
"""
RETURN = r"""
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
