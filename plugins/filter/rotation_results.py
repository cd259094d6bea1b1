# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter rotation_results."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: rotation_results
short_description: Return which munge key each host has after a rotation
version_added: "0.1.0"
description:
  - Goes by the fingerprint that each host returned last, and by what is scheduled there. Claims of no host that it has
    the old key unless that was seen.
options:
  _input:
    description: >-
      The variables of the hosts, with the results of M(ai_infra.slurm.munge_rotation) as C(scale_switched),
      C(scale_committed), C(scale_finished) and C(scale_rolled_back), and C(scale_failure) of one that failed.
    type: list
    elements: dict
    required: true
  before:
    description: Fingerprint of the key that the cluster had before.
    type: str
    required: true
  return_at:
    description: When hosts return to the old key by themselves, seconds since 1970; nothing when it was not scheduled.
    type: float
"""
EXAMPLES = r"""
- name: Show which key each host has
  ansible.builtin.debug:
    msg: "{{ (hosts | ai_infra.slurm.rotation_results(key_before, return_at)).hosts }}"
"""
RETURN = r"""
_value:
  description: >-
    The keys hosts (by inventory name failure, with code, reason and remedy or nothing, and message), failure (of the
    rotation as a whole, or nothing) and interruption (seconds in which hosts had different keys, or nothing).
  type: dict
"""


def rotation_results(hosts: Iterable[Mapping[str, Any]], before: str, return_at: float | None = None) -> dict[str, Any]:
    """Return how the rotation ended, for each host and as a whole."""
    hosts = list(hosts)
    switched = [host["scale_switched"] for host in hosts if "answered" in (host.get("scale_switched") or {})]
    interruption = None
    if switched:
        interruption = round(max(one["answered"] for one in switched) - min(one["began"] for one in switched), 2)
    if not any(host.get("scale_failure") for host in hosts):
        successes = {host["inventory_hostname"]: {"failure": None, "message": _success(host)} for host in hosts}
        return {"hosts": successes, "failure": None, "interruption": interruption}
    failures = {host["inventory_hostname"]: _failure(host, before, return_at) for host in hosts}
    other = [name for name, host in zip(failures, hosts, strict=True) if _back(host).get("sha256") != before]
    reason = "The cluster has its old munge key."
    if other:
        reason = f"The munge key was not rotated, and these hosts were not seen with the old key: {', '.join(other)}."
    whole = Failure(Code.ROTATION_TAKEN_BACK, reason, "The table says of each host what happened.")
    results = {name: {"failure": failure.as_dict(), "message": ""} for name, failure in failures.items()}
    return {"hosts": results, "failure": whole.as_dict(), "interruption": interruption}


def _success(host: Mapping[str, Any]) -> str:
    switched = host.get("scale_switched") or {}
    away = round(switched.get("answered", 0) - switched.get("began", 0), 2)
    finished = host.get("scale_finished") or {}
    left = ""
    if finished.get("failure") or finished.get("unreachable"):
        left = f"; the old key was not removed from munge.key.previous: {str(finished.get('msg', '')).strip()}"
    return f"has the new key; munge was away {away} s{left}"


def _back(host: Mapping[str, Any]) -> Mapping[str, Any]:
    return host.get("scale_rolled_back") or {}


def _failure(host: Mapping[str, Any], before: str, return_at: float | None) -> Failure:
    own = host.get("scale_failure") or Failure(Code.ROTATION_TAKEN_BACK, "Another host failed.").as_dict()
    where, remedy = _which_key(host, before, return_at)
    reason = f"{own['reason'].strip()} {where}".strip()
    return Failure(Code(own["code"]), reason, f"{own.get('remedy') or ''} {remedy}".strip())


def _which_key(host: Mapping[str, Any], before: str, return_at: float | None) -> tuple[str, str]:
    """Return which key the host has, as far as that is known, and what to do about it."""
    back, name = _back(host), host["inventory_hostname"]
    reported = back.get("failure") or {}
    if reported.get("code") == Code.ROTATION_UNDER_WAY:
        return f"Its key was left alone: {reported['reason']}", reported.get("remedy", "")
    if back.get("sha256") == before:
        failed = f" {reported['reason']}" if reported else ""
        return f"The old key is in place.{failed}", reported.get("remedy", "")
    force = f"ansible {name} -b -m ai_infra.slurm.munge_rotation -a 'state=rolled_back force=true'"
    if (host.get("scale_committed") or {}).get("phase") == "committed":
        return "It has the new key and keeps it.", f"Bring the old key back: {force}"
    if return_at:
        by = time.strftime("%H:%M:%S", time.localtime(return_at))
        return f"It returns to the old key by itself at {by} if it was scheduled there.", f"If it does not: {force}"
    return "Its key was not changed by this run.", ""


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"rotation_results": rotation_results}
