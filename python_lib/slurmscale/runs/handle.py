"""An active run: the thread that carries its events, and the handle its starter holds."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from slurmscale import settings
from slurmscale.errors import Code, RefusedError, ResultNotRecordedError, RunLostError, SlurmscaleError, StoreError
from slurmscale.models import CANCELLED, Failure, Task
from slurmscale.progress.report_failures import failures_in
from slurmscale.progress.tracker import Tracker
from slurmscale.runner import processes
from slurmscale.runner.watchdog import Watchdog
from slurmscale.runs.broadcast import end_of
from slurmscale.runs.event_pipeline import EventPipeline
from slurmscale.runs.recovery import INTERRUPTED, give_up, keep_result
from slurmscale.states import RUN_ACTIVE, RunStatus
from slurmscale.store.counters import count_contacts
from slurmscale.store.tables import error_columns, row_of_task
from slurmscale.store.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

    from slurmscale.models import Counts, Run, TaskChange
    from slurmscale.operations import Stage
    from slurmscale.redaction import Redactor
    from slurmscale.runner.protocol import Job
    from slurmscale.runs.broadcast import Broadcaster, Subscription
    from slurmscale.store.repository import Store

_TICK = 0.1
_CANCEL_POLL = 0.5
_HAND_OVER_SECONDS = 5.0
_RENEWALS = 6
"""How often a lease is renewed before it would be over."""
_GIVES_UP = 0.75
"""The part of a lease after which a process that could not renew it stops, before another one may take over."""
_WATCHDOG_ENDS = 0.8
"""The part after which the watchdog ends Ansible of a process that did not: it has no passwords, so it comes second."""
_PLAN_WAIT = 2.0
_PLAY_WAIT = 0.3
_NO_RESULT = Failure(Code.ANSIBLE_FAILED, "ansible-playbook ended without a result.")

log = structlog.get_logger(__name__)


class RunHandle:
    """A run that was started in this process.

    Args:
        run: The run as it was recorded.
        job: The running playbook.
        store: Where it is recorded.
        broadcaster: Who watches.
        redactor: Replaces the run's secrets in all that is recorded.
        recorded: The run's tasks as they were recorded.
        data_dir: Where the result is kept when the database does not take it.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - a run is these parts
        self,
        run: Run,
        job: Job,
        store: Store,
        broadcaster: Broadcaster,
        redactor: Redactor,
        recorded: list[Task],
        data_dir: Path,
    ) -> None:
        self.id = run.id
        self.nodes = run.nodes
        self._run = run
        self._job = job
        self._store = store
        self._broadcaster = broadcaster
        tracker = Tracker(
            run.nodes,
            store.timings(timings_kind(run)),
            redactor,
            changes=run.operation.definition.changes,
            whole=run.operation.definition.whole,
            recorded=recorded,
            stage=run.stage,
            later=_later_seconds(store, run),
        )
        self._writer = Writer(store, run, {task.node: task.id for task in recorded})
        self._pipeline = EventPipeline(
            run.id, tracker, self._writer, broadcaster, redactor, part=run.shard is not None, warnings=run.warnings
        )
        self._data_dir = data_dir
        self._report: dict[str, Any] = {}
        self._leaving = ""
        """Why the run is left to another process; empty while it is not."""
        self._stopping = threading.Event()
        self._ending = threading.Event()
        self._finished = threading.Event()
        self._failure: SlurmscaleError | None = None
        self._kept: Run | None = None
        self._writer.on_failure = self._on_writer_failure
        self._watchdog: Watchdog | None = None
        self._heard_of = 0.0
        """Since when other machines may not have heard of this process."""

    @property
    def tracker(self) -> Tracker:
        """The progress as it is now, without asking the database."""
        return self._pipeline.tracker

    def start(self, renewed: float) -> None:
        """Begin.

        Args:
            renewed: When the run was last recorded as this process's, in seconds since the boot.
        """
        self._heard_of = renewed
        if self._store.shared and self._job.run_dir:
            environment = os.environ | settings.blanked_environment()
            self._watchdog = Watchdog(self._job.run_dir, self._watchdog_ends, environment)
        self._job.start()
        threading.Thread(target=self._work, name=f"run-{self.id}", daemon=True).start()
        threading.Thread(target=self._keep_lease, name=f"lease-{self.id}", daemon=True).start()

    def subscribe(self) -> Subscription:
        """Receive the notices of this run."""
        return self._broadcaster.subscribe(self.id)

    def cancel(self, *, force: bool = False) -> None:
        """Stop the work on all nodes; returns when it is stopped.

        Args:
            force: Kill at once instead of asking the processes to end.

        Raises:
            RefusedError: The run cannot be cancelled now.
        """
        if self.uncut:
            raise not_cancelled(self.id, self.uncut)
        self._job.stop(CANCELLED, force=force)

    def leave(self) -> None:
        """Stop the work on all nodes, and let another process go on with it where one may; returns when it is stopped.

        Raises:
            RefusedError: The run cannot be stopped now.
        """
        if self.uncut:
            raise RefusedError(f"Run {self.id} cannot be left now.", self.uncut)
        self._leaving = "was stopped"
        self._stopping.set()
        self._job.stop(INTERRUPTED)
        self._finished.wait()

    @property
    def uncut(self) -> str:
        """How it ends, when it can't be cancelled any more; empty while it can. Others know it from `Run.uncut`."""
        uncut = self._run.operation.definition.uncut
        return uncut.end if uncut and uncut.play in self._pipeline.plays else ""

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            The run; still active when the time was over. When the database was away at the end, what it will record.

        Raises:
            ResultNotRecordedError: The run has ended, and its result is recorded nowhere.
        """
        self._finished.wait(timeout)
        if self._failure is not None:
            raise self._failure
        return self._kept or self._store.run(self.id)

    def tasks(self) -> list[Task]:
        """Return the run's tasks as they are recorded, or will be when the database is back."""
        if self._kept is None:
            return self._store.tasks(self.id)
        return [self._task(node.as_change()) for node in self.tracker.nodes.values()]

    def changes(self) -> list[TaskChange]:
        """Return how each node stands, without asking the database."""
        return [node.as_change() for node in list(self.tracker.nodes.values())]

    def counts(self) -> Counts:
        """Say how the run's tasks stand, likewise."""
        return self.tracker.counts()

    @property
    def report(self) -> dict[str, Any]:
        """What the playbook reported; empty as long as it did not."""
        return self._report

    @property
    def run(self) -> Run:
        """The run as it was started."""
        return self._run

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
        except SlurmscaleError as exc:
            self._failure = exc
        except Exception as exc:
            log.exception("the end of the run could not be recorded", run=self.id)
            self._failure = ResultNotRecordedError(f"Run {self.id} has ended, and its result is not known: {exc!r}")
        finally:
            self._job.close()
            if self._watchdog:
                self._watchdog.close()
            self._finished.set()

    def _carry(self) -> None:
        waiting_for_plan = True
        for raw in self._job.stream(_TICK):
            if raw is None:
                self._pipeline.tick(time.time())
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
                self._report = self._job.report()
                self.tracker.add_refusals(failures_in(self._report))
            self._pipeline.event(raw)
            if name == "playbook_on_play_start" and self.uncut:
                # for those that watch the run from another process
                self._writer.put(urgent=True, committed=True)
            if name == "playbook_on_start" and self._job.pid:
                self._record_process(self._job.pid)

    def _plan_wait(self, *, first: bool) -> float:
        if first:
            return _PLAN_WAIT
        # a play's line follows its event at once; it says which hosts take part
        return _PLAY_WAIT if self.tracker.plan.known else 0.0

    def _record_process(self, pid: int) -> None:
        self._writer.put(urgent=True, ansible_pid=pid, ansible_ticks=processes.start_ticks(pid))

    def _end(self) -> None:
        self._ending.set()
        now = time.time()
        tracker = self.tracker
        if not self._leaving and self._is_overdue and self._watchdog:
            # the watchdog was faster than the thread that keeps the lease
            self._leave_as_overdue()
        if self._leaving and not self._pipeline.has_stats:
            self._leave(now)
            return
        status, error = self._outcome(now)
        error = self._pipeline.finish(status, error, now, self._report)
        try:
            self._writer.close()
        except RunLostError:
            # whoever ended it has recorded why
            return
        except StoreError as exc:
            self._keep(status, error, now, exc)
            return
        self._count_contacts()
        if self._run.shard:
            self._tell_end()
        if self._pipeline.has_stats and tracker.counts().success:
            kind = timings_kind(self._run)
            # a run that found everything done says nothing about how long the work takes
            only_looks = not self._run.operation.definition.changes
            if tracker.changed_anything or only_looks or not tracker.plan.timings:
                self._store.save_timings(kind, self._run.key, tracker.timings())

    def _tell_end(self) -> None:
        """Tell of the end of the run when this was the last of its shards."""
        run = self._store.run(self.id)
        if run.status not in RUN_ACTIVE and run.owner_id == self._run.owner_id:
            self._broadcaster.publish(end_of(run))

    def _count_contacts(self) -> None:
        try:
            count_contacts(self._store, self._run, self._pipeline.contacts.values())
        except StoreError as exc:
            log.warning("the first contacts with hosts could not be counted", run=self.id, error=str(exc))

    def _leave(self, now: float) -> None:
        self._pipeline.flush(now)
        try:
            self._writer.close()
        except RunLostError:
            return
        except StoreError as exc:
            log.warning("what was done last could not be recorded", run=self.id, error=str(exc))
        # as long as this process lives, no other one of this machine takes the run
        while not self._hand_over() and not self._stopping.wait(_HAND_OVER_SECONDS):
            pass

    def _hand_over(self) -> bool:
        """Let another process go on with the run; say whether the database took that."""
        try:
            run = self._store.carried(self._run.key)
            if run.owner_id == self._run.owner_id:
                give_up(self._store, run, f"{run.worker} {self._leaving}")
        except StoreError as exc:
            log.warning("the run could not be handed over", run=self.id, error=str(exc))
            return False
        return True

    def _keep(self, status: RunStatus, error: Failure | None, now: float, why: StoreError) -> None:
        unwritten = self._writer.unwritten
        path = keep_result(self._run, unwritten, self._data_dir) if unwritten else None
        if path is None:
            raise ResultNotRecordedError(
                f"Run {self.id} has ended ({status.value}), but its result could not be recorded: {why.reason}",
                "Make the database answer, or room on its disk, and run it again: finished work is not repeated.",
            ) from why
        log.warning("The database is away. The result is kept and recorded by the next start.", file=str(path))
        ended = replace(self._run, status=status, counts=self.tracker.counts(), completed_at=now, updated_at=now)
        self._kept = replace(ended, **error_columns(error))

    def _task(self, change: TaskChange) -> Task:
        return Task(id=0, **row_of_task(self._run, change))

    def _outcome(self, now: float) -> tuple[RunStatus, Failure | None]:
        tracker, job = self.tracker, self._job
        if self._pipeline.has_stats:
            error = tracker.error()
            return (RunStatus.FAILED, error) if error else (RunStatus.COMPLETED, None)
        if job.stopped is not None:
            tracker.abort(job.stopped, now)
            return RunStatus.CANCELLED if job.stopped.code == Code.RUN_CANCELLED else RunStatus.FAILED, job.stopped
        error = job.error or _NO_RESULT
        if self._pipeline.tail and not error.remedy:
            # what it said last is mostly why
            error = error._replace(reason=self._pipeline.tail)
        tracker.abort(error, now)
        return RunStatus.FAILED, error

    def _keep_lease(self) -> None:
        """Show others that this process lives, and see what they want: a cancel, or the run itself."""
        renewed = self._heard_of
        why = ""
        while not self._ending.wait(_CANCEL_POLL):
            if self._is_overdue:
                # another process may take it any moment: never two of them at work on one node
                self._leave_as_overdue(why)
                self._job.stop(INTERRUPTED)
                return
            now = processes.seconds_since_boot()
            try:
                if now - renewed > self._store.lease_seconds / _RENEWALS:
                    self._store.record(self._run)
                    renewed = now
                    self._show_life(now)
                if self._store.cancel_requested(self._run) and not self.uncut:
                    self.cancel()
                    return
                why = ""
            except RunLostError as exc:
                self._stop_unless_ending(exc)
                return
            except StoreError:
                # the writer tells of it, once
                why = "could not reach the database"
                if not self._run.queued:
                    # whoever started it waits for it, whatever becomes of the database
                    self._show_life(now)

    def _show_life(self, now: float) -> None:
        self._heard_of = now
        if self._watchdog:
            self._watchdog.put_off(self._watchdog_ends)

    @property
    def _watchdog_ends(self) -> float:
        return self._heard_of + self._store.lease_seconds * _WATCHDOG_ENDS

    @property
    def _is_overdue(self) -> bool:
        """Whether another machine may take the run over, as it has heard nothing of it for long."""
        silent = processes.seconds_since_boot() - self._heard_of
        return self._store.shared and silent > self._store.lease_seconds * _GIVES_UP

    def _leave_as_overdue(self, why: str = "") -> None:
        silent = processes.seconds_since_boot() - self._heard_of
        self._leaving = f"{why or 'stood still'} for {silent:.0f} s"

    def _on_writer_failure(self, exc: SlurmscaleError) -> None:
        # from the writer's own thread, which may not wait for the end of the work
        threading.Thread(target=self._stop_unless_ending, args=[exc], daemon=True).start()

    def _stop_unless_ending(self, exc: SlurmscaleError) -> None:
        if not self._ending.is_set():
            self._job.stop(Failure(exc.code, exc.reason, exc.remedy))


def not_cancelled(run_id: str, uncut: str) -> RefusedError:
    """Return why a run that is not cut any more is not cancelled.

    Args:
        run_id: The run.
        uncut: How it ends.
    """
    return RefusedError(f"Run {run_id} cannot be cancelled any more.", uncut)


def timings_kind(run: Run, stage: Stage | None = None) -> str:
    """Name what the timings of a run are comparable with, or those of another stage of it."""
    stage = stage or run.stage
    name = f" {stage.name}" if stage else ""
    return f"{run.operation.value}{name}{' --check' if run.check else ''}"


def _later_seconds(store: Store, run: Run) -> float | None:
    """Return the expected seconds of the stages that follow that of a shard; None when no earlier run tells."""
    stages = run.operation.definition.stages
    seconds = 0.0
    for stage in stages[stages.index(run.stage) + 1 :] if run.stage else ():
        timings = store.timings(timings_kind(run, stage))
        if not timings:
            return None
        seconds += sum(timing.seconds * timing.share for timing in timings.values())
    return seconds
