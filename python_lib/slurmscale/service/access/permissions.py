"""What users may do, and which role may do it."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Permission(StrEnum):
    """What a route asks for."""

    READ = "slurm:read"
    CHECK = "slurm:check:nodes"
    SCALE = "slurm:scale:nodes"
    REMOVE = "slurm:remove:nodes"
    JOBS_READ = "slurm:jobs:read"
    JOBS_SUBMIT = "slurm:jobs:submit"
    JOBS_CANCEL = "slurm:jobs:cancel"
    CLUSTERS_WRITE = "slurm:clusters:write"
    REPAIR = "slurm:repair"
    CREDENTIALS_WRITE = "slurm:credentials:write"
    APPHUB_CHECK = "apphub:check"
    AUDIT_READ = "audit:read"
    USERS_ADMIN = "users:admin"
    WEBHOOKS_ADMIN = "webhooks:admin"
    METRICS_READ = "metrics:read"


class Role(StrEnum):
    """What a user is."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_VIEWER = frozenset({Permission.READ, Permission.JOBS_READ, Permission.METRICS_READ})
_OPERATOR = _VIEWER | {
    Permission.CHECK,
    Permission.SCALE,
    Permission.REMOVE,
    Permission.JOBS_SUBMIT,
    Permission.JOBS_CANCEL,
    Permission.APPHUB_CHECK,
}
OF_ALL_CLUSTERS = frozenset({Permission.WEBHOOKS_ADMIN, Permission.METRICS_READ})
"""What tells of all clusters together: not for who is limited to some."""
PERMISSIONS: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {Role.VIEWER: _VIEWER, Role.OPERATOR: _OPERATOR, Role.ADMIN: frozenset(Permission)}
)


def permissions_of(role: Role, *, limited: bool) -> frozenset[Permission]:
    """Return what a role may do.

    Args:
        role: The role.
        limited: Whether it is limited to some clusters.
    """
    return PERMISSIONS[role] - OF_ALL_CLUSTERS if limited else PERMISSIONS[role]
