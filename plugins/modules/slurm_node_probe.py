#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module slurm_node_probe."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: slurm_node_probe
short_description: Gather facts of a machine that is or is to become a compute node
version_added: "0.1.0"
description:
  - Returns in one module run everything on which making the machine a compute node of a Slurm cluster depends, so
    that later steps need not ask again.
  - Changes nothing on the machine; outside of check mode only what earlier modules left in the directories for
    temporary files when they were killed is removed, with what rpm left that was killed with them, and Ansible's
    directory for temporary files is made.
  - A thing that is missing is null, never an error, and each command that is run has a time limit.
  - Replaces fact gathering, at a fraction of its cost.
options:
  files:
    description: >-
      Files to describe. Their content is never returned, but SLURMD_OPTIONS in one of them is what a slurmd that does
      not run would be started with (C(membership)).
    type: list
    elements: path
    default: []
  words:
    description: Options of configuration files whose words are wanted. Nothing else in the files is returned.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      section:
        description: The section of the option.
        type: str
        required: true
      options:
        description: Names of the option. What all of them list is added up.
        type: list
        elements: str
        required: true
  munge_key:
    description: Where munge's key is. It is described like O(files); its checksum serves as its fingerprint.
    type: path
    default: /etc/munge/munge.key
  credential:
    description: Make a munge credential, which the controller can decode with C(unmunge) as a proof that keys agree.
    type: bool
    default: false
  disks:
    description: Paths whose free space is wanted. For a path that does not exist, where it would be made.
    type: list
    elements: path
    default: []
  control_time:
    description: >-
      The control machine's clock in seconds since 1970 when the module was called. Returned as it is, so that clocks
      can be compared whenever and wherever the facts are gathered.
    type: float
  address:
    description: Where Slurm looks for the machine. Returned as it is; the machine's own short name when empty.
    type: str
    default: ""
  state:
    description: The state of the node in Slurm when it works there already. Returned as it is.
    type: str
    default: ""
  controller:
    description: >-
      The controller in the inventory. What was gathered of its cluster (C(preflight_cluster)) says O(resolve),
      O(connect) and O(state), then. This and the two options below stay on the control machine.
    type: str
    default: ""
  name:
    description: Name of the machine in Slurm, with O(controller).
    type: str
    default: ""
  write_hosts:
    description: Whether /etc/hosts may be written, so that the machine is asked for all nodes, with O(controller).
    type: bool
    default: false
  timeout:
    description: Seconds to wait for each command.
    type: float
    default: 10
  resolve:
    description: Names that this machine's resolver is asked for.
    type: list
    elements: str
    default: []
  connect:
    description: TCP ports that are tried from this machine, each as HOST:PORT.
    type: list
    elements: str
    default: []
  urls:
    description: Web addresses that are asked from this machine.
    type: list
    elements: str
    default: []
  proxy:
    description: A proxy for O(urls). The environment's is not used.
    type: str
    default: ""
  network_timeout:
    description: Seconds for each of O(resolve), O(connect) and O(urls). They are checked all at once.
    type: float
    default: 4
attributes:
  check_mode:
    description: Tells the same, and removes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Gather the facts of the node
  ai_infra.slurm.slurm_node_probe:
    files: [/etc/default/slurmd]
    disks: [/var/spool, /var/cache]
  register: facts

- name: Refuse an unknown operating system
  ansible.builtin.assert:
    that: facts.os.supported
    fail_msg: "{{ facts.os.problem }}"
"""

RETURN = r"""
os:
  returned: always
  description: >-
    The operating system: id, version_id, codename, family (such as RedHat or Debian, or null), major, arch, pretty,
    supported, and, when it is not, the problem.
  type: dict
  sample: {"id": "rocky", "version_id": "9.4", "codename": null, "family": "RedHat", "major": 9, "arch": "x86_64",
    "pretty": "Rocky Linux 9.4 (Blue Onyx)", "supported": true, "problem": null}
python:
  returned: always
  description: Version of the Python that ran this.
  type: str
  sample: "3.9.18"
no_proxy:
  returned: always
  description: Hosts that the machine reaches without a proxy, from its environment.
  type: str
  sample: "localhost,.example.org"
uid:
  returned: always
  description: Effective uid; 0 is root.
  type: int
  sample: 0
hostname:
  returned: always
  description: What the machine calls itself.
  type: str
  sample: node1
fqdn:
  returned: always
  description: Its full name by its own resolver; null when that gave no answer within 2 seconds.
  type: str
  sample: node1.example.org
time:
  returned: always
  description: Its clock, in seconds since 1970.
  type: float
  sample: 1764000000.5
