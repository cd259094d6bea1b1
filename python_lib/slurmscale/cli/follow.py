"""Follows a run until its end, and decides what Ctrl-C means."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.live import Live

from slurmscale.cli import output
from slurmscale.cli.live_display import RunDisplay
from slurmscale.documents import EventDocument
from slurmscale.errors import RefusedError
from slurmscale.progress.report_failures import failures_in
from slurmscale.scaling_status import group_failures
from slurmscale.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from types import FrameType

    from slurmscale.models import Run
    from slurmscale.runs.handle import RunHandle
    from slurmscale.runs.watched_run import WatchedRun

_REFRESH = 0.25


class _Terminated(BaseException):
    """SIGTERM came."""


def follow(
    handle: RunHandle | WatchedRun,
    report_of: Callable[[str], Mapping[str, Any] | None],
    *,
    quiet: bool = False,
    events: bool = False,
    leave: Callable[[], object] | None = None,
) -> Run | None:
    """Show a run until it has ended.

    Ctrl-C asks whether to leave it running, to cancel it, or to go on; a second one at the question cancels, and one
    after a cancel kills. Without a terminal, and for SIGTERM, nothing is asked, and the run is cancelled. Who only
    watches another process's run is ended by SIGTERM, by Ctrl-C where nothing is asked, and by one after a cancel.

    Args:
        handle: The active run.
        report_of: Returns the report of a run; who calls shows it afterwards, so what it says is not told here.
        quiet: Show nothing to people.
        events: Print what happens as JSON, a line per event.
        leave: Gives the terminal back; None for who only watches another process's run.

    Returns:
        The run as recorded; None when it is another process's and was left.
    """
    console = Console(stderr=True, quiet=quiet or events)
    view = RunDisplay(handle.id, handle.nodes, handle.run.started_at)
    stopper = _CancelHandler(handle, console, ask=sys.stdin.isatty() and not (quiet or events), own=leave is not None)
    previous = signal.signal(signal.SIGTERM, _terminate)
    left = False
    try:
        while not handle.finished:
            try:
                if left:
                    handle.wait()
                else:
                    _show(handle, view, console, events=events)
            except KeyboardInterrupt:
                left = left or stopper.interrupt()
            except _Terminated:
                if leave is None:
                    # who only watches ends nobody's work
                    return None
                stopper.cancel()
            if left and leave is None:
                return None
            if left and leave is not None:
                leave()
                leave = _do_nothing
        run = handle.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
    if not left:
        _summary(handle, run, view, console, failures_in(report_of(run.id) or {}))
    return run


def _do_nothing() -> None:
    pass


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _show(handle: RunHandle | WatchedRun, view: RunDisplay, console: Console, *, events: bool) -> None:
    with handle.subscribe() as notices:
        view.catch_up(handle.changes(), handle.counts())
        if events:
            while not handle.finished:
                notice = notices.get(_REFRESH)
                if notice:
                    output.echo_json_line(EventDocument.of_notice(notice))
        elif not console.is_terminal:
            while not handle.finished:
                notice = notices.get(_REFRESH)
                for line in view.lines(notice) if notice else ():
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            with Live(view, console=console, refresh_per_second=1 / _REFRESH, transient=True):
                while not handle.finished:
                    notice = notices.get(_REFRESH)
                    if notice:
                        view.update(notice)


class _CancelHandler:
    def __init__(self, handle: RunHandle | WatchedRun, console: Console, *, ask: bool, own: bool = True) -> None:
        self._handle = handle
        self._console = console
        self._ask = ask
        self._own = own
        self._cancelling = False

    def interrupt(self) -> bool:
        """Ctrl-C: ask, then cancel or leave; one after a cancel kills.

        Returns:
            Whether the run is to be left running.
        """
        again = f"See it again: slurmscale attach {self._handle.id}"
        if self._cancelling and not self._own:
            _print_line(self._console, f"Its own process ends the work on the nodes. {again}")
            return True
        if self._cancelling:
            self._console.print("Killing the run.")
            self._end(force=True)
            return False
        answer = self._answer() if self._ask else "c" if self._own else "l"
        if answer == "c":
            self.cancel()
        elif answer == "l":
            _print_line(self._console, f"The run goes on. {again}")
        return answer == "l"

    def _answer(self) -> str:
        count = len(self._handle.nodes)
        hosts = self._handle.run.operation.definition.scope.hosts
        are = f"{hosts[:-1]} is" if count == 1 else f"{hosts} are"
        question = f"{count} {are} in progress: (l)eave it running, (c)ancel, or (g)o on?"
        if self._handle.uncut:
            self._tell_uncut()
            question = "(l)eave it running, or (g)o on?"
        try:
            given = str(typer.prompt(question, default="g", err=True)).strip().lower()[:1]
        except (typer.Abort, KeyboardInterrupt):
            # the terminal shows ^C behind the question
            typer.echo(err=True)
            return "c"
        return given if given in ("l", "c") else "g"

    def cancel(self) -> None:
        """Cancel, in the background: the display goes on, and a second Ctrl-C gets through."""
        if self._handle.uncut:
            self._tell_uncut()
        elif not self._cancelling:
            self._cancelling = True
            self._console.print("Cancelling: ending the work on the nodes.")
            threading.Thread(target=self._end, daemon=True).start()

    def _tell_uncut(self) -> None:
        _print_line(self._console, f"It cannot be cancelled any more. {self._handle.uncut}")

    def _end(self, *, force: bool = False) -> None:
        try:
            self._handle.cancel(force=force)
        except RefusedError as exc:
            self._cancelling = False
            with contextlib.suppress(OSError):
                _print_line(self._console, str(exc))


def _print_line(console: Console, text: str, style: str = "") -> None:
    """Print a line, broken between words in a terminal and whole elsewhere."""
    shown = output.fitted(text, sys.stderr)
    console.print(shown, style=style, markup=False, highlight=False, soft_wrap=True)


def _summary(
    handle: RunHandle | WatchedRun, run: Run, view: RunDisplay, console: Console, reported: Collection[str]
) -> None:
    view.catch_up(handle.changes(), handle.counts())
    for line in () if console.is_terminal else view.finished_lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    # the reason of the run as a whole, such as a refusal by the controller, which stopped all nodes
    whole = run.error if run.error and run.error.code != "nodes-failed" else None
    # when all nodes failed for it, it is told once, and needs no names
    told = len(view.failed) == run.counts.total and all(change.error == whole for change in view.failed)
    failed = [] if told else view.failed
    # what the report says of a node is shown with it
    groups = group_failures((change.node, change.error) for change in failed if change.node not in reported)
    for line in output.failure_lines(groups):
        _print_line(console, line, style="red")
    counts = run.counts
    style = "green" if run.status is RunStatus.COMPLETED else "red"
    seconds = int((run.completed_at or run.created_at) - run.created_at)
    done = f"{counts.success} of {counts.total} {run.operation.definition.scope.hosts} done"
    what = output.what(run.operation.value, check=run.check)
    _print_line(console, f"{run.id}: {what} {run.status.value} after {seconds} s, {done}", style)
    if whole:
        _print_line(console, whole.text, style="red")
    if failed:
        _print_line(console, f"Details: slurmscale log {failed[0].node} --run {run.id}")
    if run.check and not run.error:
        _print_line(console, f"What would be changed: slurmscale log --run {run.id}")
    if run.error:
        _print_line(console, f"The controller's part: slurmscale log --run {run.id}")
        _print_line(console, f"Again: slurmscale retry {run.id}")
