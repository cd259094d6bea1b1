"""What each view shows while it reads, without data, after a refusal, without a connection, and who may not see it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from playwright.sync_api import expect
from slurmscale.models import Counts, Run
from slurmscale.operations import Operation
from slurmscale.runner.processes import owner
from slurmscale.states import RunStatus

from . import sockets

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Route

    from .service import Service
    from .visitor import Visitor


class Seen(NamedTuple):
    """A view: what it reads, what it says when there is nothing, and the permission that it needs."""

    path: str
    reads: str
    empty: str
    permission: str | None = "slurm:read"


NO_CLUSTERS = "No cluster is known yet."
VIEWS = {
    "status": Seen("slurm", "api/slurm/scaling/status", "No nodes were added or removed lately."),
    "runs": Seen("slurm/runs", "api/slurm/runs?*", "There has been no run yet."),
    "run": Seen("slurm/runs/made-up", "api/slurm/runs/made-up", "This run has no nodes."),
    "add": Seen("slurm/add", "api/slurm/clusters", NO_CLUSTERS, "slurm:scale:nodes"),
    "remove": Seen("slurm/remove", "api/slurm/clusters", NO_CLUSTERS, "slurm:remove:nodes"),
    "nodes": Seen("slurm/nodes", "api/slurm/clusters/lab/info", "This cluster was not looked at yet."),
    "clusters": Seen("slurm/clusters", "api/slurm/clusters", NO_CLUSTERS),
    "jobs": Seen("slurm-tasks", "api/jobs?*", "No job was submitted from here yet.", "slurm:jobs:read"),
    "apphub": Seen("slurm/apphub", "api/apphub/health", "No cluster names an AppHub."),
    "audit": Seen("slurm/audit", "api/audit?*", "Nothing was done yet.", "audit:read"),
    "settings": Seen("slurm/settings", "api/tokens", "You have no tokens.", None),
}
PROBLEM = {
    "type": "/problems/store",
    "status": 503,
    "code": "store-unreachable",
    "detail": "The database is away.",
    "remedy": "Start it again.",
}


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    return visit("ada", "slurm/settings")


def nothing_there(route: Route) -> None:
    route.fulfill(json={"items": [], "next_cursor": None})


def refuse(route: Route) -> None:
    route.fulfill(status=503, json=PROBLEM)


def be_silent(visitor: Visitor) -> None:
    """Answer the stream in place of the service and say nothing: an event can bring what a view could not read."""
    visitor.page.route_web_socket("**/api/slurm/ws", lambda _: None)


def make_run(service: Service) -> None:
    made_up = Run("made-up", "lab", Operation.CHECK, RunStatus.RUNNING, ("n1",), Counts(1, 1), time.time(), **owner())
    service.scaling.store.create_run(made_up)


def test_while_it_reads_it_says_so(visitor: Visitor, service: Service) -> None:
    make_run(service)
    be_silent(visitor)
    for view in VIEWS.values():
        held: list[Route] = []
        address = f"{service.url}/{view.reads}"
        visitor.page.route(address, lambda route: held.append(route))  # noqa: B023, PLW0108 - let go in the same round
        visitor.go(view.path)
        expect(visitor.find("main .wait").first).to_have_text("Loading")
        for route in held:
            route.continue_()
        visitor.page.unroute(address)
        expect(visitor.find("main .wait")).to_have_count(0)


def test_without_data_it_says_what_to_do_next(visitor: Visitor, service: Service) -> None:
    for name, view in VIEWS.items():
        if name == "run":
            make_run(service)
        # what can't be empty here, or is another request than the first one, is answered in place of the service
        instead = {"run": f"{view.reads}/tasks?*", "apphub": view.reads, "settings": view.reads}.get(name)
        instead = view.reads if view.empty == NO_CLUSTERS else instead
        if instead:
            visitor.page.route(f"{service.url}/{instead}", nothing_there)
        visitor.go(view.path)
        expect(visitor.find("main .empty").first).to_contain_text(view.empty)
        visitor.page.unroute_all()


def test_what_the_service_refuses_is_told_with_the_remedy_and_can_be_tried_again(
    visitor: Visitor, service: Service
) -> None:
    make_run(service)
    be_silent(visitor)
    for view in VIEWS.values():
        address = f"{service.url}/{view.reads}"
        visitor.page.route(address, refuse)
        visitor.go(view.path)
        alert = visitor.page.get_by_role("alert")
        expect(alert).to_contain_text("The database is away.")
        expect(alert).to_contain_text("Start it again.")
        visitor.page.unroute(address)
        alert.get_by_role("button", name="Try again").click()
        expect(alert).to_have_count(0)
        expect(visitor.find("main .wait")).to_have_count(0)


def test_without_a_connection_what_is_shown_stays_and_is_said_to_be_old(
    visit: Callable[..., Visitor], service: Service
) -> None:
    make_run(service)
    visitor = visit("ada", "slurm/settings")
    visitor.context.clock.install()
    visitor.context.add_init_script(sockets.KEEP)
    for view in VIEWS.values():
        visitor.go(view.path)
        expect(visitor.find("[data-live=live]")).to_be_visible()
        expect(visitor.find("main .wait")).to_have_count(0)
        shown = visitor.find("main").inner_text()
        visitor.context.set_offline(True)
        expect(visitor.find("[data-live=reconnecting]")).to_be_visible()
        visitor.page.clock.fast_forward(20_000)
        expect(visitor.find("main .notice").first).to_contain_text("What is shown may be out of date.")
        expect(visitor.find("[data-live=stale]")).to_contain_text("stale since")
        assert shown.splitlines()[-1] in visitor.find("main").inner_text()
        visitor.context.set_offline(False)
        expect(visitor.find("[data-live=live]")).to_be_visible()


def test_who_may_not_see_it_is_told_the_permission(visit: Callable[..., Visitor], service: Service) -> None:
    visitor = visit("ada", "slurm/settings")
    visitor.heading("Settings")

    address = f"{service.url}/api/auth/me"
    me = visitor.page.evaluate("url => fetch(url).then((answer) => answer.json())", address)
    visitor.page.route(address, lambda route: route.fulfill(json={**me, "permissions": []}))
    for view in VIEWS.values():
        visitor.go(view.path)
        if view.permission:
            expect(visitor.find("main .notice", has_text=f"It needs the permission {view.permission}.")).to_be_visible()
            expect(visitor.find("nav a")).to_have_text(["Settings"])
        else:
            expect(visitor.find("main .notice", has_text="It needs the permission")).to_have_count(0)


def test_a_view_that_the_service_forbids_names_the_permission(visitor: Visitor, service: Service) -> None:
    body = {"type": "/problems/forbidden", "status": 403, "code": "forbidden", "permission": "audit:read"}
    visitor.page.route(f"{service.url}/api/audit?*", lambda route: route.fulfill(status=403, json=body))
    visitor.go("slurm/audit")
    expect(visitor.find("main .notice", has_text="It needs the permission audit:read.")).to_be_visible()
