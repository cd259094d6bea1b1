# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""What an AppHub lacks for a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.versions import is_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_REMEDY = (
    "Publish the packages with playbooks/publish_apphub.yml, or choose others by apphub_client_packages and "
    "apphub_client_slurm_version."
)
# The kernel's word for an architecture -> Debian's.
_DEBIAN = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el"}


def apphub_gaps(
    catalog: Mapping[str, Any], repository: str, arch: str, packages: Iterable[str], version: str = ""
) -> list[dict[str, str]]:
    """Return what the catalog lacks."""
    repositories = catalog["repositories"]
    if repository not in repositories:
        reason = f"AppHub has no repository {repository}; there are {_join(repositories)}. Nothing was changed here."
        return [Failure(Code.APPHUB_REPOSITORY_MISSING, reason, _REMEDY).as_dict()]
    own = _DEBIAN.get(arch, arch) if repository.startswith("deb/") else arch
    gaps = []
    for name in packages:
        versions = repositories[repository]["packages"].get(name, {})
        fitting = [found for found, entry in versions.items() if _archs(entry) & {own, "all", "noarch"}]
        if not versions:
            gaps.append(f"has no package {name}")
        elif not fitting:
            there = _join({found for entry in versions.values() for found in _archs(entry)})
            gaps.append(f"has {name} not for {own}, only for {there}")
        elif name.startswith("slurm") and version and not any(is_version(found, version) for found in fitting):
            gaps.append(f"has no {name} {version}; there are {_join(fitting)}")
    return [
        Failure(
            Code.APPHUB_PACKAGE_MISSING, f"{repository} of AppHub {gap}. Nothing was changed here.", _REMEDY
        ).as_dict()
        for gap in gaps
    ]


def _archs(entry: Mapping[str, Any]) -> set[str]:
    return {entry["arch"], *(other["arch"] for other in entry.get("others", []))}


def _join(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
