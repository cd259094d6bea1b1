"""A run at work: the thread that carries its events, and the handle its starter holds."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psutil
import structlog

from slurmscale.errors import Code, SlurmscaleError, StoreError
from slurmscale.models import Failure
from slurmscale.operations import Operation
from slurmscale.states import RunStatus

if TYPE_CHECKING:
    from slurmscale.models import Run
    from slurmscale.progress.tracker import Tracker
    from slurmscale.runner.protocol import Job
    from slurmscale.runs.broadcast import Broadcaster, Subscription
    from slurmscale.runs.event_pipeline import EventPipeline
    from slurmscale.store.repository import Store
    from slurmscale.store.writer import Writer

_TICK = 0.5
_CANCEL_POLL = 0.5
_PLAN_WAIT = 2.0
_PLAY_WAIT = 0.3
_HEARTBEAT = 30.0
CANCELLED = Failure(Code.RUN_CANCELLED, "The run was cancelled.", "Run it again to continue.")
_NO_RESULT = Failure(Code.ANSIBLE_FAILED, "ansible-playbook ended without a result.")

log = structlog.get_logger(__name__)


class RunHandle:
    """A run that was started in this process.

    Args:
        run: The run as it was recorded.
        job: The playbook at work.
        store: Where it is recorded.
        broadcaster: Who watches.
        pipeline: Takes the events.
        writer: The pipeline's way to the store.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - a run is these parts
        self, run: Run, job: Job, store: Store, broadcaster: Broadcaster, pipeline: EventPipeline, writer: Writer
    ) -> None:
        self.id = run.id
        self.nodes = run.nodes
        self._run = run
        self._job = job
        self._store = store
        self._broadcaster = broadcaster
        self._pipeline = pipeline
        self._writer = writer
        self._finished = threading.Event()
        self._failure: SlurmscaleError | None = None
        self._heartbeat = 0.0

    @property
    def tracker(self) -> Tracker:
        """The progress as it is now, without asking the database."""
        return self._pipeline.tracker

    def start(self) -> None:
        """Begin."""
        self._job.start()
        threading.Thread(target=self._work, name=f"run-{self.id}", daemon=True).start()
        threading.Thread(target=self._watch_for_cancel, name=f"cancel-{self.id}", daemon=True).start()

    def subscribe(self) -> Subscription:
        """Receive the notices of this run."""
        return self._broadcaster.subscribe(self.id)

    def cancel(self, *, force: bool = False) -> None:
        """Stop the work on all nodes; returns when it is stopped.

        Args:
            force: Kill at once instead of asking the processes to end.
        """
        self._job.stop(CANCELLED, force=force)

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            The run as recorded; still active when the time was over.

        Raises:
            StoreError: The run ended, but its end could not be recorded.
        """
        self._finished.wait(timeout)
        if self._failure is not None:
            raise self._failure
        return self._store.run(self.id)

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self._finished.is_set()

    def _work(self) -> None:
        try:
            self._carry()
        except Exception as exc:
            # a defect of ours must neither leave the playbook running unseen nor the run active for ever
            log.exception("the run's events could not be processed", run=self.id)
            self._job.stop(Failure(Code.INTERNAL_ERROR, f"A mistake in slurmscale ended the run: {exc!r}"))
        try:
            self._end()
        except StoreError as exc:
            self._failure = exc
        finally:
            self._job.close()
            self._finished.set()

    def _carry(self) -> None:
        waiting_for_plan = True
        for raw in self._job.stream(_TICK):
            if raw is None:
                self._tick()
                continue
            name = raw.get("event")
            if name in ("playbook_on_start", "playbook_on_play_start"):
                # the outline is written right after the first event; without the callback only this once is waited
                lines = self._job.plan_lines(self._plan_wait(first=waiting_for_plan))
                waiting_for_plan = False
            else:
                lines = self._job.plan_lines() if name == "playbook_on_task_start" else []
            for line in lines:
                self.tracker.add_plan_line(line)
            if name == "playbook_on_stats":
                self.tracker.add_refusals(self._job.refusals())
            self._pipeline.event(raw)
            if name == "playbook_on_start" and self._job.pid:
                self._record_process(self._job.pid)

    def _plan_wait(self, *, first: bool) -> float:
        if first:
            return _PLAN_WAIT
        # a play's line follows its event at once; it says which hosts take part
        return _PLAY_WAIT if self.tracker.plan.known else 0.0

    def _tick(self) -> None:
        now = time.time()
        self._pipeline.tick(now)
        if now - self._heartbeat > _HEARTBEAT:
            # tells other machines that this process lives
            self._heartbeat = now
            self._writer.put(updated_at=now)

    def _record_process(self, pid: int) -> None:
        try:
            self._writer.put(urgent=True, ansible_pid=pid, ansible_started=psutil.Process(pid).create_time())
        except psutil.Error:
            return

    def _end(self) -> None:
        now = time.time()
        tracker = self.tracker
        status, error = self._outcome(now)
        self._pipeline.finish(status, error, now)
        self._writer.close()
        if self._pipeline.has_stats and tracker.counts().success:
            kind = timings_kind(self._run)
            # a run that found everything done says nothing about how long the work takes
            if tracker.changed_anything or self._run.operation is Operation.CHECK or not tracker.plan.timings:
                self._store.save_timings(kind, self.id, tracker.timings())

    def _outcome(self, now: float) -> tuple[RunStatus, Failure | None]:
        tracker, job = self.tracker, self._job
        if self._pipeline.has_stats:
            error = tracker.error()
            return (RunStatus.FAILED, error) if error else (RunStatus.COMPLETED, None)
        if job.stopped is not None:
            tracker.abort(job.stopped, now)
            return RunStatus.CANCELLED if job.stopped.code == Code.RUN_CANCELLED else RunStatus.FAILED, job.stopped
        error = job.error or _NO_RESULT
        if self._pipeline.tail:
            error = error._replace(reason=self._pipeline.tail)
        tracker.abort(error, now)
        return RunStatus.FAILED, error

    def _watch_for_cancel(self) -> None:
        """Another process asks for a cancel by writing it into the store."""
        while not self._finished.wait(_CANCEL_POLL):
            try:
                asked = self._store.cancel_requested(self.id)
            except StoreError as exc:
                log.warning("cannot see whether the run is to be cancelled", run=self.id, error=str(exc))
                continue
            if asked:
                self.cancel()
                return


def timings_kind(run: Run) -> str:
    """Name what a run's timings are comparable with."""
    return f"{run.operation.playbook}{' --check' if run.check else ''}"
