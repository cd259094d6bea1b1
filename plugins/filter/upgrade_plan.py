# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter upgrade_plan."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.filter.version_window import version_window
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.versions import is_older

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: upgrade_plan
short_description: Says which packages of Slurm a node gets in an upgrade, and in which version
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
"""
EXAMPLES = r"""
- name: Show what an upgrade would do
  ansible.builtin.debug:
    msg: "{{ preflight_node | ai_infra.slurm.upgrade_plan('24.11.5-4', '24.11.5', catalog) }}"
"""
RETURN = r"""
_value:
  description: >-
    The keys packages (names), version (whole, as in AppHub), before (versions now, by name), needed (whether something
    has to be installed) and problem (why it can't be done, else empty).
  type: dict
"""


def upgrade_plan(node: Mapping[str, Any], version: str, controller: str, catalog: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an upgrade of one node means."""
    before = {name: found for name, found in (node.get("packages") or {}).items() if name.startswith("slurm")}
    plan: dict[str, Any] = {"packages": sorted(before), "version": "", "before": before, "needed": False, "problem": ""}
    problem = version_window(version, controller)
    if not node.get("slurm_version"):
        problem = "it has no slurmd; scale_up makes nodes"
    elif is_older(version, node["slurm_version"]):
        problem = f"it has {node['slurm_version']}, and {version} would be a step back"
    system = node["os"]
    repository = (
        f"deb/{system['id']}/{system['codename']}" if system["family"] == "Debian" else f"rpm/el{system['major']}"
    )
    if not problem:
        published = catalog["repositories"].get(repository, {}).get("packages", {})
        plan["version"], problem = _choose(version, plan["packages"], published, repository)
    plan["problem"] = problem
    plan["needed"] = not problem and any(_bare(found) != plan["version"] for found in before.values())
    return plan


def _choose(wanted: str, names: Iterable[str], published: Mapping[str, Any], repository: str) -> tuple[str, str]:
    """Return the version that all packages are to have, or why there is none."""
    chosen = ""
    for name in names:
        there = list(published.get(name, {}))
        exact = [found for found in there if wanted in {found, _bare(found), re.sub(r"\.el\d+\w*$", "", found)}]
        fitting = exact or [found for found in there if re.match(re.escape(wanted) + r"(?![0-9a-zA-Z])", _bare(found))]
        if not fitting:
            return "", f"{repository} of AppHub has no {name} {wanted}; there are {', '.join(sorted(there)) or 'none'}"
        if len(fitting) > 1:
            return "", f"slurm_version={wanted} may be {' or '.join(sorted(fitting))} in {repository}; say which"
        if chosen and _bare(fitting[0]) != chosen:
            return "", f"{repository} of AppHub has {name} {fitting[0]}, but other packages in version {chosen}"
        chosen = _bare(fitting[0])
    return chosen, ""


def _bare(version: str) -> str:
    """Return a version without the epoch, which says nothing about Slurm."""
    return version.partition(":")[2] or version


class FilterModule:
    """Register the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter under its name."""
        return {"upgrade_plan": upgrade_plan}
