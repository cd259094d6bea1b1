#!/usr/bin/python
# Apache License 2.0 (see LICENSE)
"""Entry point of the module slurm_nodes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_nodes
short_description: Add compute nodes to a Slurm controller, or remove them
version_added: 0.1.0
description:
  - Keeps the nodes that slurmscale manages in C(slurmscale-nodes.conf) beside slurm.conf, which includes it. Nodes
    that stand anywhere else are left exactly as they are.
  - One run under a lock does it all - merge, let Slurm's own parsers read a candidate, back up, replace, apply and
    verify that slurmctld answers and knows all nodes, twice within some seconds.
  - When slurmctld does not work with the new configuration, or the module is stopped, the old one is put back and
    slurmctld is running again before the module fails. The next run finds one that was killed, and recovers from it.
  - slurmctld must answer before anything is changed.
  - C(scontrol reconfigure) applies the change where Slurm's version can (O(apply)). Else slurmctld is restarted once;
    then C(scontrol reconfigure) gives configless nodes the new files. Running jobs go on.
  - A restart would also make active what somebody else edited in slurm.conf since slurmctld read it, with no way back.
    So it is refused then. Where Slurm itself keeps the old slurmctld when the new one fails, this is a warning.
author:
  - slurmscale contributors
options:
  conf:
    description: The controller's slurm.conf. By default the one that slurmctld was started with.
    type: path
  nodes:
    description: The nodes to add, to update or to remove.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The node's name, one plain host name.
        type: str
        required: true
      params:
        description:
          - Parameters of its NodeName line, such as CPUs, Sockets, RealMemory, Features, Gres or NodeAddr.
          - Those given are set, an empty value removes one, others stay. State is UNKNOWN unless given.
        type: dict
        default: {}
      gres_lines:
        description:
          - Its lines for gres.conf; NodeName is put before those that lack it. An empty list removes them.
          - Without this option its lines stay as they are.
        type: list
        elements: str
      switch:
        description:
          - The switch or block of C(topology.conf) to which a node is added that stands in none.
          - Needed for a new node where C(TopologyPlugin) is tree or block, unless it stands in that file already.
        type: str
  state:
    description: Whether slurmctld shall know the nodes. Nodes that run jobs are not removed but refused.
    type: str
    choices: [present, absent]
    default: present
  partitions:
    description:
      - Partitions that must take the nodes. One that does not by C(Nodes=ALL), a NodeSet or by name gets the NodeSet
        C(slurmscale) appended to its C(Nodes), once and for all later nodes.
      - When empty, some partition must already take each new node.
    type: list
    elements: str
    default: []
  apply:
    description:
      - How slurmctld takes the change. V(auto) is reconfigure where Slurm's version takes nodes by it, else restart.
      - V(reconfigure) is refused where slurmctld would exit by it, with the version that it takes.
    type: str
    choices: [auto, reconfigure, restart]
    default: auto
  service:
    description: The unit of slurmctld, without C(.service). By default that of the slurmctld that runs, else slurmctld.
    type: str
  timeout:
    description: Seconds within which slurmctld has to answer again.
    type: int
    default: 60
  allow_controller:
    description:
      - Lets the host on which slurmctld runs become a compute node of it, which is refused otherwise.
      - One that is a node already stays one.
    type: bool
    default: false
  renew_addresses:
    description:
      - Nodes whose machine may have another address than slurmctld remembers, such as one that was installed anew. Of
        those that it knows, and of all O(nodes) that do not answer it, slurmctld resolves the address again.
      - When slurmctld reads its configuration anyway, it does so by itself.
    type: list
    elements: str
    default: []
  skip_refused:
    description:
      - Leaves out nodes that are refused, such as two with one name or one whose parameters Slurm does not take, and
        registers the others. RV(refused) tells why.
      - Otherwise nothing is changed when one is refused.
    type: bool
    default: false
  backups:
    description: How many backup controllers get RV(files), too, so that no warning is needed for them.
    type: int
    default: 0
  digest:
    description:
      - What a run in check mode returned as RV(digest). Nothing is changed when this run would change something else,
        because another run came between.
    type: str
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
  - Needs root, Slurm 20.02 or later and, for a restart, systemd.
  - The last 5 backups stay in C(slurmscale-backup) beside slurm.conf.
"""

