# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Answers modules in place of hosts, so that the control machine alone is measured with many nodes."""

from __future__ import annotations

DOCUMENTATION = r"""
name: simulated
short_description: Simulate a cluster of right nodes
description:
  - Each module gets the answer that a cluster in order would give, at once and without a process. Files are as the last
    M(ai_infra.slurm.slurm_node_files) stated them for any node.
options:
  fleet:
    description: A JSON file with the names of the nodes and, by path, what is known of their files.
    type: path
    required: true
    vars:
      - name: simulated_fleet
"""

import ast
import base64
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

from ansible.plugins.connection import ConnectionBase

VERSION = "24.11.5"
KEY = base64.b64encode(b"k" * 1024).decode()
EXCLUDED = ["slurm*", "munge*", "libslurm*", "libmunge*", "libpam-slurm*", "pam_slurm*"]
DECODED = {"ok": True, "message": "Success", "failure": None}
OPEN = {"state": "open", "message": "it answers"}
ACCOUNT = {"uid": 991, "gid": 991, "name": "munge", "group": "munge", "home": "/run/munge"}
SERVICE = {"load": "loaded", "active": "active", "enabled": "enabled", "main_pid": 7, "result": "success"}
PACKAGES = dict.fromkeys(("munge", "slurm", "slurm-slurmd"), f"{VERSION}-1.el9")
SYSTEM = {
    "id": "rocky", "version_id": "9.4", "codename": None, "family": "RedHat", "major": 9, "arch": "x86_64",
    "pretty": "Rocky Linux 9.4", "supported": True, "problem": None,
}  # fmt: skip
REGISTERED = {
    "state": ["IDLE"], "reason": "", "reason_user": "", "partitions": ["main"], "cpus": 64, "real_memory": 250000,
    "version": VERSION, "features": ["rocky", "x86_64"], "dynamic": False, "managed": True,
    "defined_in": "/etc/slurm/slurmscale-nodes.conf line 3",
}  # fmt: skip


