# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter upgrade_plan."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.versions import is_older, is_version, window_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: upgrade_plan
short_description: Return which packages of Slurm a node gets in an upgrade, and in which version
version_added: "0.1.0"
description:
  - Finds the one version in AppHub that is meant, for the packages of Slurm that the node has. Asks nobody and changes
    nothing.
  - Refuses what is newer than the controller, outside Slurm's window, older than what the node has, not in AppHub, or
    not clear.
options:
  _input:
    description: What M(ai_infra.slurm.slurm_node_probe) returns as C(node).
    type: dict
    required: true
  version:
    description: >-
      The wanted version, whole (V(24.11.5-4)) or its beginning (V(24.11.5)) when AppHub has only one such version. An
      RPM's mark of the system, such as C(.el9), may be left out.
    type: str
    required: true
  controller:
    description: Version of slurmctld.
    type: str
    required: true
  catalog:
    description: AppHub's catalog.
    type: dict
    required: true
  repository:
    description: The node's repository in it, such as V(deb/ubuntu/noble).
    type: str
    required: true
  apphub_failure:
    description: Why there is no AppHub; a node that has the whole version already needs none.
    type: dict
"""
EXAMPLES = r"""
- name: Show what an upgrade would do
  ansible.builtin.debug:
    msg: "{{ preflight_node | ai_infra.slurm.upgrade_plan('24.11.5-4', '24.11.5', catalog, 'rpm/el9') }}"
"""
RETURN = r"""
_value:
  description: >-
    The keys packages (names), version (whole, as in AppHub), before (versions now, by name), needed (whether something
    has to be installed) and failure (why it can't be done, with code, reason and remedy, else nothing).
  type: dict
"""


def upgrade_plan(  # noqa: PLR0917 - a filter's options are its arguments
    node: Mapping[str, Any],
    version: str,
    controller: str,
    catalog: Mapping[str, Any],
    repository: str,
    apphub_failure: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what an upgrade of one node means."""
    before = {name: found for name, found in (node.get("packages") or {}).items() if name.startswith("slurm")}
    chosen: str | Failure | None = _unsuitable(node, version, controller) or _installed(version, before.values())
    if not chosen and apphub_failure:
        chosen = Failure(Code(apphub_failure["code"]), apphub_failure["reason"], apphub_failure.get("remedy") or "")
    chosen = chosen or _choose(version, sorted(before), repository, _published(catalog, repository))
    failed = isinstance(chosen, Failure)
    return {
        "packages": sorted(before),
        "version": "" if failed else chosen,
        "before": before,
        "needed": not failed and any(_bare(found) != chosen for found in before.values()),
        "failure": chosen.as_dict() if isinstance(chosen, Failure) else None,
    }


def _unsuitable(node: Mapping[str, Any], version: str, controller: str) -> Failure | None:
    found = node.get("slurm_version")
    if not found:
        return Failure(Code.NODE_NOT_PREPARED, "It has no slurmd.", "Add it with scale_up.")
    if is_older(version, found):
        reason = f"It has {found}, and {version} would be a step back."
        return Failure(Code.SLURM_VERSION_UNSUITABLE, reason, "State another slurm_version.")
    problem = window_problem(version, controller)
    if problem:
        return Failure(Code.SLURM_VERSION_UNSUITABLE, f"{problem}.", "State another slurm_version.")
    return None


def _published(catalog: Mapping[str, Any], repository: str) -> Mapping[str, Any]:
    """Return the packages of a repository by name; nothing when there is no such repository."""
    packages: Mapping[str, Any] = catalog["repositories"].get(repository, {}).get("packages", {})
    return packages


def _installed(wanted: str, versions: Iterable[str]) -> str | None:
    """Return the version that all packages have when it is, whole, the wanted one."""
    found = {_bare(version) for version in versions}
    if len(found) == 1 and _is_exactly(wanted, *found):
        return found.pop()
    return None


def _is_exactly(wanted: str, version: str) -> bool:
    return wanted in {version, _bare(version), re.sub(r"\.el\d+\w*$", "", version)}


def _choose(wanted: str, names: Iterable[str], repository: str, published: Mapping[str, Any]) -> str | Failure:
    """Return the version that all packages are to have, or why there is none."""
    chosen, publish = "", "State another slurm_version, or publish it with playbooks/publish_apphub.yml."
    for name in names:
        there = list(published.get(name, {}))
        exact = [found for found in there if _is_exactly(wanted, found)]
        fitting = exact or [found for found in there if is_version(found, wanted)]
        if not fitting:
            available = ", ".join(sorted(there)) or "none"
            reason = f"{repository} of AppHub has no {name} {wanted}; there are {available}."
            return Failure(Code.SLURM_VERSION_NOT_PUBLISHED, reason, publish)
        if len(fitting) > 1:
            reason = f"slurm_version={wanted} may be {' or '.join(sorted(fitting))} in {repository}."
            return Failure(Code.REQUEST_INVALID, reason, "State one of them.")
        if chosen and _bare(fitting[0]) != chosen:
            reason = f"{repository} of AppHub has {name} {fitting[0]}, but other packages in version {chosen}."
            return Failure(Code.SLURM_VERSION_NOT_PUBLISHED, reason, publish)
        chosen = _bare(fitting[0])
    return chosen


def _bare(version: str) -> str:
    """Return a version without the epoch, which says nothing about Slurm."""
    return version.partition(":")[2] or version


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"upgrade_plan": upgrade_plan}