packages:
  returned: always
  description: >-
    Installed packages of Slurm and munge and their versions, whoever built them. Null when the package manager
    gave no answer.
  type: dict
  sample: {"munge": "0.5.13-13.el9", "slurm-slurmd": "22.05.9-1.el9"}
half_done:
  returned: always
  description: >-
    Packages that an installation left half done which was cut off: of dpkg any, of rpm those of Slurm and munge that
    are there in two versions. C(dpkg) itself when it was killed and has noted steps to finish, or has left the policy
    that keeps services from starting.
  type: list
  elements: str
  sample: [libhwloc15, slurmd]
firewall:
  returned: always
  description: >-
    C(name) of the firewall of the distribution that is on, firewalld or ufw, else empty; C(tcp), the ports and
    ranges that it lets everybody in at, now and after a boot; and C(ours), the ports of each rule of ufw that this
    collection has made. Of firewalld that zone counts in which the first of O(resolve) and O(connect) that has an
    address comes in, by its address or its interface, else the default one; it is C(zone), and C(ports) is what it lets
    in by number and not by a service.
  type: dict
  sample: {"name": "ufw", "tcp": ["22", "6818", "60001-63000"], "ours": ["6818,60001:63000"]}
hosts_file:
  returned: always
  description: The names that the role slurmd wrote to C(/etc/hosts), and their addresses.
  type: dict
  sample: {"ctl1": "10.0.0.2", "node08": "10.0.0.8"}
repositories:
  returned: always
  description: Repositories of dnf by their ids, and whether they are enabled.
  type: dict
  sample: {apphub: true, baseos: true, crb: false}
services:
  returned: always
  description: >-
    For munge, slurmd and slurmctld what systemd says: load, active, enabled, fragment (the unit file), main_pid,
    result. What is empty is null; a service that systemd could not be asked for is null.
  type: dict
  sample: {"munge": {"load": "loaded", "active": "active", "enabled": "enabled",
    "fragment": "/usr/lib/systemd/system/munge.service", "main_pid": 411, "result": "success"}}
users:
  returned: always
  description: Uid, gid, group and home of the users slurm and munge, or null.
  type: dict
  sample: {"slurm": null, "munge": {"uid": 991, "gid": 991, "group": "munge", "home": "/var/run/munge"}}
groups:
  returned: always
  description: Gids of the groups slurm and munge, or null.
  type: dict
  sample: {"slurm": null, "munge": 991}
account_ids:
  returned: always
  description: uids and gids - who has which number by the machine's own files, each as a dict of numbers and names.
  type: dict
  sample: {"uids": {"0": "root", "991": "munge"}, "gids": {"0": "root", "991": "munge"}}
files:
  returned: always
  description: >-
    For each of O(files) and O(munge_key): exists, kind (file, directory, other), link, sha256, mode, owner, group,
    uid, gid. Links are followed.
  type: dict
  sample: {"/etc/munge/munge.key": {"exists": true, "kind": "file", "link": false, "sha256": "9f86d0…",
    "mode": "0400", "owner": "munge", "group": "munge", "uid": 991, "gid": 991}}
words:
  returned: always
  description: For each of O(words) what is listed.
  type: dict
  sample: {"/etc/dnf/dnf.conf": ["slurm*", "munge*"]}
hardware:
  returned: always
  description: >-
    source (slurmd or kernel), cpus, boards, sockets, cores_per_socket, threads_per_core, real_memory in MB, and
    gres, a list of name, type, count and files, and where a GPU is divided (MIG) instances, the files of each;
    autodetect, how slurmd found the GPUs (nvml or nvidia), or null; nvml_plugin_missing, whether slurmd would not
    start with AutoDetect=nvml.
  type: dict
  sample: {"source": "slurmd", "cpus": 64, "boards": 1, "sockets": 2, "cores_per_socket": 16,
    "threads_per_core": 2, "real_memory": 257000,
    "gres": [{"name": "gpu", "type": "a100", "count": 2, "files": ["/dev/nvidia0", "/dev/nvidia1"]}],
    "autodetect": "nvidia", "nvml_plugin_missing": false}
slurm_version:
  returned: always
  description: Version of the installed slurmd, or null.
  type: str
  sample: "24.11.5"
slurmd_args:
  returned: always
  description: Command line of the running slurmd as a list, or null.
  type: list
  elements: str
  sample: ["/usr/sbin/slurmd", "--systemd", "--conf-server", "ctl1:6817"]
