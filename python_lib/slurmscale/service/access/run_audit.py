"""Writes into the audit trail how each run ended that a user of the service asked for, whichever process ended it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from slurmscale.errors import SlurmscaleError
from slurmscale.periodic import PeriodicCall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.store.audit import AuditTrail

_LOOK_SECONDS = 2.0

log = structlog.get_logger(__name__)


@contextmanager
def auditing_ends(trail: AuditTrail) -> Iterator[None]:
    """Audit the ends of runs until the block is left, those too that came while nobody looked.

    Args:
        trail: The audit trail.
    """
    with PeriodicCall(trail.add_ends, _LOOK_SECONDS, "run-audit", "the ends of runs can not be audited yet"):
        yield
    try:
        trail.add_ends()
    except SlurmscaleError as exc:
        log.warning("the last ends of runs are left for the next process to audit", error=exc.reason)
