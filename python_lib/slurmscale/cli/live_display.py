"""Shows a run while it is in progress.

A bar per node up to some forty nodes, aggregated above; plain lines without a terminal.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from slurmscale.models import Counts, Notice, TaskChange, doing
from slurmscale.states import ACTIVE, FAILED, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MOST_BARS = 40
_MOST_FAILED = 10
_MOST_PHASES = 8
_SLOWEST = 5
_LINE_SECONDS = 5.0
_BAR_WIDTH = 24


class RunDisplay:
    """The state of a run as it is shown; a rich renderable.

    Args:
        run_id: The run.
        nodes: Its nodes.
        began: When it began, in seconds since the epoch; now when None.
    """

    def __init__(self, run_id: str, nodes: tuple[str, ...], began: float | None = None) -> None:
        self._run_id = run_id
        self._tasks: dict[str, TaskChange] = {}
        self._order = nodes
        self._counts = Counts(total=len(nodes), active=len(nodes))
        self._remaining: float | None = None
        self._started = time.monotonic() - max(0.0, time.time() - began if began else 0.0)
        self._last_line = 0.0
        self._reported: set[str] = set()

    @property
    def failed(self) -> list[TaskChange]:
        """The nodes that failed, in the order of the run."""
        return [task for task in self._ordered() if task.status in FAILED]

    def catch_up(self, changes: Iterable[TaskChange], counts: Counts) -> None:
        """Take over the state as it is, such as before the first notice."""
        self._tasks = {change.node: change for change in changes}
        self._counts = counts

    def update(self, notice: Notice) -> None:
        """Take over a notice."""
        self._tasks.update((change.node, change) for change in notice.tasks)
        self._counts = notice.counts
        self._remaining = notice.remaining

    def lines(self, notice: Notice) -> Iterator[str]:
        """Yield plain lines for a notice: nodes that ended, and now and then how far it is."""
        self.update(notice)
        yield from self.finished_lines()
        now = time.monotonic()
        if now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            active = (task for task in self._tasks.values() if task.status in ACTIVE)
            most = Counter(doing(task.phase, task.step) for task in active).most_common(1)
            yield f"{self._counts.progress} %  {self._times()}  {most[0][0] if most else ''}".rstrip()

    def finished_lines(self) -> Iterator[str]:
        """Yield a plain line for each node that ended since the last call."""
        for task in self._ordered():
            if task.status not in ACTIVE and task.node not in self._reported:
                self._reported.add(task.node)
                reason = f": {task.error_message.splitlines()[0]}" if task.error_message else ""
                yield f"{task.node} {task.status.value}{reason}"

    def __rich__(self) -> RenderableType:
        """Draw it."""
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(self._run_id, style="bold"),
            ProgressBar(total=100, completed=self._counts.progress, width=_BAR_WIDTH * 2),
            f"{self._counts.progress:3d} %",
            self._times(),
        )
        body = self._bars() if len(self._order) <= _MOST_BARS else self._aggregate()
        return Group(head, body)

    def _bars(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for task in self._ordered():
            table.add_row(*self._row(task))
        return table

    def _row(self, task: TaskChange) -> tuple[RenderableType, ...]:
        style = "red" if task.status in FAILED or task.error_message else "bar.complete"
        text = task.error_message.splitlines()[0] if task.error_message else doing(task.phase, task.step)
        return (
            Text(task.node),
            ProgressBar(total=100, completed=task.progress, width=_BAR_WIDTH, complete_style=style),
            f"{task.progress:3d} %",
            Text(text, style="red" if task.error_message else "dim", no_wrap=True, overflow="ellipsis"),
        )

    def _aggregate(self) -> RenderableType:
        tasks = self._ordered()
        active = [task for task in tasks if task.status in ACTIVE]
        phases = Table.grid(padding=(0, 1))
        for phase, count in Counter(task.phase or task.step or "waiting" for task in active).most_common(_MOST_PHASES):
            phases.add_row(f"{count:6d}", Text(phase, style="dim", no_wrap=True, overflow="ellipsis"))
        phases.add_row(f"{sum(task.status in SUCCEEDED for task in tasks):6d}", Text("done", style="green"))
        marked = Table.grid(padding=(0, 1))
        for task in sorted(active, key=lambda task: (task.progress, task.updated_at))[:_SLOWEST]:
            marked.add_row(*self._row(task))
        for task in self.failed[:_MOST_FAILED]:
            marked.add_row(*self._row(task))
        more = len(self.failed) - _MOST_FAILED
        return Group(phases, Text("slowest and failed:"), marked, Text(f"and {more} more failed" if more > 0 else ""))

    def _ordered(self) -> list[TaskChange]:
        return [self._tasks[node] for node in self._order if node in self._tasks]

    def _times(self) -> str:
        elapsed = int(time.monotonic() - self._started)
        text = f"{elapsed // 60}:{elapsed % 60:02d}"
        if self._remaining is not None:
            left = int(self._remaining)
            text += f", about {left // 60}:{left % 60:02d} left"
        return text
