# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a cluster can take a node in the way and with the version of Slurm that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import versions
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ansible_collections.ai_infra.slurm.plugins.plugin_utils.readiness import Finding

# From here on Slurm has nodes that register by themselves.
_DYNAMIC = "22.05"


def wanted_version(version: str, cluster: Mapping[str, Any]) -> Iterator[Finding]:
    """Refuse a version of slurmd that does not work with slurmctld, before it is installed."""
    controller = cluster["version"]
    yield finding(
        "Slurm version to install",
        Code.SLURM_VERSION_UNSUITABLE,
        not versions.window_problem(version, controller),
        f"a version such as 24.11.5 or 24.11.5-4, from {versions.oldest_slurmd(controller)} to {controller}",
        version,
        "Correct slurm_version or slurmd_version, or upgrade the controller first.",
    )


def suitable(
    name: str, cluster: Mapping[str, Any], registration: str, *, dynamic: bool, joining: int
) -> Iterator[Finding]:
    """Refuse to register a node in a way that the cluster or the node itself does not allow.

    Args:
        name: The node's name in Slurm.
        cluster: What is known of the cluster.
        registration: The variable slurm_node_registration.
        dynamic: slurmd registers the node by itself.
        joining: How many nodes the cluster has when all of the run have joined.
    """
    yield finding(
        "slurm_node_registration",
        Code.REQUEST_INVALID,
        registration in {"static", "dynamic"},
        "static or dynamic",
        registration,
        "Correct slurm_node_registration.",
    )
    known = (cluster.get("nodes") or {}).get(name)
    if known:
        kind = "dynamic" if known.get("dynamic") else "static"
        yield finding(
            "registration",
            Code.REGISTRATION_UNSUITABLE,
            bool(known.get("dynamic")) == dynamic,
            f"a node that is not in the cluster yet, or a {'dynamic' if dynamic else 'static'} one",
            f"{name} is a {kind} node of the cluster",
            "Run scale_down for it first, or leave slurm_node_registration as it was.",
        )
    if dynamic:
        yield from _dynamic(cluster, joining)


def _dynamic(cluster: Mapping[str, Any], joining: int) -> Iterator[Finding]:
    config = cluster.get("config") or {}
    controller = cluster["version"]
    select, maximum = config.get("SelectType"), str(config.get("MaxNodeCount") or "")
    yield finding(
        "Slurm version for dynamic nodes",
        Code.REGISTRATION_UNSUITABLE,
        not versions.is_older(controller, _DYNAMIC),
        f"{_DYNAMIC} or later",
        controller,
        "Upgrade the controller, or leave slurm_node_registration at static.",
    )
    yield finding(
        "SelectType for dynamic nodes",
        Code.REGISTRATION_UNSUITABLE,
        select == "select/cons_tres",
        "select/cons_tres",
        str(select),
        "Set SelectType=select/cons_tres in slurm.conf, or leave slurm_node_registration at static.",
    )
    yield finding(
        "MaxNodeCount for dynamic nodes",
        Code.REGISTRATION_UNSUITABLE,
        maximum.isdigit() and int(maximum) >= joining,
        f"at least {joining}, the number of all nodes",
        maximum or "not set",
        "Set MaxNodeCount in slurm.conf and restart slurmctld.",
    )
