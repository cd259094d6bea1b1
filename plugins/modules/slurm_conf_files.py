#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module slurm_conf_files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_conf_files
short_description: Read the files that every node of a cluster without configless mode needs
version_added: "0.1.0"
description:
  - Reads slurm.conf on the controller, what it includes, and the files beside it that slurmd and the commands read.
    These are those that Slurm itself passes on in configless mode. Keys and slurmdbd.conf are never among them.
  - Changes nothing. Call it with C(no_log), as the result holds the contents of files that not everybody may read.
author:
  - The slurmscale authors
options:
  conf:
    description: The controller's slurm.conf. By default the one that slurmctld was started with.
    type: path
  timeout:
    description: Seconds to wait for each answer of slurmctld.
    type: int
    default: 20
extends_documentation_fragment: [ai_infra.slurm.read_only]
attributes:
  platform:
    description: The systems it runs on.
    support: full
    platforms: posix
"""

EXAMPLES = r"""
- name: Read the configuration
  ai_infra.slurm.slurm_conf_files:
  no_log: true
  register: conf

- name: Bring it to this node
  ai_infra.slurm.slurm_node_files:
    directories: [{path: /etc/slurm}]
    files: "{{ conf.files }}"
"""

RETURN = r"""
files:
  description: >-
    The files, as M(ai_infra.slurm.slurm_node_files) takes them - path (relative to the directory of slurm.conf,
    absolute for an included file elsewhere), content_base64, mode, and secret for one that not everybody may read.
  returned: success
  type: list
  elements: dict
  sample: [{"path": "slurm.conf", "content_base64": "Li4u", "mode": "0644", "secret": false}]
nodes:
  description: Names of all nodes that slurmctld knows now.
  returned: success
  type: list
  elements: str
failure:
  description: Why the module failed - code, reason and remedy.
  returned: failure
  type: dict
edited:
  description: What Slurm says when the files are other ones than slurmctld works with; empty when it works with these.
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.installation import use_installation
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.shared_conf_files import collect
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError, fail
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "conf": {"type": "path"},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    conf, timeout = use_installation(module.params["conf"]).conf, module.params["timeout"]
    try:
        files = collect(conf)
        nodes = sorted(commands.show_nodes(timeout, conf))
        compared = commands.show_config(timeout, conf).get("HASH_VAL", "")
    except FailureError as problem:
        fail(module, problem.failure)
    except OSError as problem:
        fail(module, Failure(Code.CONFIGURATION_UNREADABLE, f"A file of the configuration can't be read: {problem}."))
    edited = compared if compared.startswith("Different") else ""
    module.exit_json(changed=False, files=files, nodes=nodes, edited=edited)


if __name__ == "__main__":
    main()
