"""How quick the page is, also with a long log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from slurmscale.models import LogLine
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
