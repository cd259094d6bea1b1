# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action cluster_contact: connects to a controller stage by stage, and describes its cluster."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.plugin_utils import connection_test
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.ssh_sudo_python_failure import contact_failure, question

STAGES = ("resolve", "tcp", "hostkey", "auth", "sudo", "slurm")
_MODULE = "ai_infra.slurm.slurm_cluster_info"
_SSH = frozenset({"ssh", "ansible.builtin.ssh", "smart"})


class ActionModule(ActionBase):
    """Changes nothing, neither on the control machine nor on the controller."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("fingerprint", "strict", "timeout"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return success, stage (where it ended), stages, fingerprint, host_keys, info and error; never fails."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            argument_spec={
                "fingerprint": {"type": "str", "default": ""},
                "strict": {"type": "bool", "default": False},
                "timeout": {"type": "int", "default": 15},
            }
        )
        variables = task_vars or {}
        self.host = str(variables["inventory_hostname"])
        self.found: dict[str, Any] = {"fingerprint": "", "host_keys": [], "info": None}
        stages: list[dict[str, Any]] = []
        failure: Failure | None = None
        with tempfile.TemporaryDirectory(prefix="slurmscale-") as folder:
            for name in STAGES:
                found, failure = getattr(self, f"_{name}")(options, variables, Path(folder))
                error = failure.as_dict() if failure else None
                stages.append({"stage": name, "ok": failure is None, "found": found, "error": error})
                if failure:
                    break
            # a connection that stays open would be used again without its keys being looked at
            self._connection.close()
        ended = {"success": failure is None, "stage": stages[-1]["stage"], "error": stages[-1]["error"]}
        return result | self.found | ended | {"changed": False, "stages": stages}

    def _resolve(self, _options: Any, variables: dict[str, Any], _folder: Path) -> tuple[str, Failure | None]:
        self.target = None
        if self._play_context.connection not in _SSH and self._connection.transport not in _SSH:
            return "not by ssh", None
        address = str(self._connection.get_option("host") or variables.get("ansible_host") or self.host)
        port = self._connection.get_option("port")
        target = connection_test.target(address, int(port) if port else None, self._arguments())
        if target.proxied:
            return f"{target.host} is reached by another host", None
        self.target = target
        addresses, failure = connection_test.resolve(target.host)
        return ", ".join(addresses), failure

    def _arguments(self) -> list[str]:
        options = ("ssh_args", "ssh_common_args", "ssh_extra_args")
        return [word for name in options for word in shlex.split(str(self._connection.get_option(name) or ""))]

    def _tcp(self, options: dict[str, Any], _variables: Any, _folder: Path) -> tuple[str, Failure | None]:
        if self.target is None:
            return "not looked at", None
        failure = connection_test.connect(self.target.host, self.target.port, options["timeout"])
        return f"{self.target.host} port {self.target.port}", failure

    def _hostkey(self, options: dict[str, Any], _variables: Any, folder: Path) -> tuple[str, Failure | None]:
        if self.target is None:
            return "left to ssh", None
        keys = connection_test.scan(self.target, options["timeout"])
        confirmed = options["fingerprint"]
        trusted = confirmed or next(iter(keys.known), "") or next(iter(keys.fingerprints), "")
        self.found["fingerprint"] = trusted if trusted in keys.fingerprints else next(iter(keys.fingerprints), "")
        checked = options["strict"] or confirmed or boolean(self._connection.get_option("host_key_checking"))
        if not checked:
            return f"{self.found['fingerprint']}, which the settings of Ansible do not let anybody check", None
        failure = connection_test.host_key_failure(self.target.host, keys, confirmed)
        if failure is None:
            wanted = (confirmed,) if confirmed else tuple(keys.known)
            lines = [line for line, one in zip(keys.lines, keys.fingerprints, strict=True) if one in wanted]
            self.found["host_keys"] = lines
            if confirmed:
                self._trust(lines, folder)
        return self.found["fingerprint"], failure

    def _trust(self, lines: list[str], folder: Path) -> None:
        """Let ssh accept these keys, and no others."""
        path = folder / "known_hosts"
        path.write_text("".join(f"{line}\n" for line in lines))
        strict = f"-o UserKnownHostsFile={path} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes"
        # the first of several values counts for ssh
        given = self._connection.get_option("ssh_args") or ""
        self._connection.set_option("ssh_args", f"{strict} -o ControlPath=none {given}")

    def _auth(self, _options: Any, _variables: Any, _folder: Path) -> tuple[str, Failure | None]:
        try:
            done = self._low_level_execute_command("id -un", sudoable=False)
        except AnsibleConnectionFailure as problem:
            return "", connection_test.login_failure(self.host, str(problem))
        except AnsibleError as problem:
            return "", Failure(Code.TASK_FAILED, f"No login to {self.host}: {problem}", "Run it again with -vvv.")
        return str(done["stdout"]).strip(), None

    def _sudo(self, _options: Any, _variables: Any, _folder: Path) -> tuple[str, Failure | None]:
        if self._connection.become is None:
            return "not asked for", None
        try:
            done = self._low_level_execute_command("id -un")
            found = {"msg": done.get("stderr") or done.get("stdout") or "no answer"}
            if done["rc"] == 0:
                return str(done["stdout"]).strip(), None
        except AnsibleError as problem:
            found = {"msg": str(problem)}
        answer = self._low_level_execute_command(question(), sudoable=False)["stdout"]
        why = contact_failure(found, self.host, answer, become=True)
        return "", Failure(Code(why["code"]), why["reason"], why["remedy"])

    def _slurm(self, options: dict[str, Any], variables: dict[str, Any], _folder: Path) -> tuple[str, Failure | None]:
        arguments = {"timeout": options["timeout"]}
        try:
            answer = self._execute_module(module_name=_MODULE, module_args=arguments, task_vars=variables)
        except AnsibleError as problem:
            answer = {"failed": True, "msg": str(problem)}
        cluster = answer.get("cluster")
        if cluster is None:
            why = contact_failure(answer, self.host)
            return "", Failure(Code(why["code"]), why["reason"], why["remedy"])
        if not cluster["answering"]:
            why = cluster["failure"]
            return str(cluster["version"]), Failure(Code(why["code"]), why["reason"], why["remedy"])
        self.found["info"] = connection_test.summary(cluster)
        return f"{cluster['cluster_name']}, Slurm {cluster['version']}", None
