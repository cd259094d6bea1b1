"""What is changed from the page: nodes added and removed, runs cancelled and repeated, users, tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from slurmscale.models import SlurmJob
from slurmscale.operations import Operation
from slurmscale.states import RunStatus
from slurmscale.store.jobs import JobRecords

from .recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Route

    from .service import Service
    from .visitor import Visitor

NODES = [f"node{number:02d}" for number in range(1, 7)]
with_inventory = pytest.mark.parametrize("service", [NODES], indirect=True)
SUDO = (0, {"code": "sudo-missing", "reason": "node03 has no sudo.", "remedy": "Install it."})
MISSING = (2, {"code": "packages-missing", "reason": "slurm-smd-slurmd is not there.", "remedy": "Publish it."})
LOOK = (("checking", "preflight", "Probe the nodes"),)
DIFF = "--- a\n+++ b\n+NodeName=node01 CPUs=4\n-NodeName=old CPUs=2"


def planned(*names: str) -> Recording:
    row = {"ready": True, "code": "", "reason": "", "remedy": "", "steps": ["packages", "key"], "registration": "add"}
    controller = {"host": "ctl1", "action": "reconfigure", "diff": [{"text": DIFF}]}
    return Recording(LOOK, report={"kind": "plan", "nodes": dict.fromkeys(names, row), "controller": controller})


@with_inventory
def test_nodes_are_checked_planned_and_added(visit: Callable[..., Visitor], service: Service) -> None:
    rows = {name: {"ready": True, "code": ""} for name in ("node01", "node02")}
    refused = {"node03": {"ready": False, **SUDO[1]}}
    service.recordings[Operation.CHECK] = Recording(LOOK, {"node03": SUDO}, report={"nodes": rows | refused})
    service.recordings[Operation.PLAN] = planned("node01", "node02")
    visitor = visit("otto", "slurm/add")
    nodes = visitor.page.get_by_label("Nodes", exact=False).first
    check = visitor.button("Check readiness")
    expect(check).to_be_disabled()
    nodes.fill("node[01")
    expect(visitor.find("[data-count]")).to_have_text("This is not a host list yet.")
    nodes.fill("node[01-03]")
    expect(visitor.find("[data-count]")).to_have_text("3 nodes")
    check.click()
    refusal = visitor.find("tbody tr", has_text="node03")
    expect(refusal).to_contain_text("not ready")
    expect(refusal).to_contain_text("node03 has no sudo. Install it.")
    visitor.button("Plan 2 nodes").click()
    expect(visitor.page.get_by_text("The controller is reconfigured")).to_be_visible()
    expect(visitor.find(".added").last).to_have_text("+NodeName=node01 CPUs=4\n")
    visitor.button("Add 2 nodes").click()
    visitor.heading("scale-up node[01-02]")
    expect(visitor.find(".title .pill")).to_contain_text("completed")
    expect(visitor.find(".facts")).to_contain_text("otto")


@with_inventory
def test_nodes_are_removed_when_their_number_is_typed(visit: Callable[..., Visitor], service: Service) -> None:
    job = SlurmJob("20260101-000000-abc123", "lab", "18", name="mesh", state="RUNNING", nodes="node[02-05]")
    JobRecords(service.scaling.store).add(job)
    visitor = visit("otto", "slurm/remove")
    jobs = visitor.page.get_by_role("table", name="Jobs on the nodes")
    visitor.page.get_by_label("Nodes", exact=False).first.fill("node01")
    expect(jobs).to_have_count(0)
    visitor.page.get_by_label("Nodes", exact=False).first.fill("node[01-02]")
    expect(jobs).to_contain_text("mesh")
    remove = visitor.button("Remove 2 nodes")
    expect(remove).to_be_disabled()
    visitor.page.get_by_label("requeue them").check()
    visitor.page.get_by_label("Type the number of nodes").fill("2")
    remove.click()
    visitor.heading("scale-down node[01-02]")
    [run] = service.scaling.runs()
    assert run.variables["jobs"] == "requeue"


@with_inventory
def test_a_refused_request_says_why_and_what_to_do(visit: Callable[..., Visitor], service: Service) -> None:
    gate = service.recordings[Operation.SCALE_UP].wait_before(1)
    run = service.run("node01")
    visitor = visit("ada", "slurm/remove")
    visitor.page.get_by_label("Nodes", exact=False).first.fill("node01")
    visitor.page.get_by_label("Type the number of nodes").fill("1")
    visitor.button("Remove 1 node").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("is still in progress on node01")
    expect(visitor.page.get_by_label("Nodes", exact=False).first).to_have_value("node01")
    gate.set()
    run.wait(60)


@with_inventory
def test_only_failed_nodes_are_repeated(visit: Callable[..., Visitor], service: Service) -> None:
    recording = service.recordings[Operation.SCALE_UP]
    recording.failures = {"node02": MISSING}
    run = service.run("node[01-03]").wait(60)
    recording.failures = {}
    visitor = visit("otto", f"slurm/runs/{run.id}")
    visitor.button("Retry failed (1)").click()
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_contain_text("node02")
    dialog.get_by_text("Login").click()
    dialog.get_by_label("User").fill("root")
    dialog.get_by_label("Password").fill("s3cret words")
    with visitor.page.expect_request("**/retry") as asked:
        dialog.get_by_role("button", name="Retry failed (1)").click()
    assert asked.value.post_data_json == {"credentials": {"user": "root", "password": "s3cret words"}}
    visitor.heading("scale-up node02")
    expect(visitor.find(".title .pill")).to_contain_text("completed")
    expect(visitor.find(".facts")).to_contain_text(run.id)


def test_a_run_is_cancelled_after_a_question(visit: Callable[..., Visitor], service: Service) -> None:
    service.recordings[Operation.SCALE_UP].wait_before(2)
    run = service.run("node[01-02]")
    visitor = visit("otto", f"slurm/runs/{run.id}")
    visitor.button("Cancel run").click()
    visitor.button("Go back").click()
    expect(visitor.page.get_by_role("dialog")).to_be_hidden()
    visitor.button("Cancel run").click()
    visitor.page.get_by_role("dialog").get_by_role("button", name="Cancel run").click()
    expect(visitor.find(".title .pill")).to_contain_text("cancelled")
    assert run.wait(60).status is RunStatus.CANCELLED


def test_an_answer_that_is_older_than_what_the_stream_told_changes_nothing(
    visit: Callable[..., Visitor], service: Service
) -> None:
    service.recordings[Operation.SCALE_UP].wait_before(2)
    run = service.run("node[01-02]")
    visitor = visit("otto", f"slurm/runs/{run.id}")
    visitor.button("Cancel run").wait_for()
    address = f"{service.url}/api/slurm/runs/{run.id}"
    before = visitor.page.evaluate("url => fetch(url).then((answer) => answer.json())", address)

    def answer_late(route: Route) -> None:
        expect(visitor.find(".title .pill")).to_contain_text("cancelled")
        route.fulfill(json=before)

    visitor.page.route(address, answer_late)
    visitor.button("Cancel run").click()
    # the stream may tell it before the page asks: what counts is that the old answer comes after it
    with visitor.page.expect_response(address):
        visitor.page.get_by_role("dialog").get_by_role("button", name="Cancel run").click()
    expect(visitor.page.get_by_role("dialog")).to_be_hidden()
    expect(visitor.find(".title .pill")).to_contain_text("cancelled")


def test_a_viewer_is_offered_nothing_that_changes(visit: Callable[..., Visitor], service: Service) -> None:
    service.recordings[Operation.SCALE_UP].failures = {"node01": MISSING}
    run = service.run("node01").wait(60)
    visitor = visit("vera", f"slurm/runs/{run.id}")
    expect(visitor.find(".reason")).to_be_visible()
    expect(visitor.button("Retry failed (1)")).to_have_count(0)
    expect(visitor.page.get_by_role("link", name="Add nodes")).to_have_count(0)


def test_users_and_tokens_are_made_and_deleted_and_it_is_all_audited(
    visit: Callable[..., Visitor], service: Service
) -> None:
    visitor = visit("ada", "slurm/settings")
    users = visitor.page.get_by_role("table", name="Users")
    form = visitor.find("form", has=visitor.button("Add user"))
    form.get_by_label("Name").fill("nora")
    form.get_by_label("Role").select_option("operator")
    form.get_by_label("Password").fill("twelve letters")
    visitor.button("Add user").click()
    expect(users).to_contain_text("nora")
    form = visitor.find("form", has=visitor.button("Add token"))
    form.get_by_label("Name").fill("for a script")
    visitor.button("Add token").click()
    token = visitor.find(".secret").inner_text()
    assert service.accounts.holder(token) is not None
    visitor.page.keyboard.press("Escape")
    visitor.button("Delete for a script").click()
    visitor.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(visitor.page.get_by_role("table", name="Tokens")).not_to_contain_text("for a script")
    assert service.accounts.holder(token) is None
    visitor.page.get_by_role("link", name="Audit").click()
    expect(visitor.find("tbody tr", has_text="create-user")).to_contain_text("success")
