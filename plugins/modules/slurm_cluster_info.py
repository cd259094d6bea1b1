#!/usr/bin/python
# Apache License 2.0 (see LICENSE)
"""Entry point of the module slurm_cluster_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_cluster_info
short_description: Gather facts of a Slurm cluster from its controller
version_added: 0.1.0
description:
  - Returns in one run what scaling decides on - version, settings, controllers, nodes, partitions, the users and
    files that nodes must have alike, and how slurmctld was started.
  - Works when slurmctld does not answer, and when it isn't installed; C(cluster.answering) is then false,
    C(cluster.message) says why and what to do, and what files and systemd tell is still returned.
  - Changes nothing of the cluster, and never returns the content of a key. What earlier modules left in the directories
    for temporary files when they were killed is removed, outside of check mode.
author:
  - slurmscale contributors
options:
  conf:
    description:
      - The cluster's slurm.conf.
      - By default what slurmctld was started with, by C(-f) or by C(SLURM_CONF), else C(etc/slurm.conf) beside its
        program's directory, V(/etc/slurm/slurm.conf), or V(/etc/slurm-llnl/slurm.conf).
    type: path
  service:
    description: The unit of slurmctld, without C(.service). By default that of the slurmctld that runs, else slurmctld.
    type: str
  munge_key:
    description: The key whose fingerprint is returned.
    type: path
    default: /etc/munge/munge.key
  credentials:
    description:
      - Munge credentials made on nodes, by node. Each is decoded here, which shows that keys and clocks agree.
      - With it, only C(credentials) is returned.
    type: dict
  control_time:
    description: >-
      The control machine's clock in seconds since 1970 when the module was called. Returned as it is, so that clocks
      can be compared whenever the facts of the hosts are gathered.
    type: float
  resolve:
    description:
      - Names that the controller's resolver is asked for.
      - With it or O(connect), only C(network) is returned.
    type: list
    elements: str
  connect:
    description: TCP ports that are tried from the controller, each as HOST:PORT.
    type: list
    elements: str
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
- name: Gather facts of the cluster
  ai_infra.slurm.slurm_cluster_info:
  register: controller

- name: Stop when the controller does not answer
  ansible.builtin.assert:
    that: controller.cluster.answering
    fail_msg: "{{ controller.cluster.message }}"
"""

