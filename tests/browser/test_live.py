"""The page follows what happens, and goes on where it was after a gap."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from playwright.sync_api import expect
from slurmscale.operations import Operation

from . import sockets
from .proxy import PREFIX, Proxy
from .service import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from .service import Service
    from .visitor import Visitor

BADGE = "[data-live]"


def test_bars_move_without_a_reload_and_never_back_for_all_who_look(
    visit: Callable[..., Visitor], service: Service
) -> None:
    recording = service.recordings[Operation.SCALE_UP]
    gates = [recording.wait_before(step) for step in (1, 4, 7)]
    run = service.run("node[01-03]")
    first, second = visit("ada", f"slurm/runs/{run.id}"), visit("vera", f"slurm/runs/{run.id}")
    seen = [0]
    first.page.evaluate("window.kept = true")
    for gate, phase in zip(gates, ("repository", "configuration", "proving"), strict=True):
        expect(first.find("[data-node=node02]")).to_contain_text(recording.phase_before(phase))
        seen.append(first.find("[data-node=node02] progress").evaluate("bar => bar.value"))
        gate.set()
    run.wait(60)
    for visitor in (first, second):
        expect(visitor.find(".title .pill")).to_contain_text("completed")
        expect(visitor.find(".tasks tbody tr")).to_have_count(3)
        expect(visitor.find(".overall .percent")).to_have_text("100 %")
    assert seen == sorted(seen)
    assert seen[-1] > 0
    assert first.page.evaluate("window.kept")


def test_status_card_and_list_of_runs_follow(visit: Callable[..., Visitor], service: Service) -> None:
    card, runs = visit("ada", "slurm"), visit("ada", "slurm/runs")
    expect(card.find(".empty")).to_be_visible()
    expect(runs.find(".empty")).to_be_visible()
    for visitor in (card, runs):
        expect(visitor.find(BADGE)).to_have_attribute("data-live", "live")
    service.run("node[01-02]").wait(60)
    expect(card.find("[data-figure=success_nodes]")).to_have_text("2")
    expect(runs.find("tbody tr")).to_contain_text("completed")
    expect(runs.find("tbody tr")).to_have_count(1)


def test_offline_is_shown_and_nothing_is_lost_or_doubled(visit: Callable[..., Visitor], service: Service) -> None:
    gate = service.recordings[Operation.SCALE_UP].wait_before(2)
    run = service.run("node[01-04]")
    visitor = visit("ada", f"slurm/runs/{run.id}")
    badge = visitor.find(BADGE)
    expect(badge).to_have_attribute("data-live", "live")
    expect(visitor.find(".tasks tbody tr")).to_have_count(4)
    visitor.context.set_offline(True)
    expect(badge).to_have_attribute("data-live", "reconnecting")
    gate.set()
    run.wait(60)
    expect(visitor.find(".title .pill")).to_contain_text("running")
    visitor.context.set_offline(False)
    expect(badge).to_have_attribute("data-live", "live")
    expect(visitor.find(".title .pill")).to_contain_text("completed")
    expect(visitor.find(".tasks tbody tr")).to_have_count(4)


def all_at(service: Service, run_id: str, phase: str) -> None:
    """Wait until all nodes of a run are in a phase."""
    for _ in range(600):
        if all(task.phase == phase for task in service.scaling.tasks(run_id)):
            return
        time.sleep(0.1)
    raise TimeoutError


def test_after_five_minutes_offline_one_step_brings_the_run_and_the_log_up_to_date(
    visit: Callable[..., Visitor], service: Service
) -> None:
    gates = [service.recordings[Operation.SCALE_UP].wait_before(step) for step in (2, 5)]
    run = service.run("node[01-04]")
    visitor = visit("ada", "slurm/settings")
    visitor.context.clock.install()
    visitor.context.add_init_script(sockets.KEEP)
    visitor.go(f"slurm/runs/{run.id}")
    badge, lines = visitor.find(BADGE), visitor.find(".log pre span")
    expect(badge).to_have_attribute("data-live", "live")
    visitor.page.get_by_role("button", name="Log node02").click()
    expect(lines.last).to_contain_text("changed: [node02]")
    before = lines.count()
    visitor.context.set_offline(True)
    expect(badge).to_have_attribute("data-live", "reconnecting")
    gates[0].set()
    all_at(service, run.id, "configuration")
    visitor.page.clock.fast_forward(300_000)
    expect(badge).to_have_attribute("data-live", "stale")
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.page.evaluate("window.messages = []")
    visitor.context.set_offline(False)
    expect(visitor.find("[data-node=node02]")).to_contain_text("configuration")
    expect(lines).not_to_have_count(before)
    told = visitor.page.evaluate("window.messages.map((one) => one.event)")
    assert sorted(event for event in told if event not in ("status", "ping")) == ["log", "scaling-progress"]
    assert not asked  # nothing but the socket
    shown = [text.rstrip("\n") for text in lines.all_inner_texts()]
    assert shown == [line.text for line in service.scaling.log("node02", run.id)]
    gates[1].set()
    run.wait(60)


def test_a_restart_of_the_service_is_survived(visit: Callable[..., Visitor], service: Service) -> None:
    gate = service.recordings[Operation.SCALE_UP].wait_before(2)
    run = service.run("node[01-04]")
    visitor = visit("ada", f"slurm/runs/{run.id}")
    badge = visitor.find(BADGE)
    expect(badge).to_have_attribute("data-live", "live")
    expect(visitor.find(".tasks tbody tr")).to_have_count(4)
    service.stop()
    expect(badge).not_to_have_attribute("data-live", "live")
    gate.set()
    run.wait(60)
    service.start()
    expect(badge).to_have_attribute("data-live", "live")
    expect(visitor.find(".title .pill")).to_contain_text("completed")
    expect(visitor.find(".tasks tbody tr")).to_have_count(4)


def test_a_log_is_followed(visit: Callable[..., Visitor], service: Service) -> None:
    gate = service.recordings[Operation.SCALE_UP].wait_before(4)
    run = service.run("node01")
    visitor = visit("ada", f"slurm/runs/{run.id}")
    visitor.page.get_by_role("button", name="Log node01").click()
    text = visitor.find(".log pre")
    expect(text).to_contain_text("changed: [node01]")
    before = text.locator("span").count()
    gate.set()
    run.wait(60)
    expect(text.locator("span")).not_to_have_count(before)


def test_a_session_that_is_revoked_closes_the_socket(visit: Callable[..., Visitor], service: Service) -> None:
    visitor = visit("ada", "slurm/runs")
    expect(visitor.find(BADGE)).to_have_attribute("data-live", "live")
    service.accounts.tokens.remove(visitor.token.id)
    visitor.context.set_offline(True)
    visitor.context.set_offline(False)
    expect(visitor.button("Sign in")).to_be_visible()
    visitor.page.get_by_label("User").fill("ada")
    visitor.page.get_by_label("Password").fill(PASSWORD)
    visitor.button("Sign in").click()
    visitor.heading("Runs")
    expect(visitor.find(BADGE)).to_have_attribute("data-live", "live")


def test_behind_a_path_and_without_sockets_the_page_follows_by_server_sent_events(
    visit: Callable[..., Visitor], service: Service
) -> None:
    gate = service.recordings[Operation.SCALE_UP].wait_before(2)
    run = service.run("node[01-03]")
    proxy = Proxy(service)
    visitor = visit("ada", "slurm")
    visitor.allowed.append(proxy.url.removesuffix(PREFIX))
    visitor.page.goto(f"{proxy.url}/slurm")
    visitor.page.get_by_role("link", name="Runs", exact=True).click()
    visitor.find("tbody a").first.click()
    visitor.heading("scale-up node[01-03]")
    assert visitor.page.url == f"{proxy.url}/slurm/runs/{run.id}"
    expect(visitor.find(BADGE)).to_have_attribute("data-live", "live")
    assert proxy.refused >= 2
    gate.set()
    run.wait(60)
    expect(visitor.find(".title .pill")).to_contain_text("completed")
    expect(visitor.find(".tasks tbody tr")).to_have_count(3)
    visitor.page.reload()
    visitor.heading("scale-up node[01-03]")
    proxy.shutdown()
    proxy.server_close()
