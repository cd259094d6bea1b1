"""Writes into the audit trail how each run ended that a user of the service asked for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import structlog

from slurmscale.errors import SlurmscaleError, StoreUnavailableError
from slurmscale.states import RUN_ACTIVE, RunStatus
from slurmscale.store.audit import AuditEntry

if TYPE_CHECKING:
    from types import TracebackType

    from slurmscale.scaling import Scaling
    from slurmscale.store.audit import AuditTrail

_RECORD_SECONDS = 60.0
_RETRY_SECONDS = 5.0

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
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="run-audit", daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left, and stop."""
        self._closing.set()
        self._notices.close()
        self._thread.join()

    def _work(self) -> None:
        while (notice := self._notices.get()) is not None:
            # a run may end while the database is away
            while notice.status not in RUN_ACTIVE and not self._is_recorded(notice.run_id):
                if self._closing.wait(_RETRY_SECONDS):
                    break

    def _is_recorded(self, run_id: str) -> bool:
        """Record the end of a run; say whether there is nothing more to be done about it."""
        try:
            return self._record(run_id)
        except StoreUnavailableError as exc:
            log.warning("the end of a run can not be audited yet", run=run_id, error=exc.reason)
            return False
        except SlurmscaleError as exc:
            log.warning("the end of a run could not be audited", run=run_id, error=exc.reason)
        return True

    def _record(self, run_id: str) -> bool:
        # the notice of the end comes before its record
        run = self._scaling.watch(run_id).wait(_RECORD_SECONDS)
        if run.status in RUN_ACTIVE:
            return False
        if run.requested_by is None:
            return True
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
        return True
