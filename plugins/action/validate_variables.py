# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action validate_variables: checks the variables of all hosts by the roles' argument specs, once."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.failures import failed
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.local_action import LocalAction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROLES = Path(__file__).resolve().parents[2] / "roles"
# The default of a variable may be what a host states, which is checked by itself.
_CHECKED = ("type", "elements", "choices", "options")


class ActionModule(LocalAction):
    """Runs on the control machine and connects to nothing."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return `failed` with `failure` and `failures` when a variable of a host does not fit an argument spec."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            argument_spec={
                "roles": {"type": "list", "elements": "str", "required": True},
                "hosts": {"type": "list", "elements": "str", "required": True},
            }
        )
        hostvars = (task_vars or {})["hostvars"]
        specs = {
            path.name: read_spec(path)
            for role in options["roles"]
            for path in sorted(ROLES.glob(role)) or [ROLES / role]
        }
        problems: dict[str, list[str]] = {}
        for host in options["hosts"]:
            for problem in check(hostvars[host], specs):
                problems.setdefault(problem, []).append(host)
        failures = [
            Failure(
                Code.REQUEST_INVALID,
                f"{problem.rstrip('.')} (of {', '.join(hosts)}). Nothing was changed.",
                "Correct it in the inventory or in -e; docs/reference/roles.md describes every variable.",
            )
            for problem, hosts in problems.items()
        ]
        return result | failed(failures) | {"changed": False}


def read_spec(role: Path) -> dict[str, dict[str, Any]]:
    """Return the options of all entry points of a role."""
    entries = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    return {
        name: {key: spec[key] for key in _CHECKED if key in spec}
        for entry in entries.values()
        for name, spec in (entry.get("options") or {}).items()
    }


def check(variables: Mapping[str, Any], specs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Return what is wrong with a host's variables by the roles' argument specs."""
    for role, spec in specs.items():
        stated = {}
        for name in spec:
            # What is stated by facts that are not there yet can only be validated where it is used.
            with contextlib.suppress(AnsibleError):
                if name in variables:
                    stated[name] = variables[name]
        yield from _errors(role, {name: spec[name] for name in stated}, stated)


def _errors(role: str, spec: Mapping[str, Any], stated: Mapping[str, Any]) -> Iterable[str]:
    found = ArgumentSpecValidator(spec).validate({name: value for name, value in stated.items() if value is not None})
    return [f"{role}: {message}" for message in found.error_messages]
