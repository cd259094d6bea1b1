# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Takes versions of Slurm away from an AppHub."""

from __future__ import annotations

from typing import Iterable

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import packages as apphub_packages
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.versions import is_version


def without_versions(repositories: apphub_packages.Repositories, absent: Iterable[str]) -> apphub_packages.Repositories:
    """Leave out versions of Slurm.

    Args:
        repositories: The packages found.
        absent: The versions, whole or their beginning.

    Returns:
        The other packages.

    Raises:
        apphub_packages.PublishError: A repository would have no Slurm any more.
    """
    absent = list(absent)
    result: apphub_packages.Repositories = {}
    for name, packages in repositories.items():
        slurm = [package for package in packages if "slurm" in package.package]
        gone = [package for package in slurm if any(is_version(package.version, version) for version in absent)]
        if slurm and len(gone) == len(slurm):
            raise apphub_packages.PublishError(
                "without {0} there would be no Slurm in {1}, nothing was published: its versions are {2}. Leave one, "
                "or take the folder {1} away if no machine needs it".format(
                    ", ".join(absent), name, ", ".join(sorted({package.version for package in slurm}))
                )
            )
        result[name] = [package for package in packages if package not in gone]
    return result
