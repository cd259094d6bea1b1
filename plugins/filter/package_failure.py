# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The filter package_failure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import install_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DOCUMENTATION = r"""
name: package_failure
short_description: Says why packages cannot be installed
version_added: "0.1.0"
description:
  - Reads what dnf says when a dependency is missing. Dependencies are reported for each package, with where they were
    looked for.
  - A failure that has a code already stays as it is.
options:
  _input:
    description: What the task returned that was to install.
    type: dict
    required: true
  url:
    description: The AppHub.
    type: str
    required: true
  packages:
    description: What was to be installed.
    type: list
    elements: str
    required: true
  sources:
    description: >-
      Repositories of the machine by id, and whether they are enabled, as M(ai_infra.slurm.slurm_node_probe) returns
      them.
    type: dict
    default: {}
  stated:
    description: Ids of repositories that were enabled for the installation.
    type: list
    elements: str
    default: []
"""
EXAMPLES = r"""
- name: Report that packages cannot be installed
  ai_infra.slurm.require:
    findings: ["{{ ansible_failed_result | ai_infra.slurm.package_failure('http://apphub:8081', ['munge']) }}"]
"""
RETURN = r"""
_value:
  description: The keys code, reason and remedy.
  type: dict
"""

# Up to dnf 4.14 (Rocky 8 and 9) the repository is not named after the package.
_MISSING = re.compile(r"nothing provides (.+?) needed by (\S+?)-[^-\s]+-[^-\s]+(?=\s|$)")


def package_failure(
    result: Mapping[str, Any],
    url: str,
    packages: Iterable[str],
    sources: Mapping[str, bool] | None = None,
    stated: Iterable[str] = (),
) -> dict[str, str]:
    """Return code, reason and remedy."""
    if result.get("failure"):
        known: dict[str, str] = result["failure"]
        return known
    said = str(result.get("msg") or "no message").strip()
    missing: dict[str, list[str]] = {}
    for need, package in _MISSING.findall(said):
        if need not in missing.setdefault(package, []):
            missing[package].append(need)
    if not missing:
        return install_failures.refused(url, packages, said).as_dict()
    wanted = set(stated)
    asked = [name for name, enabled in (sources or {}).items() if enabled or name in wanted]
    others = [name for name in sources or {} if name not in asked]
    return install_failures.dependencies_missing(
        url,
        missing,
        ", ".join(dict.fromkeys(["apphub", *asked]))
        + (f", and not in {', '.join(others)}, which are not enabled." if others else "."),
        "name repositories of the machine that have them in apphub_client_dependency_repositories, such as crb or epel",
    ).as_dict()


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"package_failure": package_failure}
