"""Waits for what a playbook reports: one that is a run, or one that only answers a query and leaves no record."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from slurmscale.errors import Code, RefusedError
from slurmscale.models import Failure
from slurmscale.progress import events
from slurmscale.runs.launch_builder import prepare_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmscale.runner.protocol import Job, Launch
    from slurmscale.runs.handle import RunHandle
    from slurmscale.runs.request import Request
    from slurmscale.settings import Settings

_TICK = 1.0
_LIMIT = 120.0
"""Seconds, unless the request says otherwise."""
_CANCEL_WAIT = 15.0
_NO_REPORT = Failure(Code.ANSIBLE_FAILED, "The playbook wrote no report.")


def queried_report(config: Settings, request: Request, make_job: Callable[[Launch], Job]) -> dict[str, Any]:
    """Return the report that the playbook of an operation writes.

    Args:
        config: Settings.
        request: What is asked.
        make_job: Makes the job that runs the playbook.

    Raises:
        RefusedError: There is no answer; it says why.
    """
    prepared = prepare_run(config, _limited(request))
    return report_of(make_job(prepared.launch), prepared.redactor)


def recorded_report(request: Request, start: Callable[[Request], RunHandle]) -> tuple[str, dict[str, Any]]:
    """Return the id of the run of a request, and what its playbook reported; its caller being stopped cancels it.

    Args:
        request: What is asked.
        start: Begins the run.

    Raises:
        RefusedError: There is no answer; it says why.
    """
    handle = start(_limited(request))
    try:
        run = handle.wait()
    except KeyboardInterrupt:
        handle.cancel()
        handle.wait(_CANCEL_WAIT)
        raise
    if handle.report:
        return run.id, handle.report
    # why its host failed says more than that it did
    failed = [task.error for task in handle.tasks() if task.error and task.error.code != Code.RUN_STOPPED]
    why = next(iter(failed), run.error) or _NO_REPORT
    raise RefusedError(why.reason, why.remedy, code=why.code)


def _limited(request: Request) -> Request:
    options = dataclasses.replace(request.options, timeout=request.options.timeout or _LIMIT)
    return dataclasses.replace(request, options=options)


def report_of(job: Job, redact: Callable[[str], str] = str) -> dict[str, Any]:
    """Run a job to its end and return the report that its playbook writes.

    Args:
        job: The job, not yet started.
        redact: Masks secrets in a text.

    Raises:
        RefusedError: There is no report; it says why, as the last host that failed, else as the job itself.
    """
    failure: Failure | None = None
    try:
        job.start()
        for raw in job.stream(_TICK):
            event = events.parse(raw) if raw else None
            bad = event and event.outcome in (events.Outcome.FAILED, events.Outcome.UNREACHABLE) and not event.ignored
            if event and bad:
                failure = events.failure_of(event)
        report = job.report()
        if report:
            return report
        why = failure or job.stopped or job.error or _NO_REPORT
        raise RefusedError(redact(why.reason), redact(why.remedy), code=why.code)
    finally:
        job.close()
