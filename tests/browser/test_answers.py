"""Answers that are late: what was asked for last, or told by the stream since, is shown and not undone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from slurmscale.models import Cluster, SlurmJob
from slurmscale.operations import Operation
from slurmscale.store.jobs import JobRecords

from . import sockets

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Route

    from .service import Service
    from .visitor import Visitor

LIVE = "[data-live=live]"


class Held:
    """The next answer to an address, which is kept back until it is let go; later ones pass."""

    def __init__(self, visitor: Visitor, address: str) -> None:
        self._routes: list[Route] = []
        self._answers: list[object] = []
        self._visitor = visitor
        visitor.page.route(address, self._hold)

    def _hold(self, route: Route) -> None:
        if self._routes:
            route.continue_()
            return
        self._routes.append(route)
        self._answers.append(route.fetch())

    def __bool__(self) -> bool:
        """Say whether there is an answer."""
        return bool(self._answers)

    def wait(self) -> None:
        """Wait for the answer."""
        for _ in range(600):
            if self:
                return
            self._visitor.page.wait_for_timeout(100)
        raise TimeoutError

    def let_go(self) -> None:
        """Give the answer to the page."""
        self._routes[0].fulfill(response=self._answers[0])  # type: ignore[arg-type] # what it was asked for
        self._visitor.page.wait_for_timeout(300)


def test_the_status_that_the_stream_told_stays(visit: Callable[..., Visitor], service: Service) -> None:
    visitor = visit("ada", "slurm/settings")
    held = Held(visitor, f"{service.url}/api/slurm/scaling/status")
    visitor.go("slurm")
    held.wait()
    service.run("node[01-03]").wait(60)
    expect(visitor.find("[data-figure=success_nodes]")).to_have_text("3")
    held.let_go()
    expect(visitor.find("[data-figure=success_nodes]")).to_have_text("3")


def cluster(service: Service, version: str) -> None:
    info = {"cluster_name": "lab", "version": version, "nodes": {"n1": {"state": "IDLE", "reason": version}}}
    service.scaling.store.save_cluster(
        Cluster("lab", controller="ctl1", info=info, health="healthy", seen_at=time.time())
    )


def job(service: Service, state: str) -> None:
    row = SlurmJob("20260101-000000-abc123", "lab", "18", name="hello", state=state, submitted_at=1.0, seen_at=2.0)
    jobs = JobRecords(service.scaling.store)
    if state == "OLD":
        jobs.add(row)
    else:
        jobs.update([row])


VIEWS = (
    ("slurm/clusters", "api/slurm/clusters", "cluster", cluster),
    ("slurm/nodes", "api/slurm/clusters/lab/info", "cluster", cluster),
    ("slurm-tasks", "api/jobs?*", "job", job),
)


@pytest.mark.parametrize("view", VIEWS, ids=[view[0] for view in VIEWS])
def test_what_was_asked_for_last_counts(visit: Callable[..., Visitor], service: Service, view: Any) -> None:
    path, address, event, change = view
    change(service, "OLD")
    visitor = visit("ada", "slurm/settings")
    visitor.context.add_init_script(sockets.KEEP)
    held = Held(visitor, f"{service.url}/{address}")
    visitor.go(path)
    held.wait()
    change(service, "NEW")
    expect(visitor.find(LIVE)).to_be_visible()
    visitor.page.evaluate(sockets.TELL, {"event": event, "id": None, "data": {}})
    expect(visitor.find("tbody tr").first).to_contain_text("NEW")
    held.let_go()
    expect(visitor.find("tbody tr").first).to_contain_text("NEW")


def test_no_line_is_lost_that_comes_while_the_end_of_the_log_is_read(
    visit: Callable[..., Visitor], service: Service
) -> None:
    service.recordings[Operation.SCALE_UP].logs = {"node01": [f"line {number:04d}" for number in range(1200)]}
    run = service.run("node01").wait(60)
    visitor = visit("ada", "slurm/settings")
    visitor.context.add_init_script(sockets.KEEP)
    visitor.go(f"slurm/runs/{run.id}")
    visitor.page.get_by_role("button", name="Log node01").click()
    lines = visitor.find(".log pre span")
    expect(lines).to_have_count(500)
    visitor.button("Earlier").click()
    expect(lines.last).to_contain_text("line 07")
    held = Held(visitor, f"{service.url}/api/slurm/tasks/*/logs?*")
    visitor.page.get_by_label("Follow").check()
    held.wait()
    late = {"id": 10**9, "text": "a late line"}
    told = {"log": f"{run.id}:node01", "lines": [late], "last": late["id"]}
    visitor.page.evaluate(sockets.TELL, {"event": "log", "id": str(late["id"]), "data": told})
    held.let_go()
    expect(lines.last).to_contain_text("a late line")
    expect(lines).to_have_count(500)
