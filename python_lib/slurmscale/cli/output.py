"""How results are printed: JSON for programs, tables for people, and exit codes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer

from slurmscale.models import Run, Task, when
from slurmscale.states import RunStatus
from slurmscale.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.errors import SlurmscaleError

CANCELLED = 130
NOT_RECORDED = 3


class EnduringStream:
    """A stream whose reader may go away, as the terminal of a closed connection does: what follows is dropped.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Be the stream in all else."""
        return getattr(self._stream, name)


@contextmanager
def without_a_reader() -> Iterator[None]:
    """Let the work in this block go on when the terminal or the pipe is closed."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", EnduringStream(stream)) for stream in streams)
    previous = signal.signal(signal.SIGHUP, _hung_up)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous)
        sys.stdout, sys.stderr = streams


def _hung_up(_number: int, _frame: Any) -> None:
    typer.echo("The terminal was closed; the run goes on. See: slurmscale status", err=True)


def epilog(examples: tuple[str, ...]) -> str:
    """Return the examples as they end a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"  {example.replace('[', chr(92) + '[')}" for example in examples)


def show_failure(failure: SlurmscaleError, *, json: bool, exit_code: int = 2) -> int:
    """Show why nothing was done, for people on standard error and with --json for programs on standard output.

    Returns:
        The exit code.
    """
    with contextlib.suppress(OSError):
        typer.secho(f"slurmscale: {clean(failure.reason)}", fg="red", err=True)
        if failure.remedy:
            typer.echo(clean(failure.remedy), err=True)
        if json:
            echo_json({"error": failure.as_dict()})
    return exit_code


def echo_json(value: Any) -> None:
    """Print JSON, times and other odd values as text."""
    typer.echo(json.dumps(value, indent=2, default=str))


def run_as_json(run: Run) -> dict[str, Any]:
    """Return what programs want to know of a run."""
    return {
        "id": run.id,
        "type": run.operation.value,
        "status": run.status.value,
        "cluster": run.cluster,
        "nodes": list(run.nodes),
        "success_nodes": run.counts.success,
        "failed_nodes": run.counts.failed,
        "created_at": _iso(run.created_at),
        "started_at": _iso(run.started_at),
        "completed_at": _iso(run.completed_at),
        "error": run.error.as_dict() if run.error else None,
        "error_message": run.error_message,
    }


def task_as_json(task: Task) -> dict[str, Any]:
    """Return a task with times that a program can read."""
    times = ("created_at", "updated_at", "started_at", "completed_at")
    error = {"error": task.error.as_dict() if task.error else None}
    return dataclasses.asdict(task) | error | {name: _iso(getattr(task, name)) for name in times}


def _iso(epoch: float | None) -> str | None:
    moment = when(epoch)
    return moment.isoformat() if moment else None


def exit_code(run: Run) -> int:
    """Return the exit code that says how a run ended."""
    if run.status is RunStatus.COMPLETED:
        return 0
    return CANCELLED if run.status is RunStatus.CANCELLED else 1
