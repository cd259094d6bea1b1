"""Writes into the audit trail how each run ended that a user of the service asked for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import structlog

from slurmscale.errors import SlurmscaleError
from slurmscale.states import RUN_ACTIVE, RunStatus
from slurmscale.store.audit import AuditEntry

if TYPE_CHECKING:
    from types import TracebackType

    from slurmscale.scaling import Scaling
    from slurmscale.store.audit import AuditTrail

_RECORD_SECONDS = 60.0

log = structlog.get_logger(__name__)


class RunAudit:
    """Watches the runs of this process.

    Args:
        scaling: The library.
        trail: The audit trail.
    """

    def __init__(self, scaling: Scaling, trail: AuditTrail) -> None:
        self._scaling = scaling
        self._trail = trail
        self._notices = scaling.subscribe()
        self._thread = threading.Thread(target=self._work, name="run-audit", daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left, and stop."""
        self._notices.close()
        self._thread.join()

    def _work(self) -> None:
        while (notice := self._notices.get()) is not None:
            if notice.status in RUN_ACTIVE:
                continue
            try:
                self._record(notice.run_id)
            except SlurmscaleError as exc:
                log.warning("the end of a run could not be audited", run=notice.run_id, error=exc.reason)

    def _record(self, run_id: str) -> None:
        # the notice of the end comes before its record
        run = self._scaling.watch(run_id).wait(_RECORD_SECONDS)
        if run.requested_by is None:
            return
        results = {task.node: task.error_code or task.status.value for task in self._scaling.store.tasks(run_id)}
        self._trail.add(
            AuditEntry(
                action=f"{run.operation.value}-end",
                status="success" if run.status is RunStatus.COMPLETED else "failed",
                resource=f"run/{run.id}",
                source=run.worker or "service",
                user_name=run.requested_by,
                cluster=run.cluster,
                nodes=",".join(run.nodes),
                run_id=run.id,
                details={"status": run.status.value, "results": results},
            )
        )
