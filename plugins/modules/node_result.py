#!/usr/bin/python
# Apache License 2.0 (see LICENSE)
"""Documentation of the action node_result: how a run ended for one node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_result
short_description: End a run for one node, as done or as failed with its reason
version_added: "0.1.0"
author: The slurmscale authors
description:
  - Is the only task of the last play of every playbook that works on nodes. A node that has a result of it came to the
    end of the run; programs that follow the events of Ansible take it as the end of the node.
  - Fails with the failure that was recorded for the node, so that Ansible's recap and exit status count it.
options:
  failure:
    description: The failure that was recorded for the node, with code, reason and remedy; empty when the node is done.
    type: dict
extends_documentation_fragment: [ai_infra.slurm.local_action]
"""
EXAMPLES = r"""
- name: Report the result of the node
  ai_infra.slurm.node_result:
    failure: "{{ scale_failure | default(omit, true) }}"
"""
RETURN = r"""
failure:
  description: The failure, with the keys code, reason and remedy.
  returned: failure
  type: dict
"""
