"""Jobs: submitted, followed in Slurm's words, their output read, cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from slurmscale.models import SlurmJob
from slurmscale.operations import Operation
from slurmscale.store.jobs import JobRecords

from .recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from .service import Service
    from .visitor import Visitor

RUNNING = {
    "state": "RUNNING", "reason": "None", "exit_code": "0:0", "nodes": "n1", "user": "alice", "partition": "main",
    "batch_host": "n1", "name": "hello", "output": "/shared/alice/slurm-18.out",
}  # fmt: skip
ASKED = (("checking", "", "Ask Slurm"),)


def says(service: Service, operation: Operation, **report: Any) -> None:
    report = {"job_id": "18", "jobs": {}, "accounting": "none"} | report
    service.recordings[operation] = Recording(ASKED, report=report)


@pytest.fixture
def job(service: Service) -> SlurmJob:
    found = SlurmJob(
        "20260101-000000-abc123", "lab", "18", name="hello", state="PENDING", submitted_at=1.0, seen_at=2.0
    )
    JobRecords(service.scaling.store).add(found)
    return found


def test_a_job_is_submitted_and_listed(visit: Callable[..., Visitor], service: Service) -> None:
    says(service, Operation.SUBMIT_JOB, jobs={"18": RUNNING})
    visitor = visit("otto", "slurm-tasks")
    expect(visitor.find(".empty")).to_contain_text("No job was submitted from here yet.")
    visitor.button("Submit job").click()
    expect(visitor.page.get_by_label("Command")).to_be_focused()
    visitor.page.get_by_label("Command").fill("hostname")
    visitor.page.get_by_label("Time limit").fill("30")
    visitor.button("Submit job").click()
    row = visitor.page.get_by_role("table", name="Jobs").locator("tbody tr")
    for text in ("hello", "RUNNING", "18", "alice", "main", "n1"):
        expect(row).to_contain_text(text)
    expect(visitor.page.get_by_label("Command")).to_have_value("")
    assert service.launches[-1].extra_vars["job_time"] == {"__ansible_unsafe": "30"}


@pytest.mark.usefixtures("job")
def test_a_job_is_shown_as_slurm_says_with_its_output_and_cancelled(
    visit: Callable[..., Visitor], service: Service
) -> None:
    says(service, Operation.QUERY_JOBS, jobs={"18": RUNNING})
    output = {"found": True, "host": "n1", "text": "<b>hello</b>\n", "size": 13}
    says(service, Operation.READ_JOB_OUTPUT, **output)
    says(service, Operation.CANCEL_JOB, jobs={"18": RUNNING | {"state": "CANCELLED", "exit_code": "0:15"}})
    visitor = visit("otto", "slurm-tasks")
    visitor.button("hello").click()
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_contain_text("RUNNING")
    dialog.get_by_role("button", name="Output").click()
    expect(dialog.locator("pre")).to_have_text("<b>hello</b>\n")
    dialog.get_by_role("button", name="Cancel job").click()
    expect(dialog).to_contain_text("CANCELLED")
    expect(dialog.get_by_role("button", name="Cancel job")).to_have_count(0)
    visitor.page.keyboard.press("Escape")
    expect(visitor.find("tbody tr")).to_contain_text("0:15")


@pytest.mark.usefixtures("job")
def test_a_job_that_left_the_queue_without_an_accounting_is_said_to_have(
    visit: Callable[..., Visitor], service: Service
) -> None:
    says(service, Operation.QUERY_JOBS)
    visitor = visit("vera", "slurm-tasks")
    expect(visitor.find("tbody tr")).to_contain_text("PENDING")
    expect(visitor.button("Submit job")).to_have_count(0)
    visitor.button("Refresh").click()
    expect(visitor.find("tbody tr")).to_contain_text("left the queue")


@pytest.mark.usefixtures("job")
def test_a_cluster_that_gives_no_answer_is_said_to_and_what_was_known_stays(
    visit: Callable[..., Visitor], service: Service
) -> None:
    why = {"code": "host-unreachable", "reason": "ctl1 does not answer.", "remedy": "Check it."}
    service.recordings[Operation.QUERY_JOBS] = Recording(ASKED, {"ctl": (0, why)})
    visitor = visit("vera", "slurm-tasks")
    visitor.button("Refresh").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("ctl1 does not answer.")
    expect(visitor.find("tbody tr")).to_contain_text("PENDING")


def test_older_jobs_are_shown_on_demand(visit: Callable[..., Visitor], service: Service) -> None:
    records = JobRecords(service.scaling.store)
    for number in range(201):
        records.add(SlurmJob(f"j{number:03}", "lab", str(number), name=f"job{number}", state="COMPLETED"))
    visitor = visit("vera", "slurm-tasks")
    expect(visitor.find("tbody tr")).to_have_count(200)
    visitor.button("Show more").click()
    expect(visitor.find("tbody tr")).to_have_count(201)
    expect(visitor.find("tbody tr").last).to_contain_text("job0")
    expect(visitor.button("Show more")).to_have_count(0)
