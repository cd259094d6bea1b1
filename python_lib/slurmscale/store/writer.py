"""The one thread that writes a live run into the store, in batches.

Ansible must never wait for the database: what comes in is only appended here. Changes of the same node are merged, so
a database that is away for a while costs memory for log lines and nothing else. What the database refuses for its
content is left out alone, and named in the log.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

from slurmscale.errors import RunLostError, SlurmscaleError, StoreError, StoreUnavailableError
from slurmscale.models import LogLine
from slurmscale.store.repository import Batch
from slurmscale.store.tables import row_of_change, row_of_counts, row_of_log_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from slurmscale.models import Counts, Run, TaskChange
    from slurmscale.store.repository import Store

_INTERVAL = 0.2
_BATCH = 5_000
_MOST_WAITING = 15_000
_PATIENCE = 10.0
"""Seconds for which the reader of the events is slowed down when too much is waiting."""
_MOST_KEPT = 200_000
"""Log lines kept while the database is away."""
_RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Writer:
    """Records one run.

    Args:
        store: Where to.
        run: The run, with its owner.
        task_ids: Ids of the task records by node.
        give_up: Seconds after which a database that takes nothing is given up, at the end of the run.
        on_failure: Called when the run can't be recorded any more; its work should end then.
    """

    def __init__(
        self,
        store: Store,
        run: Run,
        task_ids: Mapping[str, int],
        give_up: float = 60.0,
        on_failure: Callable[[SlurmscaleError], None] | None = None,
    ) -> None:
        self._store = store
        self._owned = run
        self._task_ids = task_ids
        self._give_up = give_up
        self.on_failure = on_failure
        self._changes: dict[str, TaskChange] = {}
        self._lines: list[LogLine] = []
        self._values: dict[str, Any] = {}
        self._report: dict[str, Any] | None = None
        self._wake = threading.Condition()
        self._urgent = False
        self._closing = False
        self._away = False
        self._lost_lines = 0
        self.error: SlurmscaleError | None = None
        self.unwritten: Batch | None = None
        """What the database did not take in the end."""
        self._thread = threading.Thread(target=self._work, name=f"writer-{run.id}", daemon=True)
        self._thread.start()

    def put(
        self,
        changes: Iterable[TaskChange] = (),
        lines: Iterable[LogLine] = (),
        counts: Counts | None = None,
        *,
        urgent: bool = False,
        report: dict[str, Any] | None = None,
        **values: Any,
    ) -> None:
        """Hand over what is to be written; never waits for long.

        Args:
            changes: Nodes that changed.
            lines: New log lines.
            counts: How the run's tasks stand after the changes.
            urgent: Write at once; for changes of status.
            report: What the playbook reported.
            **values: Columns of the run.
        """
        with self._wake:
            self._wake.wait_for(lambda: len(self._lines) < _MOST_WAITING or self._away or self.error, _PATIENCE)
            for change in changes:
                self._changes[change.node] = change
            if self.error is None and len(self._lines) < _MOST_KEPT:
                self._lines.extend(lines)
            else:
                self._lost_lines += len(list(lines))
            self._values.update(values)
            self._report = report or self._report
            if counts is not None:
                self._values.update(row_of_counts(counts))
            self._urgent |= urgent
            if self._urgent or len(self._lines) >= _BATCH:
                self._wake.notify_all()

    def close(self) -> None:
        """Write the rest and stop.

        Raises:
            StoreError: The database did not take it; `unwritten` has it.
            RunLostError: The run was ended by another process.
        """
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join()
        if self.error is not None:
            with self._wake:
                self.unwritten = self._take()
            raise self.error

    def _work(self) -> None:
        try:
            self._write_until_closed()
        except Exception as exc:
            log.exception("the run can not be recorded any more", run=self._owned.id)
            self._fail(exc if isinstance(exc, SlurmscaleError) else StoreError(f"The run can't be recorded: {exc!r}"))

    def _write_until_closed(self) -> None:
        deadline: float | None = None
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._urgent or self._closing or len(self._lines) >= _BATCH, _INTERVAL)
                changes, lines, values, report = self._changes, self._lines, self._values, self._report
                batch, closing = self._take(), self._closing
            if not any(batch):
                if closing:
                    return
                continue
            try:
                self._write(batch)
            except StoreUnavailableError as exc:
                self._put_back(changes, lines, values, report)
                self._log_unavailable(exc)
                if closing:
                    deadline = deadline or time.monotonic() + self._give_up
                    if time.monotonic() > deadline:
                        self._fail(exc)
                        return
                time.sleep(_RETRY_SECONDS)
                continue
            except SlurmscaleError:
                self._put_back(changes, lines, values, report)
                raise
            self._log_available()

    def _write(self, batch: Batch) -> None:
        try:
            self._store.record(self._owned, batch.changes, batch.lines, batch.report, **batch.values)
        except (StoreUnavailableError, RunLostError):
            raise
        except StoreError as exc:
            self._write_singly(batch, exc)

    def _write_singly(self, batch: Batch, why: StoreError) -> None:
        """Write what can be written of a batch that was refused for something in it; nothing follows a run's end."""
        parts: list[dict[str, Any]] = [{"changes": [row]} for row in batch.changes]
        parts += [{"lines": [row]} for row in batch.lines]
        if batch.report:
            parts.append({"report": batch.report})
        refused: list[str] = []
        for part in parts:
            try:
                self._store.record(self._owned, **part)
            except (StoreUnavailableError, RunLostError):
                raise
            except StoreError as exc:
                refused.append(str(exc))
        if len(refused) == len(parts):
            raise why
        self._store.record(self._owned, **batch.values)
        log.warning("the database refused some records", run=self._owned.id, count=len(refused), refused=refused[:3])

    def _take(self) -> Batch:
        if self._lost_lines and not self._away:
            text = f"{self._lost_lines} lines were lost: the database was away for too long."
            self._lines.append(
                LogLine(node=None, counter=0, created_at=time.time(), event="warning", task="", text=text)
            )
            self._lost_lines = 0
        batch = Batch(
            changes=[
                {"b_id": self._task_ids[change.node], **row_of_change(change)} for change in self._changes.values()
            ],
            lines=[row_of_log_line(line, self._owned.id) for line in self._lines],
            values=self._values,
            report=self._report,
        )
        self._changes, self._lines, self._values, self._report = {}, [], {}, None
        self._urgent = False
        self._wake.notify_all()
        return batch

    def _put_back(
        self,
        changes: dict[str, TaskChange],
        lines: list[LogLine],
        values: dict[str, Any],
        report: dict[str, Any] | None,
    ) -> None:
        with self._wake:
            self._report = self._report or report
            self._changes = changes | self._changes
            self._lines = lines + self._lines
            self._values = values | self._values

    def _log_unavailable(self, exc: StoreError) -> None:
        if not self._away:
            log.warning(
                "The database does not take the run's records. The run goes on, they are kept until it does.",
                run=self._owned.id, error=exc.reason,
            )  # fmt: skip
        self._away = True

    def _log_available(self) -> None:
        if self._away:
            log.warning("The database takes the run's records again.", run=self._owned.id)
        self._away = False

    def _fail(self, exc: SlurmscaleError) -> None:
        with self._wake:
            self.error = exc
            self._wake.notify_all()
        if self.on_failure is not None:
            self.on_failure(exc)
