# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Collects the configuration files that a node without configless mode must have."""

from __future__ import annotations

import base64
import contextlib
import os
import stat
from typing import Any, Dict, List

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.conf_file import SlurmConfig, SlurmConfigError

#: What Slurm itself passes on to nodes in configless mode, of all versions from 20.11 to 26.05.
NODE_FILES = (
    "slurm.conf", "acct_gather.conf", "cgroup.conf", "cgroup_allowed_devices_file.conf", "cli_filter.lua",
    "ext_sensors.conf", "gres.conf", "helpers.conf", "job_container.conf", "knl_cray.conf", "knl_generic.conf",
    "mpi.conf", "oci.conf", "plugstack.conf", "resources.yaml", "scrun.lua", "topology.conf", "topology.yaml",
)  # fmt: skip


def collect(conf: str) -> List[Dict[str, Any]]:
    """Read all files that nodes need.

    Args:
        conf: The controller's slurm.conf.

    Returns:
        For each file its path (relative to slurm.conf's directory when it lies there), content_base64, mode, and
        whether it is secret because not everybody may read it.

    Raises:
        SlurmConfigError: slurm.conf, or a file that it includes, can't be read.
    """
    home = os.path.dirname(conf)
    # The Include lines of slurm.conf must hold; those of the other files are Slurm's business.
    paths = list(SlurmConfig.load(conf).files)
    for name in NODE_FILES:
        path = os.path.join(home, name)
        if path in paths or not os.path.isfile(path):
            continue
        included = [path]
        if name.endswith(".conf"):
            with contextlib.suppress(SlurmConfigError):
                included = list(SlurmConfig.load(path).files)
        paths += [one for one in included if one not in paths]
    return [_read(path, home) for path in paths]


def _read(path: str, home: str) -> Dict[str, Any]:
    with open(path, "rb") as stream:
        content = stream.read()
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
    inside = path.startswith(home.rstrip("/") + "/")
    return {
        "path": os.path.relpath(path, home) if inside else path,
        "content_base64": base64.b64encode(content).decode("ascii"),
        "mode": f"{mode:04o}",
        "secret": not mode & stat.S_IROTH,
    }
