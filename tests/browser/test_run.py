"""A run and its nodes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from playwright.sync_api import expect
from slurmscale.models import Counts, Run
from slurmscale.operations import Operation
from slurmscale.runner.processes import owner
from slurmscale.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from .service import Service
    from .visitor import Visitor

MARKUP = "<img src=x onerror=alert(1)>"
REASON = f"slurm-smd-slurmd is not on the AppHub {MARKUP}."
FAILED = (2, {"code": "packages-missing", "reason": REASON, "remedy": "Publish it, then retry."})


def test_failed_nodes_come_first_with_reason_and_remedy_and_done_ones_are_folded(
    visit: Callable[..., Visitor], service: Service
) -> None:
    service.recordings[Operation.SCALE_UP].failures = {"node07": FAILED}
    run = service.run("node[01-09]").wait(60)
    visitor = visit("vera", f"slurm/runs/{run.id}")
    visitor.heading("scale-up node[01-09]")
    rows = visitor.find(".tasks tbody tr")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text(REASON)
    expect(rows.first).to_contain_text("Publish it, then retry.")
    expect(visitor.find(".map .cell")).to_have_text([*"CCCCCCFCC"])
    visitor.button("8 done").click()
    expect(rows).to_have_count(9)
    visitor.page.keyboard.press("/")
    visitor.page.keyboard.type("node03")
    expect(rows).to_have_count(1)
    expect(visitor.button("Retry failed (1)")).to_have_count(0)  # a viewer may not


def test_names_and_logs_with_markup_stay_text(visit: Callable[..., Visitor], service: Service) -> None:
    run = Run("made-up", "lab", Operation.SCALE_UP, RunStatus.RUNNING, (MARKUP,), Counts(1, 1), time.time(), **owner())
    service.scaling.store.create_run(run)
    visitor = visit("ada", "slurm/runs/made-up")
    expect(visitor.find("td:first-child")).to_have_text(MARKUP)
    expect(visitor.find("h1")).to_contain_text(MARKUP)
    visitor.go("slurm")
    expect(visitor.find("tbody")).to_contain_text(MARKUP)
    service.recordings[Operation.SCALE_UP].logs = {"node01": [f"<script>alert(1)</script>{MARKUP}"]}
    logged = service.run("node01").wait(60)
    visitor.go(f"slurm/runs/{logged.id}")
    visitor.page.get_by_role("button", name="Log node01").click()
    expect(visitor.find(".log pre")).to_contain_text(f"<script>alert(1)</script>{MARKUP}")
    assert visitor.find("main img, dialog img, dialog script").count() == 0


def test_a_run_that_is_not_there_says_so(visit: Callable[..., Visitor]) -> None:
    visitor = visit("ada", "slurm/runs/nothing")
    expect(visitor.page.get_by_role("alert")).to_contain_text("nothing")


def test_an_address_that_is_no_page_leads_back(visit: Callable[..., Visitor]) -> None:
    visitor = visit("ada", "slurm/nonsense")
    visitor.heading("There is no such page.")
    visitor.find("main").get_by_role("link", name="Status").click()
    visitor.heading("Status")


def test_of_a_long_log_a_window_is_shown_and_all_of_it_is_searched(
    visit: Callable[..., Visitor], service: Service
) -> None:
    service.recordings[Operation.SCALE_UP].logs = {"node01": [f"line {number:04d}" for number in range(1, 1201)]}
    run = service.run("node01").wait(60)
    visitor = visit("vera", f"slurm/runs/{run.id}")
    visitor.page.get_by_role("button", name="Log node01").click()
    lines = visitor.find(".log pre span")
    expect(lines).to_have_count(500)
    expect(lines.last).to_contain_text("changed: [node01]")
    visitor.button("Earlier").click()
    expect(lines.last).to_contain_text("line 0708")
    visitor.button("Later").click()
    expect(lines.last).to_contain_text("changed: [node01]")
    visitor.page.get_by_label("Search").fill("LINE 007")
    visitor.page.get_by_label("Search").press("Enter")
    expect(lines).to_have_count(10)
    with visitor.page.expect_download() as download:
        visitor.find(".log").get_by_role("link", name="Download log").click()
    assert download.value.path().read_text().count("line ") == 1200
