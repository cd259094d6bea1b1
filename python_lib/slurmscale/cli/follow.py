"""Shows a run while it is at work, and handles Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.live import Live

from slurmscale.cli.live_display import View
from slurmscale.states import RunStatus

if TYPE_CHECKING:
    from types import FrameType

    from slurmscale.models import Run
    from slurmscale.runs.handle import RunHandle

_REFRESH = 0.25


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
    view = View(handle.id, handle.nodes)
    view.begin(handle.tracker)
    stopper = _Stopper(handle, console, ask=ask and sys.stdin.isatty() and not quiet)
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


def _show(handle: RunHandle, view: View, console: Console) -> None:
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


class _Stopper:
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


def _summary(run: Run, view: View, console: Console) -> None:
    view.catch_up()
    for line in () if console.is_terminal else view.settled_lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for change in view.failed:
        reason = (change.error_message or "failed").strip()
        console.print(f"{change.node}: {reason}", style="red", markup=False, highlight=False, soft_wrap=True)
    counts = run.counts
    style = "green" if run.status is RunStatus.COMPLETED else "red"
    seconds = int((run.completed_at or run.created_at) - run.created_at)
    console.print(
        f"{run.id}: {run.status.value} after {seconds} s, {counts.success} of {counts.total} nodes done", style=style
    )
    if run.error and not view.failed:
        console.print(run.error, style="red", markup=False, highlight=False, soft_wrap=True)
    if view.failed:
        console.print(f"Details: slurmscale log {view.failed[0].node}    Again: slurmscale retry {run.id}")
