"""Shows a run while it is at work, and handles Ctrl-C.

A bar per node up to some forty nodes, aggregated above; plain lines without a terminal.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from slurmscale.models import Counts, Notice, Run, TaskChange
from slurmscale.report import overall_progress
from slurmscale.states import ACTIVE, FAILED, SUCCEEDED, RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from slurmscale.progress.tracker import Tracker
    from slurmscale.runs.handle import RunHandle

_REFRESH = 0.25
_MOST_BARS = 40
_MOST_FAILED = 10
_MOST_STEPS = 8
_SLOWEST = 5
_LINE_SECONDS = 5.0
_BAR_WIDTH = 24


class _Terminated(BaseException):
    """SIGTERM came."""


def follow(handle: RunHandle, *, quiet: bool = False, ask: bool = True) -> Run:
    """Show a run until it has ended.

    Ctrl-C asks whether to cancel, a second one kills. Without a terminal, and for SIGTERM, nothing is asked.

    Args:
        handle: The run at work.
        quiet: Show nothing.
        ask: Ask before cancelling.

    Returns:
        The run as recorded.
    """
    console = Console(stderr=True, quiet=quiet)
    view = RunView(handle.id, handle.nodes)
    view.begin(handle.tracker)
    stopper = _CancelHandler(handle, console, ask=ask and sys.stdin.isatty() and not quiet)
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        while not handle.finished:
            try:
                _show(handle, view, console)
            except KeyboardInterrupt:
                stopper.interrupt()
            except _Terminated:
                stopper.cancel()
        run = handle.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
    _summary(run, view, console)
    return run


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _show(handle: RunHandle, view: RunView, console: Console) -> None:
    with handle.subscribe() as notices:
        view.catch_up()
        if not console.is_terminal:
            while not handle.finished:
                notice = notices.get(_REFRESH)
                for line in view.lines(notice) if notice else ():
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
            return
        with Live(view, console=console, refresh_per_second=1 / _REFRESH, transient=True):
            while not handle.finished:
                notice = notices.get(_REFRESH)
                if notice:
                    view.update(notice)


class _CancelHandler:
    def __init__(self, handle: RunHandle, console: Console, *, ask: bool) -> None:
        self._handle = handle
        self._console = console
        self._ask = ask
        self._cancelling = False

    def interrupt(self) -> None:
        """Ctrl-C: ask, then cancel; a further one kills."""
        if self._cancelling:
            self._console.print("Killing the run.")
            self._handle.cancel(force=True)
            return
        if self._ask:
            try:
                question = f"Cancel the run on {len(self._handle.nodes)} nodes? (Ctrl-C again kills it)"
                if not typer.confirm(question, err=True):
                    return
            except (typer.Abort, KeyboardInterrupt):
                self._cancelling = True
                self.interrupt()
                return
        self.cancel()

    def cancel(self) -> None:
        """Cancel, in the background: the display goes on, and a second Ctrl-C gets through."""
        if not self._cancelling:
            self._cancelling = True
            self._console.print("Cancelling: ending the work on the nodes.")
            threading.Thread(target=self._handle.cancel, daemon=True).start()


def _summary(run: Run, view: RunView, console: Console) -> None:
    view.catch_up()
    for line in () if console.is_terminal else view.finished_lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for change in view.failed:
        reason = change.error.text if change.error else "failed"
        console.print(f"{change.node}: {reason}", style="red", markup=False, highlight=False, soft_wrap=True)
    counts = run.counts
    style = "green" if run.status is RunStatus.COMPLETED else "red"
    seconds = int((run.completed_at or run.created_at) - run.created_at)
    console.print(
        f"{run.id}: {run.status.value} after {seconds} s, {counts.success} of {counts.total} nodes done", style=style
    )
    # the reason of the run as a whole, such as a refusal by the controller, which stopped all nodes
    if run.error and run.error.code != "nodes-failed":
        console.print(run.error.text, style="red", markup=False, highlight=False, soft_wrap=True)
    if view.failed:
        console.print(f"Details: slurmscale log {view.failed[0].node} --run {run.id}", soft_wrap=True)
        console.print(f"The controller's part: slurmscale log --run {run.id}", soft_wrap=True)
        console.print(f"Again: slurmscale retry {run.id}", soft_wrap=True)


class RunView:
    """The state of a run as it is shown; a rich renderable.

    Args:
        run_id: The run.
        nodes: Its nodes.
    """

    def __init__(self, run_id: str, nodes: tuple[str, ...]) -> None:
        self._run_id = run_id
        self._tasks: dict[str, TaskChange] = {}
        self._order = nodes
        self._counts = Counts(total=len(nodes), active=len(nodes))
        self._remaining: float | None = None
        self._started = time.monotonic()
        self._last_line = 0.0
        self._reported: set[str] = set()
        self._tracker: Tracker | None = None

    @property
    def failed(self) -> list[TaskChange]:
        """The nodes that failed, in the order of the run."""
        return [task for task in self._ordered() if task.status in FAILED]

    def begin(self, tracker: Tracker) -> None:
        """Take over what happened before the subscription."""
        self._tracker = tracker
        self.catch_up()

    def catch_up(self) -> None:
        """Take over the state as it is."""
        if self._tracker is not None:
            self._tasks = {node.name: node.as_change() for node in list(self._tracker.nodes.values())}
            self._counts = self._tracker.counts()

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
            steps = Counter(task.step for task in self._tasks.values() if task.status in ACTIVE and task.step)
            step = steps.most_common(1)[0][0] if steps else ""
            yield f"{self._overall()} %  {self._times()}  {step}".rstrip()

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
            ProgressBar(total=100, completed=self._overall(), width=_BAR_WIDTH * 2),
            f"{self._overall():3d} %",
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
        text = task.error_message.splitlines()[0] if task.error_message else task.step
        return (
            Text(task.node),
            ProgressBar(total=100, completed=task.progress, width=_BAR_WIDTH, complete_style=style),
            f"{task.progress:3d} %",
            Text(text, style="red" if task.error_message else "dim", no_wrap=True, overflow="ellipsis"),
        )

    def _aggregate(self) -> RenderableType:
        tasks = self._ordered()
        active = [task for task in tasks if task.status in ACTIVE]
        steps = Table.grid(padding=(0, 1))
        for step, count in Counter(task.step or "waiting" for task in active).most_common(_MOST_STEPS):
            steps.add_row(f"{count:6d}", Text(step, style="dim", no_wrap=True, overflow="ellipsis"))
        steps.add_row(f"{sum(task.status in SUCCEEDED for task in tasks):6d}", Text("done", style="green"))
        marked = Table.grid(padding=(0, 1))
        for task in sorted(active, key=lambda task: (task.progress, task.updated_at))[:_SLOWEST]:
            marked.add_row(*self._row(task))
        for task in self.failed[:_MOST_FAILED]:
            marked.add_row(*self._row(task))
        more = len(self.failed) - _MOST_FAILED
        return Group(steps, Text("slowest and failed:"), marked, Text(f"and {more} more failed" if more > 0 else ""))

    def _ordered(self) -> list[TaskChange]:
        return [self._tasks[node] for node in self._order if node in self._tasks]

    def _overall(self) -> int:
        return overall_progress(self._counts.success, self._counts.active_progress, self._counts.total)

    def _times(self) -> str:
        elapsed = int(time.monotonic() - self._started)
        text = f"{elapsed // 60}:{elapsed % 60:02d}"
        if self._remaining is not None:
            left = int(self._remaining)
            text += f", about {left // 60}:{left % 60:02d} left"
        return text
