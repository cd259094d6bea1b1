# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.ssh_sudo_python_failure import (
    host_key_failure,
    refuses_host_key,
    unreachable_failure,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTATION = r"""
name: failure
short_description: Return the failure that the result of a task holds
version_added: "0.1.0"
description:
  - Returns the code, the reason and the remedy that the task reported. A result without them, such as one of Ansible's
    own modules, becomes C(host-unreachable) or C(task-failed) with the task's name in its reason.
options:
  _input:
    description: The result of a task, such as C(ansible_failed_result).
    type: dict
    required: true
  task:
    description: The name of the task.
    type: str
    default: ""
"""
EXAMPLES = r"""
- name: Record the failure reason
  ansible.builtin.set_fact:
    scale_failure: "{{ ansible_failed_result | ai_infra.slurm.failure(ansible_failed_task.name) }}"
"""
RETURN = r"""
_value:
  description: The keys code, reason and remedy.
  type: dict
"""


def failure(result: Mapping[str, Any], task: str = "") -> dict[str, str]:
    """Return the failure that a task's result holds."""
    reported = result.get("failure")
    if reported:
        return {"code": reported["code"], "reason": reported["reason"], "remedy": reported.get("remedy") or ""}
    message = " ".join(str(result.get("msg") or result.get("stderr") or "").split()) or "no message"
    if refuses_host_key(message):
        return host_key_failure(message, "The host").as_dict()
    if result.get("unreachable"):
        return unreachable_failure(message, message).as_dict()
    return Failure(Code.TASK_FAILED, f"{task}: {message}" if task else message).as_dict()


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"failure": failure}
