# Apache License 2.0 (see LICENSE)
"""Chooses how slurmctld takes a new configuration: by `scontrol reconfigure` or by a restart.

With a changed set of nodes slurmctld exits at `scontrol reconfigure` up to 23.02. From 23.11 on a second slurmctld
takes over if it comes up; by the documentation, all slurmd would have to restart in 23.11 and 24.05. From 24.11 on it
is enough.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.versions import Version, version_text

#: From here on a reconfigure gives slurmctld other nodes; earlier ones are restarted.
RECONFIGURES_NODES = (24, 11)
#: From here on it may be asked for: the old slurmctld survives when the new one does not come up.
SURVIVES_RECONFIGURE = (23, 11)


class CannotApplyError(FailureError):
    """A new configuration can't be applied safely to this slurmctld in the way that was asked for."""


class ApplyMethod(NamedTuple):
    """How a new configuration reaches slurmctld.

    Attributes:
        action: `reconfigure` or `restart`.
        push: A `scontrol reconfigure` follows the restart, so that configless slurmds get the new files.
        guarded: Slurm itself keeps the old slurmctld when the new configuration is bad.
    """

    action: str
    push: bool
    guarded: bool


def reconfigures_nodes(slurmctld: Version) -> bool:
    """Whether `scontrol reconfigure` is the way to give this slurmctld other nodes."""
    return slurmctld >= RECONFIGURES_NODES


def survives_reconfigure(slurmctld: Version) -> bool:
    """Whether this slurmctld, as a daemon, goes on with the old configuration when the new one does not work."""
    return slurmctld >= SURVIVES_RECONFIGURE


def choose_apply_method(version: Version, daemon: Dict[str, Any], wanted: str, *, configless: bool) -> ApplyMethod:
    """Choose reconfigure or restart by version and by how slurmctld was started.

    With -D a slurmctld that can take nodes by a reconfigure executes the new one in place: one interruption as with a
    restart, but its process stays and configless slurmds get their files by it. So it is preferred, without counting as
    guarded.

    Args:
        version: Of slurmctld.
        daemon: From `slurmctld_service.describe_daemon`.
        wanted: `auto`, `reconfigure` or `restart`.
        configless: Whether slurmds get their configuration from slurmctld.

    Raises:
        CannotApplyError: `reconfigure` was asked for where it would make slurmctld exit.
    """
    modern = reconfigures_nodes(version)
    guarded = survives_reconfigure(version) and not daemon["foreground"]
    if wanted == "reconfigure" and not (modern or guarded):
        since = RECONFIGURES_NODES if daemon["foreground"] else SURVIVES_RECONFIGURE
        needed = f"{version_text(since)} or later{' when it runs with -D' if daemon['foreground'] else ''}"
        raise CannotApplyError(
            Code.APPLY_METHOD_UNSUITABLE,
            f"apply=reconfigure needs Slurm {needed}, but slurmctld is "
            f"{version_text(version) or 'of an unknown version'}: a changed set of nodes would make it exit.",
            "Use apply=auto.",
        )
    if wanted == "reconfigure" or (wanted == "auto" and modern):
        return ApplyMethod("reconfigure", push=False, guarded=guarded)
    if daemon["load"] != "loaded":
        found = daemon["load"] or "systemd does not answer"
        raise CannotApplyError(
            Code.SERVICE_MISSING,
            f"slurmctld must be restarted, but systemd has no unit {daemon['unit']}.service ({found}).",
            "Name its unit by the option service.",
        )
    return ApplyMethod("restart", push=configless, guarded=False)
