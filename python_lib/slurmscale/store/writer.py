"""The one thread that writes a live run into the store, in batches.

Ansible must never wait for the database: what comes in is only appended here. Changes of the same node are merged, so
a database that hangs for a while costs memory for log lines and nothing else. When too much has piled up, `put` waits;
that slows the reader of the events down, not the playbook.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

from slurmscale.errors import StoreError
from slurmscale.store.tables import error_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurmscale.models import Counts, TaskChange
    from slurmscale.store.repository import Store

_INTERVAL = 0.5
_BATCH = 5_000
_MOST_WAITING = 15_000
_RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Writer:
    """Records one run.

    Args:
        store: Where to.
        run_id: The run.
        task_ids: Ids of the task records by node.
        give_up: Seconds after which a database that takes nothing is given up, at the end of the run or when too much
            is waiting.
    """

    def __init__(self, store: Store, run_id: str, task_ids: Mapping[str, int], give_up: float = 60.0) -> None:
        self._store = store
        self._run_id = run_id
        self._task_ids = task_ids
        self._give_up = give_up
        self._changes: dict[str, TaskChange] = {}
        self._lines: list[dict[str, Any]] = []
        self._run: dict[str, Any] = {}
        self._wake = threading.Condition()
        self._urgent = False
        self._closing = False
        self.error: StoreError | None = None
        self._thread = threading.Thread(target=self._work, name=f"writer-{run_id}", daemon=True)
        self._thread.start()

    def put(
        self,
        changes: Iterable[TaskChange] = (),
        lines: Iterable[dict[str, Any]] = (),
        counts: Counts | None = None,
        *,
        urgent: bool = False,
        **run: Any,
    ) -> None:
        """Hand over what is to be written.

        Args:
            changes: Nodes that changed.
            lines: New log lines, as rows.
            counts: How the run's tasks stand after the changes.
            urgent: Write at once; for changes of status.
            **run: Columns of the run.
        """
        with self._wake:
            self._wake.wait_for(lambda: len(self._lines) < _MOST_WAITING or self.error is not None)
            if self.error is not None:
                return
            for change in changes:
                self._changes[change.node] = change
            self._lines.extend(lines)
            self._run.update(run)
            if counts is not None:
                self._run.update(
                    active=counts.active, success=counts.success, failed=counts.failed,
                    active_progress=counts.active_progress,
                )  # fmt: skip
            self._urgent |= urgent
            if self._urgent or len(self._lines) >= _BATCH:
                self._wake.notify_all()

    def close(self) -> None:
        """Write the rest and stop.

        Raises:
            StoreError: The database did not take it.
        """
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        deadline: float | None = None
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._urgent or self._closing or len(self._lines) >= _BATCH, _INTERVAL)
                batch = self._take()
                closing = self._closing
            if not any(batch):
                if closing:
                    return
                continue
            try:
                self._store.record(self._run_id, *self._rows(*batch))
                deadline = None
            except StoreError as exc:
                deadline = deadline or time.monotonic() + self._give_up
                if (closing or len(self._lines) >= _MOST_WAITING) and time.monotonic() > deadline:
                    self._fail(exc)
                    return
                log.warning("the database does not take the run's records, trying again", error=str(exc))
                self._put_back(*batch)
                time.sleep(_RETRY_SECONDS)

    def _take(self) -> tuple[dict[str, TaskChange], list[dict[str, Any]], dict[str, Any]]:
        batch = self._changes, self._lines, self._run
        self._changes, self._lines, self._run = {}, [], {}
        self._urgent = False
        self._wake.notify_all()
        return batch

    def _put_back(self, changes: dict[str, TaskChange], lines: list[dict[str, Any]], run: dict[str, Any]) -> None:
        with self._wake:
            self._changes = changes | self._changes
            self._lines = lines + self._lines
            self._run = run | self._run

    def _fail(self, exc: StoreError) -> None:
        with self._wake:
            self.error = exc
            self._wake.notify_all()

    def _rows(
        self, changes: dict[str, TaskChange], lines: list[dict[str, Any]], run: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
        ids = self._task_ids
        rows = [
            {
                "b_id": ids[change.node],
                "status": change.status.value,
                "progress": change.progress,
                "step": change.step,
                "updated_at": change.updated_at,
                "started_at": change.started_at,
                "completed_at": change.completed_at,
                **error_columns(change.error),
            }
            for change in changes.values()
        ]
        return rows, lines, run | {"updated_at": time.time()}
