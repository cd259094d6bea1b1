# Apache License 2.0 (see LICENSE)
"""Chooses how slurmctld takes a new configuration: by `scontrol reconfigure` or by a restart."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import versions


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


def choose_apply_method(
    version: Tuple[int, ...], daemon: Dict[str, Any], wanted: str, *, configless: bool
) -> ApplyMethod:
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
    modern = versions.reconfigures_nodes(version)
    guarded = versions.survives_reconfigure(version) and not daemon["foreground"]
    if wanted == "reconfigure" and not (modern or guarded):
        since = versions.RECONFIGURES_NODES if daemon["foreground"] else versions.SURVIVES_RECONFIGURE
        needed = f"{versions.version_text(since)} or later{' when it runs with -D' if daemon['foreground'] else ''}"
        raise CannotApplyError(
            Code.APPLY_METHOD_UNSUITABLE,
            f"apply=reconfigure needs Slurm {needed}, but slurmctld is "
            f"{versions.version_text(version) or 'of an unknown version'}: a changed set of nodes would make it exit.",
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
