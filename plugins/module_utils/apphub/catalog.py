# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The file catalog.json: what an AppHub has, in the form that clients read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict, List

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.packages import Repositories

FORMAT = 1
#: Packages of all repositories together, in all versions; the largest AppHub has some thousands.
MAX_PACKAGES = 100000
# Architectures of packages for every machine, and what is served when there are only such.
EVERY_ARCHITECTURE = {"deb": "all", "rpm": "noarch"}
DEFAULT_ARCHITECTURE = {"deb": "amd64", "rpm": "x86_64"}


def build(repositories: Repositories) -> Dict[str, Any]:
    """Return the catalog of these repositories.

    A version that is there for several architectures has the further ones in `others`.
    """
    result: Dict[str, Any] = {}
    for name in sorted(repositories):
        packages: Dict[str, Dict[str, Any]] = {}
        for package in sorted(repositories[name], key=lambda package: package.line()):
            entry = {"arch": package.arch, "file": package.paths[0], "sha256": package.sha256}
            versions = packages.setdefault(package.package, {})
            if package.version in versions:
                versions[package.version].setdefault("others", []).append(entry)
            else:
                versions[package.version] = entry
        result[name] = {"packages": packages}
    return {"format": FORMAT, "repositories": result}


def parse(data: bytes) -> Dict[str, Any]:
    """Read a catalog, and make sure that it has the form that clients rely on.

    Args:
        data: The file.

    Raises:
        FailureError: It is none, or one of another format.
    """
    try:
        catalog = json.loads(data.decode("utf-8"))
        found = catalog["format"]
        repositories = catalog["repositories"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FailureError(
            Code.APPHUB_CATALOG_INVALID,
            "It serves no catalog of packages, so it is no AppHub, or its catalog is damaged.",
            "Publish again with playbooks/publish_apphub.yml -e apphub_verify=true, or correct apphub_client_urls.",
        ) from None
    if found != FORMAT:
        raise FailureError(
            Code.APPHUB_CATALOG_INVALID,
            f"Its catalog has format {str(found)[:20]}, but this version reads format {FORMAT}.",
            "Publish with the version of this software that the clients use.",
        )
    count = 0
    try:
        for name, repository in repositories.items():
            ("deb/", "rpm/").index(name[:4])
            for package, versions in repository["packages"].items():
                _text(package)
                for version, entry in versions.items():
                    _text(version)
                    count += len(entries(entry))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise FailureError(
            Code.APPHUB_CATALOG_INVALID,
            "Its catalog of packages is damaged.",
            "Publish again with playbooks/publish_apphub.yml -e apphub_verify=true.",
        ) from None
    if count > MAX_PACKAGES:
        raise FailureError(
            Code.APPHUB_LIMIT_EXCEEDED,
            f"Its catalog has {count} packages, and an AppHub has at most {MAX_PACKAGES}.",
            "Leave out what no compute node needs.",
        )
    return {"format": FORMAT, "repositories": repositories}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def entries(entry: Dict[str, Any]) -> List[Dict[str, str]]:
    """Return the packages of one version, one for each architecture, all with arch, file and sha256."""
    found = [entry, *entry.get("others", [])]
    for one in found:
        path = _text(one["file"])
        _text(one["arch"])
        _text(one["sha256"])
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError(path)
    return found
