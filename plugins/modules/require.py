#!/usr/bin/python
# Apache License 2.0 (see LICENSE)
"""Documentation of the action require: fails with a code, a reason and a remedy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: require
short_description: Require something, or fail with a code, a reason and a remedy
version_added: "0.1.0"
author: The slurmscale authors
description:
  - Fails when O(that) is false or O(findings) is not empty. The result holds C(failure) and C(failures) for programs.
  - Works like M(ansible.builtin.assert), with a failure that has a code. Runs on the control machine only.
options:
  that:
    description: What must be true.
    type: bool
    default: true
  code:
    description: The code of the failure when O(that) is false; one of docs/reference/reasons.md.
    type: str
  reason:
    description: What is needed and what was found, as a sentence.
    type: str
  remedy:
    description: What to do, as a sentence.
    type: str
  findings:
    description: Failures that were found elsewhere, each with code, reason and remedy; empty ones are passed over.
    type: list
    elements: dict
    default: []
extends_documentation_fragment: [ai_infra.slurm.local_action]
"""
EXAMPLES = r"""
- name: Require a controller in the inventory
  ai_infra.slurm.require:
    that: "{{ groups['slurm_controllers'] | default([]) | length > 0 }}"
    code: request-invalid
    reason: The group slurm_controllers is empty or missing.
    remedy: Put the cluster's controller into it, the primary one first.
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
