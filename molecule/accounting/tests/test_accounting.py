"""How a job ended is known after the controller has forgotten it, from the accounting and by nobody else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from slurmscale.models import JobSpec, SlurmJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurmscale.runs.jobs import Jobs
    from testinfra.host import Host

LIMIT = 180


@pytest.fixture(scope="module", autouse=True)
def soon_forgotten(ctl1: Host) -> None:
    """Slurm keeps ended jobs for five minutes otherwise, and clears its queue twice a minute."""
    ctl1.check_output("echo MinJobAge=2 >> /etc/slurm/slurm.conf && scontrol reconfigure")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1)


def forgotten(ctl1: Host, job: SlurmJob) -> bool:
    # Asked for a single job that has left the queue, squeue fails otherwise.
    return bool(ctl1.run("squeue --noheader --states=all --jobs=%s,999999 | grep .", job.job_id).rc)


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("#!/bin/sh\ntrue\n", ("COMPLETED", "0:0")),
        ("#!/bin/sh\nexit 3\n", ("FAILED", "3:0")),
    ],
)
def test_a_job_that_nobody_looked_at_is_known_by_the_accounting(
    script: str, ended: tuple[str, str], jobs: Jobs, ctl1: Host
) -> None:
    job = jobs.submit("lab", JobSpec(script, name="unseen"))
    assert not job.ended
    until(lambda: forgotten(ctl1, job))
    # slurmctld tells slurmdbd within some seconds
    until(lambda: jobs.show(job.id).ended)
    found = jobs.show(job.id)
    assert (found.state, found.exit_code) == ended
    assert (found.lost, found.note, found.nodes) == (False, "", "ubuntu1")


def test_jobs_that_have_left_and_that_run_are_told_by_one_question(jobs: Jobs, ctl1: Host) -> None:
    gone = jobs.submit("lab", JobSpec("#!/bin/sh\ntrue\n"))
    until(lambda: forgotten(ctl1, gone))
    running = jobs.submit("lab", JobSpec("#!/bin/sh\nsleep 600\n"))

    def states() -> list[str]:
        told = {job.id: job.state for job in jobs.refresh("lab")}
        return [told.get(job.id, jobs.show(job.id).state) for job in (gone, running)]

    until(lambda: states() == ["COMPLETED", "RUNNING"])
    jobs.cancel(running.id)
    until(lambda: forgotten(ctl1, running))
    until(lambda: jobs.show(running.id).state == "CANCELLED")


@pytest.fixture
def silent(ctl1: Host) -> Iterator[None]:
    ctl1.check_output("systemctl stop slurmdbd")
    yield
    ctl1.check_output("systemctl start slurmdbd")


@pytest.mark.usefixtures("silent")
def test_an_accounting_that_is_silent_is_not_taken_for_an_answer(jobs: Jobs, ctl1: Host) -> None:
    job = jobs.submit("lab", JobSpec("#!/bin/sh\ntrue\n"))
    until(lambda: forgotten(ctl1, job))
    found = jobs.show(job.id)
    assert (found.state, found.lost, found.ended) == (job.state, False, False)
    assert "the accounting has not told its end yet" in found.note
