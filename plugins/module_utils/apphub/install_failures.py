# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Why packages can't be installed from an AppHub: the same words for apt and dnf."""

from __future__ import annotations

from typing import Iterable, Mapping

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure


def refused(url: str, packages: Iterable[str], said: str) -> Failure:
    """Tell that the package manager refused.

    Args:
        url: The AppHub.
        packages: What was to be installed.
        said: What the package manager says.
    """
    return Failure(
        Code.PACKAGE_INSTALLATION_FAILED,
        f"{', '.join(packages)} cannot be installed from {url}: {said}",
        f"Compare with: curl -i {url}/healthz; df -h on this machine. Then run again.",
    )


def dependencies_missing(url: str, missing: Mapping[str, Iterable[str]], looked_for: str, instead: str) -> Failure:
    """Tell which dependencies nobody has.

    Args:
        url: The AppHub.
        missing: By package what it needs.
        looked_for: Where they were looked for, as the end of a sentence, with what follows it.
        instead: What else than publishing them helps, as the end of a sentence.
    """
    needs = "; ".join(f"{package} needs {', '.join(needed)}" for package, needed in sorted(missing.items()))
    return Failure(
        Code.PACKAGE_DEPENDENCY_MISSING,
        f"Nothing was installed, as dependencies are missing: {needs}. Looked for in {looked_for}",
        f"Put these packages into the folders of {url} and publish again, or {instead}.",
    )