membership:
  returned: always
  description:
    - The cluster that the machine belongs to already, and what uses it. A machine of another cluster is recognised
      by it before anything is changed.
    - slurmd_running; slurmd_options (of the running slurmd, else those it is configured to start with); conf_server
      (from which slurmd fetches its configuration, as it was stated) or null; slurm_conf (the file that it works
      with) or null; cluster_name in lower case or null; controllers (host names).
    - jobs (ids of the jobs that run here), job_processes (number of slurmstepd processes, also of those whose job
      is not told).
    - munge_running; munge_users (services, and programs outside a service, that have loaded munge's library,
      without slurmd and its jobs).
  type: dict
  sample: {"slurmd_running": true, "slurmd_options": ["--systemd", "--conf-server", "ctl1:6817"],
    "conf_server": "ctl1:6817", "slurm_conf": "/run/slurm/conf/slurm.conf", "cluster_name": "lab",
    "controllers": ["ctl1"], "jobs": ["12"], "job_processes": 1, "munge_running": true, "munge_users": []}
munge_credential:
  returned: always
  description: A credential made on this machine, when O(credential) and munge answered, else null.
  type: str
  sample: "MUNGE:AwQFAAC7Hts…:"
address:
  returned: always
  description: What was given as O(address), else the machine's own short name.
  type: str
  sample: node1
state:
  returned: always
  description: What was given as O(state).
  type: str
  sample: IDLE
control_time:
  returned: always
  description: What was given as O(control_time).
  type: float
  sample: 1764000000.1
disks:
  returned: always
  description: Free megabytes at each of O(disks).
  type: dict
  sample: {"/var/spool": 20480}
network:
  returned: always
  description: >-
    resolve, for each of O(resolve) its addresses; connect, for each of O(connect) state (open, refused, filtered,
    unresolved) and message; urls, for each of O(urls) ok and message.
  type: dict
  sample: {"resolve": {"ctl1": ["10.0.0.2"]}, "connect": {"ctl1:6817": {"state": "open", "message": "it answers"}},
    "urls": {"http://apphub:8081/healthz": {"ok": true, "message": "HTTP 200"}}}
steps:
  returned: always
  description: The slurmstepd processes - pid, job (id), step (its name) and seconds since its start.
  type: list
  elements: dict
  sample: [{"pid": 4711, "job": "12", "step": "batch", "seconds": 3600}]
problems:
  returned: always
  description: What could not be found out although the command for it is there, and why.
  type: list
  elements: str
  sample: ["munge: munge: Error: Failed to access \"/run/munge/munge.socket.2\": No such file or directory"]
removed:
  returned: always
  description: What modules had left which were killed, and that was removed; also parts of files of rpm's.
  type: list
  elements: str
  sample: ["/tmp/ansible_slurm_node_files_payload_u3k1v9x0", "/usr/sbin/slurmd;69283f5b"]
temporary:
  returned: always
  description: >-
    Directory of Ansible's for temporary files, from which the next run removes what modules leave that are killed;
    empty in check mode.
  type: str
  sample: /root/.ansible/tmp
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.files import ini_list_option
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.facts import probe
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.leftover_files import (
    remove_remains,
    temporary_directory,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.network import NetworkProbe

ARGUMENTS = {
    "files": {"type": "list", "elements": "path", "default": []},
    "words": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": ini_list_option.ARGUMENTS,
    },
    # The path of the key, not the key.
    "munge_key": {"type": "path", "default": "/etc/munge/munge.key", "no_log": False},
    "credential": {"type": "bool", "default": False, "no_log": False},
    "disks": {"type": "list", "elements": "path", "default": []},
    "control_time": {"type": "float"},
    "address": {"type": "str", "default": ""},
    "state": {"type": "str", "default": ""},
    "controller": {"type": "str", "default": ""},
    "name": {"type": "str", "default": ""},
    "write_hosts": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 10},
    "resolve": {"type": "list", "elements": "str", "default": []},
    "connect": {"type": "list", "elements": "str", "default": []},
    "urls": {"type": "list", "elements": "str", "default": []},
    "proxy": {"type": "str", "default": ""},
    "network_timeout": {"type": "float", "default": 4},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    wanted = module.params
    removed = [] if module.check_mode else remove_remains()
    temporary = "" if module.check_mode else temporary_directory()
    # The network is waited for while the commands run.
    network = NetworkProbe(
        wanted["resolve"], wanted["connect"], wanted["urls"], wanted["network_timeout"], wanted["proxy"]
    )
    node = probe(
        wanted["files"],
        wanted["words"],
        wanted["disks"],
        wanted["munge_key"],
        credential=wanted["credential"],
        timeout=wanted["timeout"],
        peer=network.peer,
    )
    address = wanted["address"] or node["hostname"].partition(".")[0]
    given = {"address": address, "state": wanted["state"], "control_time": wanted["control_time"]}
    module.exit_json(changed=False, network=network.result(), removed=removed, temporary=temporary, **node, **given)


if __name__ == "__main__":
    main()