EXAMPLES = r"""
- name: Add two nodes
  ai_infra.slurm.slurm_nodes:
    nodes:
      - name: node07
        params: {CPUs: 64, RealMemory: 250000}
      - name: node08
        params: {CPUs: 64, RealMemory: 250000, Gres: "gpu:a100:2"}
        gres_lines: ["Name=gpu Type=a100 File=/dev/nvidia[0-1]"]

- name: Let a partition with a list of nodes take them, too
  ai_infra.slurm.slurm_nodes:
    nodes: [{name: node07}]
    partitions: [batch]

- name: Remove a drained node
  ai_infra.slurm.slurm_nodes:
    nodes: [{name: node07}]
    state: absent
"""

RETURN = r"""
action:
  description: How slurmctld took the change; in check mode how it would take it.
  returned: success
  type: str
  sample: reconfigure
backup:
  description: Directory of the backup, or null when no file was replaced.
  returned: success
  type: str
added:
  description: Names new in slurmscale-nodes.conf.
  returned: success
  type: list
  elements: str
updated:
  description: Names whose parameters or lines in gres.conf changed.
  returned: success
  type: list
  elements: str
removed:
  description: Names removed.
  returned: success
  type: list
  elements: str
refused:
  description: Why nodes were left out, by name, each with code, reason and remedy. Empty without O(skip_refused).
  returned: success
  type: dict
  sample: {"node09": {"code": "node-address-shared", "reason": "node09 and node08 are one machine.", "remedy": "…"}}
renewed:
  description: Names of nodes whose addresses slurmctld was made to resolve again.
  returned: success
  type: list
  elements: str
kept:
  description: Names that were left alone because they are defined by others, each with where and what differs.
  returned: success
  type: dict
nodes_before:
  description: All nodes that slurmctld knew.
  returned: success
  type: list
  elements: str
nodes_after:
  description: All nodes that slurmctld knows now.
  returned: success
  type: list
  elements: str
recovered:
  description: What was done about an earlier run that had been killed; empty when there was none.
  returned: success
  type: str
files:
  description:
    - All files of the configuration, each with path, and its text before and after; null when there is none.
    - Empty when the cluster has one controller.
  returned: success
  type: list
  elements: dict
  sample: [{"path": "/etc/slurm/slurmscale-nodes.conf", "before": null, "after": "NodeName=…"}]
digest:
  description: Checksum of what changes in the files.
  returned: success
  type: str
lock_note:
  description: What this run wrote into the lock file beside slurm.conf; empty in check mode.
  returned: success
  type: str
message:
  description: What was done, in a line.
  returned: success
  type: str
failure:
  description: Why the module failed - code, reason and remedy.
  returned: failure
  type: dict
restored:
  description: Whether slurmctld answers with the previous configuration.
  returned: when the new configuration did not work
  type: bool
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_transaction import (
    ApplyError,
    InterruptedBySignal,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.installation import use_installation
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.node_registration import Options, run
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError, fail
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.write_errors import remedy_for

NODE = {
    "name": {"type": "str", "required": True},
    "params": {"type": "dict", "default": {}},
    "gres_lines": {"type": "list", "elements": "str"},
    "switch": {"type": "str"},
}
ARGUMENTS = {
    "conf": {"type": "path"},
    "nodes": {"type": "list", "elements": "dict", "required": True, "options": NODE},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "partitions": {"type": "list", "elements": "str", "default": []},
    "apply": {"type": "str", "choices": ["auto", "reconfigure", "restart"], "default": "auto"},
    "service": {"type": "str"},
    "timeout": {"type": "int", "default": 60},
    "allow_controller": {"type": "bool", "default": False},
    "renew_addresses": {"type": "list", "elements": "str", "default": []},
    "skip_refused": {"type": "bool", "default": False},
    "backups": {"type": "int", "default": 0},
    "digest": {"type": "str"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    installation = use_installation(module.params["conf"], module.params["service"])
    options = Options(**dict(module.params, conf=installation.conf, service=installation.service))
    try:
        result = run(options, check_mode=module.check_mode)
    except ApplyError as problem:
        fail(module, problem.failure, restored=problem.restored)
    except InterruptedBySignal as stopped:
        reason = f"{stopped}; the previous configuration is back."
        fail(module, Failure(Code.CHANGE_INTERRUPTED, reason, "Run again."), restored=True)
    except FailureError as problem:
        fail(module, problem.failure)
    except OSError as problem:
        reason = f"Nothing was changed, as a file can't be read or written: {problem}."
        remedy = remedy_for(problem.errno, os.path.dirname(options.conf)) or "Correct that, then run again."
        fail(module, Failure(Code.CONFIGURATION_NOT_WRITTEN, reason, remedy))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
