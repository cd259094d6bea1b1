"""The status card and the way to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect
from slurmscale.operations import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from .service import Service
    from .visitor import Visitor

FAILED = (2, {"code": "packages-missing", "reason": "slurm-smd-slurmd is not there.", "remedy": "Publish it."})


def test_without_runs_the_next_step_is_shown(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.heading("Status")
    expect(visitor.find(".empty")).to_contain_text("No nodes were added or removed lately.")


def test_figures_and_circle_equal_the_library_s(visit: Callable[..., Visitor], service: Service) -> None:
    service.recordings[Operation.SCALE_UP].failures = {"node03": FAILED}
    service.run("node[01-04]").wait(60)
    gate = service.recordings[Operation.SCALE_UP].wait_before(5)
    at_work = service.run("node[05-06]")
    visitor = visit()
    expect(visitor.find(".circle")).to_have_attribute("data-state", "active")
    for figure, text in (("active_tasks", "2"), ("success_nodes", "3"), ("failed_nodes", "1")):
        expect(visitor.find(f"[data-figure={figure}]")).to_have_text(text)
    gate.set()
    at_work.wait(60)
    visitor.page.reload()
    status = service.scaling.status()
    expect(visitor.find(".circle")).to_have_attribute("data-state", "exception")
    expect(visitor.find("[data-figure=progress]")).to_have_text(f"{status.progress} %")
    expect(visitor.find("[data-figure=success_nodes]")).to_have_text(str(status.success_nodes))
    expect(visitor.find("tbody tr")).to_have_count(2)


def test_success_is_a_state_of_its_own(visit: Callable[..., Visitor], service: Service) -> None:
    service.run("node[01-02]").wait(60)
    visitor = visit()
    expect(visitor.find(".circle")).to_have_attribute("data-state", "success")
    expect(visitor.find(".circle")).to_have_attribute("aria-label", "success, 100 %")


def test_a_cluster_that_does_not_answer_is_told(visit: Callable[..., Visitor], service: Service) -> None:
    visitor = visit()
    expect(visitor.find(".empty")).to_be_visible()
    expect(visitor.find(".notice")).to_have_count(0)
    service.scaling.store.record_look("lab", None)
    visitor.page.reload()
    notice = visitor.find(".notice.warning")
    expect(notice).to_contain_text("1 cluster does not answer as it should: lab")
    service.scaling.store.record_look("lab", {"nodes": {}})
    visitor.page.reload()
    expect(visitor.find(".empty")).to_be_visible()
    expect(notice).to_have_count(0)


def test_running_tasks_unfold(visit: Callable[..., Visitor], service: Service) -> None:
    gate = service.recordings[Operation.SCALE_UP].wait_before(3)
    run = service.run("node[05-07]")
    visitor = visit()
    visitor.page.get_by_text("Running tasks (3)").click()
    rows = visitor.find(".running tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("node05")
    expect(rows.first.get_by_role("progressbar")).to_be_visible()
    gate.set()
    run.wait(60)
