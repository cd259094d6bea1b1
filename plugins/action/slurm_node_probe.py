# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action slurm_node_probe: runs the module, and reports why it could not run on a host."""

from __future__ import annotations

import random
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.probe_request import probe_request
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import facts_of
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.ssh_sudo_python_failure import (
    PYTHONS,
    contact_failure,
    fingerprints,
    question,
    refuses_login,
)

MODULE = "ai_infra.slurm.slurm_node_probe"
# Seconds before a login is tried again that a busy sshd refused, such as that of the host which all nodes are behind.
PAUSES = (1, 2, 4, 4)


class ActionModule(ActionBase):
    """The first contact with a host: one that is down, or has no Python or sudo, fails with its reason."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the facts of the host, or `failed` with `failure`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = {"control_time": time.time(), **self._of_cluster(dict(self._task.args), variables)}
        result |= self._probe(arguments, variables)
        if "os" in result:
            return result
        host = str(variables["inventory_hostname"])
        answer = "" if result.get("unreachable") else self._ask(variables)
        address = str(variables.get("ansible_host") or host)
        port = str(variables.get("ansible_port") or 22)
        failure = contact_failure(
            result,
            host,
            answer,
            become=self._connection.become is not None,
            address=address,
            fingerprints=lambda: fingerprints(address, port),
        )
        # Said as a failure: an unreachable host would leave the run without a word in the report.
        result.pop("unreachable", None)
        return result | {"failed": True, "failure": failure, "msg": failure["reason"]}

    def _probe(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        found = self._probe_once(arguments, variables)
        for pause in PAUSES:
            if not (found.get("unreachable") and refuses_login(found["msg"])):
                break
            # Nodes that were refused together don't come again together.
            time.sleep(random.uniform(0.5, 1.5) * pause)  # noqa: S311 - no secret
            found = self._probe_once(arguments, variables)
        return found

    def _probe_once(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables)
        except AnsibleConnectionFailure as problem:
            return {"failed": True, "unreachable": True, "msg": str(problem)}
        except AnsibleError as problem:
            return {"failed": True, "msg": str(problem)}
        return found

    @staticmethod
    def _of_cluster(arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Return the module's options, with what the cluster of a controller is to be asked for."""
        controller = str(arguments.pop("controller", ""))
        name, write_hosts = str(arguments.pop("name", "")), boolean(arguments.pop("write_hosts", False))
        if not controller:
            return arguments
        cluster = facts_of(controller, variables["hostvars"]).get("preflight_cluster") or {}
        # Until it is known which machines have an address, by their names in the inventory; one with another name
        # counts as not resolved.
        joining = [str(host).partition(".")[0] for host in variables.get("ansible_play_hosts") or ()]
        names = variables.get("preflight_addresses", [*(cluster.get("nodes") or {}), *joining])
        return arguments | probe_request(cluster, name, names=names, write_hosts=write_hosts)

    def _ask(self, variables: dict[str, Any]) -> str:
        """Ask the shell what is missing, without Python and without becoming root."""
        stated = str(variables.get("ansible_python_interpreter") or "auto")
        pythons = PYTHONS if stated.startswith("auto") else (stated,)
        try:
            return str(self._low_level_execute_command(question(pythons), sudoable=False)["stdout"])
        except AnsibleError:
            return ""
