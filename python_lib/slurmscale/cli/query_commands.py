"""Commands that only look: status, runs, tasks, log."""

from __future__ import annotations

import dataclasses
import json as jsonlib
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from slurmscale.cli import options as common
from slurmscale.cli import output
from slurmscale.inventory.hostlist import fold
from slurmscale.models import when
from slurmscale.scaling import Scaling

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL = 1.0
RunOption = Annotated[str | None, typer.Option("--run", "-r", help="The run; the newest one when left out.")]


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again until Ctrl-C.")] = False,  # noqa: FBT002 - an option
    json: common.JsonOption = False,  # noqa: FBT002 - an option
) -> None:
    """Show the scaling status: what is at work, the last day's operations, what is stalled."""
    with Scaling() as scaling:
        if not watch:
            found = scaling.status()
            output.echo_json(found.as_json()) if json else typer.echo(found.as_text())
            return
        try:
            _watch(scaling, json=json)
        except KeyboardInterrupt:
            return


def _watch(scaling: Scaling, *, json: bool) -> None:
    if json:
        shown = None
        while True:
            found = scaling.status().as_json()
            if found != shown:
                # one object per line: what reads a stream can't wait for its end
                typer.echo(jsonlib.dumps(found))
                shown = found
            time.sleep(_POLL)
    with Live(Text(scaling.status().as_text()), refresh_per_second=2, transient=True) as live:
        while True:
            time.sleep(_POLL)
            live.update(Text(scaling.status().as_text()))


def runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many, newest first.")] = 20,
    json: common.JsonOption = False,  # noqa: FBT002 - an option
) -> None:
    """List runs, newest first."""
    with Scaling() as scaling:
        found = scaling.runs(limit)
    if json:
        output.echo_json([output.run_as_json(run) for run in found])
        return
    table = Table("run", "operation", "status", "nodes", "done", "failed", "created", "error", box=None)
    for run in found:
        created = when(run.created_at)
        table.add_row(
            run.id,
            run.operation.value,
            run.status.value,
            fold(run.nodes),
            str(run.counts.success),
            str(run.counts.failed),
            created.astimezone().strftime("%Y-%m-%d %H:%M:%S") if created else "",
            Text((run.error_message or "").partition("\n")[0]),
        )
    Console().print(table)


def tasks(
    run: Annotated[str | None, typer.Argument(help="The run; the newest one when left out.")] = None,
    json: common.JsonOption = False,  # noqa: FBT002 - an option
) -> None:
    """List the nodes of a run with status, progress and step."""
    with Scaling() as scaling:
        found = scaling.tasks(run)
    if json:
        output.echo_json([output.task_as_json(task) for task in found])
        return
    table = Table("node", "status", "progress", "step", "error", box=None)
    for task in found:
        error = (task.error_message or "").partition("\n")[0]
        table.add_row(task.node, task.status.value, f"{task.progress} %", Text(task.step), Text(error, style="red"))
    Console().print(table)


def log(
    node: Annotated[
        str | None,
        typer.Argument(help="The node; without it, what belongs to none, such as the controller's part."),
    ] = None,
    run: RunOption = None,
    json: common.JsonOption = False,  # noqa: FBT002 - an option
) -> None:
    """Print the whole log of a node, or of what belongs to no node of a run."""
    with Scaling() as scaling:
        lines = scaling.log(node, run)
    if json:
        output.echo_json([dataclasses.asdict(line) for line in lines])
        return
    for line in lines:
        moment = when(line.created_at)
        stamp = moment.astimezone().strftime("%H:%M:%S") if moment else ""
        typer.echo(f"{stamp} [{line.task}]\n{line.text}")


_EXAMPLES: dict[Callable[..., None], tuple[str, ...]] = {
    status: ("slurmscale status --watch", "slurmscale status --json | jq .progress"),
    runs: ("slurmscale runs --limit 5",),
    tasks: ("slurmscale tasks", "slurmscale tasks 20260101-120000-a1b2c3 --json"),
    log: ("slurmscale log node07", "slurmscale log --run 20260101-120000-a1b2c3"),
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for function, examples in _EXAMPLES.items():
        app.command(epilog=output.epilog(examples))(function)