RETURN = r"""
removed:
  description: What modules had left which were killed, and that was removed.
  returned: with C(cluster)
  type: list
  elements: str
  sample: ["/tmp/ansible_slurm_nodes_payload_u3k1v9x0"]
credentials:
  description: >-
    By node whether its credential was decoded (ok), the message of munge, and failure, with code, reason and remedy,
    or null.
  returned: when O(credentials) is given
  type: dict
  sample: {"n1": {"ok": true, "message": "Success (0)"}}
network:
  description: >-
    resolve, for each of O(resolve) its addresses; connect, for each of O(connect) state (open, refused, filtered,
    unresolved) and message.
  returned: when O(resolve) or O(connect) is given
  type: dict
  sample: {"resolve": {"n1": ["10.0.0.3"]}, "connect": {"n1:6818": {"state": "open", "message": "it answers"}},
    "urls": {}}
cluster:
  description: The cluster as its controller sees it.
  returned: unless one of O(credentials), O(resolve) and O(connect) is given
  type: dict
  contains:
    answering:
      description: Whether slurmctld answers. When not, C(nodes) is empty and settings come from the files.
      type: bool
    message:
      description: Why it does not answer, with the last journal lines, and what to do; empty when it answers.
      type: str
    failure:
      description: The same as code, reason and remedy; null when it answers.
      type: dict
    version:
      description: Version of slurmctld, or empty when it isn't installed.
      type: str
      sample: 24.11.5
    name:
      description: ClusterName.
      type: str
    cluster_name:
      description: ClusterName, too.
      type: str
    conf_file:
      description: The slurm.conf.
      type: str
    environment:
      description: >-
        Variables with which Slurm's commands work on this host - PATH and, where slurm.conf was found, SLURM_CONF.
      type: dict
      sample: {"PATH": "/opt/slurm/bin:/usr/bin:/bin", "SLURM_CONF": "/opt/slurm/etc/slurm.conf"}
    conf_dir:
      description: Its directory, with links followed.
      type: str
    configless:
      description: Whether SlurmctldParameters has enable_configless.
      type: bool
    port:
      description: Port of slurmctld.
      type: int
    slurmd_port:
      description: Port of slurmd.
      type: int
    controllers:
      description: The controllers, the primary first, with all addresses by which others may name them.
      type: list
      elements: dict
      sample: [{"host": "ctl1", "mode": "primary", "up": true, "addresses": ["10.0.0.2"]}]
    config:
      description: Settings that other steps decide on, with the names of C(scontrol show config).
      type: dict
    node_programs:
      description: >-
        Programs and plugins that nodes must have where the configuration says, by what names them - Prolog, Epilog,
        TaskProlog, TaskEpilog, HealthCheckProgram and what plugstack.conf requires.
      type: dict
      sample: {"TaskProlog": "/opt/site/task_prolog"}
    nodes:
      description:
        - The nodes by name. C(defined_in) is the file and line of the node, empty for a dynamic node; C(managed) tells
          whether that file is the one in which slurmscale keeps its nodes.
      type: dict
      sample:
        n1: {"state": ["IDLE"], "reason": "", "partitions": ["main"], "cpus": 2, "real_memory": 1000, "addr": "n1",
             "version": "24.11.5", "features": [], "dynamic": false,
             "defined_in": "/etc/slurm/slurmscale-nodes.conf line 3", "managed": true}
    registered:
      description: >-
        Of each node that M(ai_infra.slurm.slurm_nodes) keeps its parameters, as they stand in its file, and its lines
        of gres.conf.
      type: dict
      sample: {"n1": {"params": {"CPUs": "2", "State": "UNKNOWN"}, "gres_lines": []}}
    gres_autodetect:
      description: >-
        How slurmd is to find GPUs by the administrator's lines of gres.conf, AutoDetect in lower case, by node; under
        an empty name what holds for all others.
      type: dict
      sample: {"": "nvml", "n1": "off"}
    interrupted:
      description: Whether a run of M(ai_infra.slurm.slurm_nodes) was killed, of which the next one has to recover.
      type: bool
    partitions:
      description: The partitions by name.
      type: dict
      sample: {"main": {"nodes": "n[1-2]", "default": true, "state": "UP", "total_nodes": 2}}
    reservations:
      description: Reservations of nodes by name, also those to come.
      type: dict
      sample: {"upkeep": {"nodes": ["n1"], "state": "ACTIVE", "start": "2026-01-01T00:00:00", "end": "Unknown"}}
    users:
      description: The users SlurmUser (as C(slurm)) and munge with their uid, gid, group and name, or null.
      type: dict
    slurm_user:
      description: SlurmUser's name.
      type: str
    munge_key:
      description: The munge key's path, exists, sha256, mode, owner and group.
      type: dict
    daemon:
      description: The unit's state and the process - unit, load, active, sub, enabled, fragment, result, restarts,
        invocation, main_pid, args, foreground (started with -D), systemd (with --systemd), started (epoch).
      type: dict
    time:
      description: The controller's clock, seconds since the epoch.
      type: float
    control_time:
      description: What was given as O(control_time).
      type: float
    addresses:
      description: The controller's hostname, fqdn and ips.
      type: dict
    os:
      description: The operating system of this controller, of its os-release - id, version_id, and pretty for people.
      type: dict
      sample: {"id": "ubuntu", "version_id": "24.04", "pretty": "Ubuntu 24.04.1 LTS"}
    files:
      description: Fingerprint, mode, owner and group of the configuration files beside slurm.conf, by name.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.cluster_facts import MUNGE_KEY, describe
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.installation import use_installation
from ansible_collections.ai_infra.slurm.plugins.module_utils.munge.credentials import decode
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.leftover_files import remove_remains
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.network import NetworkProbe


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "conf": {"type": "path"},
            "service": {"type": "str"},
            "munge_key": {"type": "path", "default": MUNGE_KEY, "no_log": False},
            "credentials": {"type": "dict", "no_log": True},
            "control_time": {"type": "float"},
            "resolve": {"type": "list", "elements": "str"},
            "connect": {"type": "list", "elements": "str"},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    options = module.params
    if options["credentials"] is not None:
        decoded = {node: decode(credential) for node, credential in options["credentials"].items()}
        module.exit_json(changed=False, credentials=decoded)
    if options["resolve"] is not None or options["connect"] is not None:
        module.exit_json(changed=False, network=NetworkProbe(options["resolve"], options["connect"]).result())
    removed = [] if module.check_mode else remove_remains()
    installation = use_installation(options["conf"], options["service"])
    cluster = describe(installation, options["munge_key"], options["timeout"])
    module.exit_json(changed=False, removed=removed, cluster=dict(cluster, control_time=options["control_time"]))


if __name__ == "__main__":
    main()