class Connection(ConnectionBase):
    """Recognises a module and its arguments in what Ansible sends to Python."""

    transport = "simulated"
    has_pipelining = True

    def _connect(self) -> Connection:
        return self

    def close(self) -> None:
        """There is nothing to close."""

    def put_file(self, in_path: str, out_path: str) -> None:
        """Take a file, as no module needs one."""

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Return no file, as no module needs one."""

    def exec_command(
        self,
        cmd: str,  # noqa: ARG002 - ansible-core's signature
        in_data: bytes | None = None,
        sudoable: bool = True,  # noqa: ARG002, FBT001, FBT002 - ansible-core's signature
    ) -> tuple[int, bytes, bytes]:
        """Return the exit code and the output of the module."""
        if not in_data:
            return 0, b"", b""
        tail = in_data[in_data.rindex(b"_ansiballz_main(") :].decode()
        module, arguments = (_argument(tail, name) for name in ("module_fqn", "params"))
        name = module.rpartition(".")[2]
        fleet = Fleet(Path(self.get_option("fleet")))
        options = json.loads(arguments)["ANSIBLE_MODULE_ARGS"]
        answer = getattr(fleet, name, fleet.any_other)(self._play_context.remote_addr, options)
        return 0, json.dumps({"changed": False, **answer}).encode(), b""


def _argument(text: str, name: str) -> str:
    found = re.search(rf"^{name}=(.*),$", text, re.MULTILINE)
    if not found:
        raise ValueError(f"no {name} in what Ansible sends: its form has changed")
    return str(ast.literal_eval(found[1]))


def _each(names: list[str], answer: Any) -> dict[str, Any]:
    return dict.fromkeys(names, answer)


class Fleet:
    """The answers; a method for each module, with the host and the module's options."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names, self.files = json.loads(path.read_text()).values()

    def any_other(self, _host: str, _options: dict[str, Any]) -> dict[str, Any]:
        return {"status": {}, "stdout": "", "content": KEY, "encoding": "base64"}

    def slurm_node_files(self, _host: str, options: dict[str, Any]) -> dict[str, Any]:
        for item in options["files"]:
            secret = item.get("content_base64")
            content = base64.b64decode(secret) if secret else item["content"].encode()
            known = {"mode": item.get("mode") or "0644", "owner": item.get("owner") or "root"}
            known["group"] = item.get("group") or "root"
            self.files[item["path"]] = {"exists": True, "sha256": hashlib.sha256(content).hexdigest(), **known}
        for path in options.get("absent") or []:
            self.files[path] = {"exists": False}
        self.path.write_text(json.dumps({"names": self.names, "files": self.files}))
        return {"changed": True}

    def slurm_node_probe(self, host: str, options: dict[str, Any]) -> dict[str, Any]:
        topology = {"boards": 1, "sockets": 2, "cores_per_socket": 16, "threads_per_core": 2}
        files = [*options["files"], "/etc/munge/munge.key"]
        return {
            "os": SYSTEM, "python": "3.9.18", "no_proxy": "", "uid": 0, "hostname": host, "fqdn": f"{host}.example.org",
            "time": time.time(), "packages": PACKAGES,
            "services": {"munge": SERVICE, "slurmd": SERVICE, "slurmctld": None},
            "users": {"slurm": {**ACCOUNT, "name": "slurm", "group": "slurm"}, "munge": ACCOUNT},
            "groups": {"slurm": 991, "munge": 991}, "account_ids": {"uids": {}, "gids": {}},
            "files": {path: self.files.get(path, {"exists": False}) for path in files},
            "words": {item["path"]: EXCLUDED for item in options["words"]},
            "hardware": {"source": "slurmd", "cpus": 64, **topology, "real_memory": 250000, "gres": []},
            "slurm_version": VERSION, "slurmd_args": ["/usr/sbin/slurmd", "--systemd", "--conf-server", "ctl1:6817"],
            "membership": {
                "slurmd_running": True, "slurmd_options": ["--conf-server", "ctl1:6817"], "conf_server": "ctl1:6817",
                "slurm_conf": "/run/slurm/conf/slurm.conf", "cluster_name": "lab", "controllers": ["ctl1"], "jobs": [],
                "job_processes": 0, "munge_running": True, "munge_users": [],
            },
            "munge_credential": f"MUNGE:{host}:", "address": options.get("address") or host, "state": options["state"],
            "control_time": options["control_time"], "disks": _each(options["disks"], 20480), "steps": [],
            "problems": [],
            "network": {
                "resolve": _each(options["resolve"], ["10.0.0.2"]),
                "connect": _each(options["connect"], OPEN),
                "urls": _each(options["urls"], {"ok": True, "message": "HTTP 200"}),
            },
        }  # fmt: skip

    def slurm_cluster_info(self, host: str, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("credentials") is not None:
            return {"credentials": _each(options["credentials"], DECODED)}
        if options.get("resolve") is not None:
            found = {"resolve": _each(options["resolve"], ["10.0.0.3"]), "urls": {}}
            return {"network": {**found, "connect": _each(options["connect"], OPEN)}}
        config = {"SlurmdSpoolDir": "/var/spool/slurmd", "HASH_VAL": "Match"}
        key = hashlib.sha256(base64.b64decode(KEY)).hexdigest()
        cluster = {
            "answering": True, "message": "", "failure": None, "version": VERSION, "name": "lab",
            "cluster_name": "lab",
            "conf_file": "/etc/slurm/slurm.conf", "conf_dir": "/etc/slurm", "configless": True, "port": 6817,
            "slurmd_port": 6818,
            "controllers": [{"host": host, "mode": "primary", "up": True, "addresses": ["10.0.0.2"]}],
            "config": config, "nodes": {name: {**REGISTERED, "addr": name} for name in self.names},
            "partitions": {"main": {"nodes": "ALL", "default": True, "state": "UP", "total_nodes": len(self.names)}},
            "reservations": {}, "users": {"slurm": {**ACCOUNT, "name": "slurm", "group": "slurm"}, "munge": ACCOUNT},
            "slurm_user": "slurm", "munge_key": {"path": "/etc/munge/munge.key", "exists": True, "sha256": key},
            "daemon": {"unit": "slurmctld", "active": "active"}, "time": time.time(),
            "control_time": options["control_time"], "files": {},
            "os": {"id": "ubuntu", "version_id": "24.04", "pretty": "Ubuntu 24.04 LTS"},
            "addresses": {"hostname": host, "fqdn": host, "ips": ["10.0.0.2"]},
        }  # fmt: skip
        return {"cluster": cluster}

    def slurm_nodes(self, _host: str, _options: dict[str, Any]) -> dict[str, Any]:
        return {
            "action": "none", "backup": None, "added": [], "updated": [], "removed": [], "kept": {}, "warnings": [],
            "refused": {}, "diff": [], "nodes_before": self.names, "nodes_after": self.names, "recovered": "",
        }  # fmt: skip

    def slurm_drain(self, _host: str, options: dict[str, Any]) -> dict[str, Any]:
        available = {
            "ok": True, "known": True, "state": "IDLE", "reason": "", "message": "available", "changed": False,
            "jobs": [], "requested_by": [], "failure": None,
        }  # fmt: skip
        return {"nodes": _each(options["nodes"], available), "failed_nodes": []}

    def slurm_job(self, _host: str, options: dict[str, Any]) -> dict[str, Any]:
        done = {
            "ok": True, "job_id": "7", "state": "COMPLETED", "exit_code": "0:0", "message": "job 7 COMPLETED",
            "failure": None, "seconds": 1.0,
        }  # fmt: skip
        return {"jobs": _each(options["nodes"], done), "failed_nodes": []}
