"""How quick the page is, also with a long log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from slurmscale.models import LogLine
from slurmscale.operations import Operation
from slurmscale.store.tables import log_lines, row_of_log_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from .service import Service
    from .visitor import Visitor

pytestmark = pytest.mark.timing

LINES = 50_000
MEASURE = """
window.frames = [];
let last = performance.now();
const frame = (now) => { frames.push(now - last); last = now; requestAnimationFrame(frame); };
requestAnimationFrame(frame);
"""


def test_a_long_log_freezes_no_frame(visit: Callable[..., Visitor], service: Service) -> None:
    run = service.run("node01").wait(60)
    lines = [LogLine("node01", number, time.time(), "runner_on_ok", "t", f"line {number}") for number in range(LINES)]
    with service.scaling.store.begin() as connection:
        connection.execute(log_lines.insert(), [row_of_log_line(line, run.id) for line in lines])
    visitor = visit("ada", f"slurm/runs/{run.id}")
    visitor.page.evaluate(MEASURE)
    visitor.page.get_by_role("button", name="Log node01").click()
    expect(visitor.find(".log pre span").last).to_contain_text(f"line {LINES - 1}")
    for _ in range(5):
        visitor.button("Earlier").click()
    expect(visitor.find(".log pre span")).to_have_count(500)
    longest = max(visitor.page.evaluate("window.frames"))
    print(f"longest frame {longest:.0f} ms")  # noqa: T201 - the figure
    assert longest <= 300


def test_first_paint(visit: Callable[..., Visitor]) -> None:
    visitor = visit("ada")
    visitor.heading("Status")
    painted = visitor.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first paint {painted:.0f} ms")  # noqa: T201 - the figure
    assert painted <= 500


ROWS, CHANGED, FRAMES = 1_000, 50, 120
# Feeds the page what the socket would tell it, some rows in each frame, and measures the frames.
FLOOD = """
async ({ id, changed, frames }) => {
  const page = window.sockets.at(-1);
  const tasks = [...document.querySelectorAll("[data-node]")].map((row) => row.dataset.node);
  const times = [];
  let revision = Date.now();
  let last = await new Promise(requestAnimationFrame);
  for (let frame = 0; frame < frames; frame += 1) {
    const part = Array.from({ length: changed }, (_, index) => {
      const node = tasks[(frame * changed + index) % tasks.length];
      const round = Math.floor((frame * changed + index) / tasks.length);
      return { task_id: `${id}:${node}`, node, status: "running", progress: (revision + round * 10) % 90,
        phase: "packages", step: `Step ${round} of ${revision}`, error_message: null,
        started_at: "2026-01-01T00:00:00Z", updated_at: null, completed_at: null };
    });
    const counts = { total: tasks.length, active: tasks.length, success: 0, failed: 0 };
    const data = { run_id: id, status: "running", progress: 10, counts,
      started_at: "2026-01-01T00:00:00Z", completed_at: null, error: null, tasks: part };
    revision += 1;
    page.onmessage({ data: JSON.stringify({ event: "scaling-progress", id: `${id}:${revision}`, data }) });
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times.sort((a, b) => a - b);
}
"""
KEEP_SOCKETS = """
window.sockets = [];
window.WebSocket = class extends WebSocket { constructor(...given) { super(...given); window.sockets.push(this); } };
window.delays = [];
const note = (one) => window.delays.push(one.processingStart - one.startTime);
const observer = new PerformanceObserver((list) => list.getEntries().forEach(note));
observer.observe({ type: "event", durationThreshold: 16, buffered: true });
"""


def cpu_clock(visitor: Visitor) -> Callable[[], float]:
    """Return what tells the milliseconds of CPU that the page's thread took."""
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def milliseconds() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] * 1000 for one in metrics if one["name"] == "TaskDuration")

    return milliseconds


def test_a_thousand_rows_of_which_fifty_change_in_each_frame(visit: Callable[..., Visitor], service: Service) -> None:
    service.recordings[Operation.SCALE_UP].wait_before(1)
    run = service.run(f"n[1-{ROWS}]")
    # as most people look at it, with what moves
    visitor = visit("ada", "slurm", reduced_motion="no-preference")
    visitor.context.add_init_script(KEEP_SOCKETS)
    visitor.go(f"slurm/runs/{run.id}")
    expect(visitor.find(".tasks tbody tr")).to_have_count(ROWS)
    expect(visitor.find("[data-live=live]")).to_be_visible()
    visitor.page.evaluate("document.querySelector('[data-filter]').focus()")
    cpu = cpu_clock(visitor)
    before = cpu()
    visitor.page.evaluate(
        f"void (window.flood = ({FLOOD})({{ id: '{run.id}', changed: {CHANGED}, frames: {FRAMES} }}))"
    )
    for _ in range(8):
        visitor.page.keyboard.press("Shift")
    times = visitor.page.evaluate("window.flood")
    work = (cpu() - before) / FRAMES
    delays = visitor.page.evaluate("window.delays")
    service.scaling.cancel(run.id)
    p95, delay = times[int(len(times) * 0.95)], max(delays, default=0)
    figures = f"CPU {work:.1f} ms a frame, p50 {times[len(times) // 2]:.0f} ms, p95 {p95:.0f} ms, input {delay:.0f} ms"
    print(figures)  # noqa: T201 - the figures
    assert work <= 12  # the load of the machine has no part in this one
    assert p95 <= 30
    assert delay <= 100
