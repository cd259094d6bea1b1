"""Runs a playbook that answers a question, or does what is done in a moment, without a record of its own."""

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
    from slurmscale.runs.request import Request
    from slurmscale.settings import Settings

_TICK = 1.0
_LIMIT = 120.0
"""Seconds, unless the request says otherwise."""


def answer(config: Settings, request: Request, make_job: Callable[[Launch], Job]) -> dict[str, Any]:
    """Return the report that the playbook of an operation writes.

    Args:
        config: Settings.
        request: What is asked.
        make_job: Makes the job that runs the playbook.

    Raises:
        RefusedError: There is no answer; it says why.
    """
    prepared = prepare_run(config, request)
    job = make_job(dataclasses.replace(prepared.launch, timeout=request.options.timeout or _LIMIT))
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
        why = failure or job.stopped or job.error or Failure(Code.ANSIBLE_FAILED, "The playbook wrote no report.")
        raise RefusedError(prepared.redactor(why.reason), prepared.redactor(why.remedy), code=why.code)
    finally:
        job.close()
