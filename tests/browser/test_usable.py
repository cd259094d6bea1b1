"""Usable by keyboard, on a phone, by a screen reader, in the dark and in Chinese."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from slurmscale.models import SlurmJob
from slurmscale.operations import Operation
from slurmscale.store.jobs import JobRecords

from .service import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from .service import Service
    from .visitor import Visitor

FAILED = (2, {"code": "packages-missing", "reason": "slurm-smd-slurmd is not there.", "remedy": "Publish it."})
VIEWS = {
    "slurm": "Status", "slurm/runs": "Runs", "slurm/nodes": "Nodes", "slurm/external-clusters": "Clusters",
    "slurm-tasks": "Jobs", "slurm/apphub": "AppHub", "slurm/add": "Add nodes", "slurm/remove": "Remove nodes",
    "slurm/audit": "Audit", "slurm/settings": "Settings",
}  # fmt: skip
JOB = SlurmJob(
    "20260101-000000-abc123", "lab", "18", name="a-job-with-a-rather-long-name", state="RUNNING", nodes="n[1-9]"
)
NODES = {"n1": {"state": "DOWN+NOT_RESPONDING", "reason": "Not responding"}, "n2": {"state": "IDLE", "reason": ""}}
INFO = {"cluster_name": "lab", "version": "24.11.5", "nodes": NODES, "states": {"IDLE": 1, "DOWN": 1}}


@pytest.fixture
def run_id(service: Service) -> str:
    service.recordings[Operation.SCALE_UP].failures = {"node02": FAILED}
    store = service.scaling.store
    store.save_cluster(dataclasses.replace(store.cluster("lab"), info=INFO, health="unhealthy", seen_at=1.0))
    JobRecords(store).add(JOB)
    return service.run("node[01-40],a-node-with-a-name-that-is-rather-long.cluster.example.org").wait(60).id


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding_of_axe(visit: Callable[..., Visitor], run_id: str, scheme: str) -> None:
    visitor = visit("ada", color_scheme=scheme)
    for path, heading in (VIEWS | {f"slurm/runs/{run_id}": "scale-up"}).items():
        visitor.go(path)
        visitor.heading(heading)
        expect(visitor.find(".wait")).to_have_count(0)
        found = Axe().run(visitor.page).response["violations"]
        assert not [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


def test_nothing_sticks_out_on_a_phone(visit: Callable[..., Visitor], run_id: str) -> None:
    visitor = visit("ada", viewport={"width": 360, "height": 740})
    for path, heading in (VIEWS | {f"slurm/runs/{run_id}": "scale-up"}).items():
        visitor.go(path)
        visitor.heading(heading)
        expect(visitor.find(".wait")).to_have_count(0)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 360
    visitor.button("Menu").click()
    visitor.page.get_by_role("link", name="Runs", exact=True).click()
    visitor.heading("Runs")


def test_the_keyboard_alone_is_enough(visit: Callable[..., Visitor], run_id: str) -> None:
    visitor = visit(None)
    keyboard = visitor.page.keyboard
    expect(visitor.page.get_by_label("User")).to_be_focused()
    keyboard.type("ada")
    keyboard.press("Tab")
    keyboard.type(PASSWORD)
    keyboard.press("Enter")
    visitor.heading("Status")
    expect(visitor.find("main tbody tr")).to_have_count(1)
    keyboard.press("j")
    keyboard.press("Enter")
    visitor.heading("scale-up")
    assert visitor.page.url.endswith(run_id)
    expect(visitor.find("main tbody tr")).to_have_count(1)
    keyboard.press("j")
    keyboard.press("Enter")
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_contain_text("node02")
    keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(visitor.page.get_by_role("button", name="Log node02")).to_be_focused()
    keyboard.press("?")
    expect(dialog).to_contain_text("next and previous row")


def test_chinese_and_the_theme_are_switched_and_kept(visit: Callable[..., Visitor]) -> None:
    visitor = visit("ada", color_scheme="light")
    visitor.button("中文").click()
    visitor.heading("状态")
    visitor.button("浅色或深色").click()
    visitor.page.reload()
    visitor.heading("状态")
    assert visitor.page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
    assert visitor.page.evaluate("document.documentElement.lang") == "zh-CN"
