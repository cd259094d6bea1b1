"""Commands that only look: status, runs, tasks, log, report, schema; and `runs prune`."""

from __future__ import annotations

import json as jsonlib
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.text import Text

from slurmscale import documents
from slurmscale.clean_text import clean
from slurmscale.cli import completion, output
from slurmscale.cli import shared_options as options
from slurmscale.documents import LineDocument, RunDocument, TaskDocument
from slurmscale.errors import NotFoundError, RefusedError
from slurmscale.inventory.hostlist import fold
from slurmscale.models import doing, when
from slurmscale.operations import Operation
from slurmscale.scaling import Scaling
from slurmscale.scaling_status import group_failures
from slurmscale.service.api.schemas import AuditView, MadeToken, TokenView, UserAccount
from slurmscale.states import RUN_ACTIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from slurmscale.models import LogLine
    from slurmscale.scaling_status import OperationView, ScalingStatus

_POLL = 1.0
_FAILED_EVENTS = frozenset({"runner_on_failed", "runner_on_unreachable", "runner_item_on_failed"})
_AGE = re.compile(r"(\d{1,5})([dhw])")
_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}

WatchOption = Annotated[
    bool, typer.Option("--watch", "-w", help="Show it again and again until Ctrl-C; piped, when it changed.")
]

runs_app = typer.Typer(help="List runs, newest first, or delete old ones.", invoke_without_command=True)


def status(
    watch: WatchOption = False,
    json: options.JsonOption = False,
) -> None:
    """Show the scaling status: what is in progress, the last day's operations, what is stalled."""
    with Scaling() as scaling:
        if not watch:
            found = scaling.status()
            output.echo_json(found.as_json()) if json else typer.echo(_status_text(scaling, found))
            return
        try:
            _watch(scaling, json=json)
        except KeyboardInterrupt:
            return


def _watch(scaling: Scaling, *, json: bool) -> None:
    if not json and sys.stdout.isatty():
        with Live(Text(_status_text(scaling, scaling.status())), refresh_per_second=2, transient=True) as live:
            while True:
                time.sleep(_POLL)
                live.update(Text(_status_text(scaling, scaling.status())))
    shown = None
    while True:
        found = scaling.status()
        text = jsonlib.dumps(found.as_json()) if json else _status_text(scaling, found)
        if text != shown:
            # at once: what reads a stream can't wait for its end
            typer.echo(text if json else f"{output.iso(when(time.time()))}\n{text}\n")
            sys.stdout.flush()
            shown = text
        time.sleep(_POLL)


def _status_text(scaling: Scaling, found: ScalingStatus) -> str:
    lines = _status_lines(found, scaling.settings.window_hours)
    return "\n".join(output.fitted(line, sys.stdout) for line in lines)


def _status_lines(found: ScalingStatus, hours: float) -> Iterator[str]:
    state = "active" if found.active else "idle"
    yield (
        f"{state}: {found.progress} %, {found.active_tasks} active, {found.success_nodes} succeeded,"
        f" {found.failed_nodes} failed in the last {hours:g} hours"
    )
    at_work = {view.id for view in found.active_operations}
    ended = [view for view in found.recent_operations if view.id not in at_work]
    for title, operations in (("active:", found.active_operations), ("recent:", ended)):
        if operations:
            yield title
        for view in operations:
            yield from _operation_lines(view)
    if found.stalled_tasks:
        yield "stalled:"
    for task in found.stalled_tasks:
        step = clean(doing(task.phase, task.step))
        yield f"  {task.node}: silent for {task.silent_seconds // 60} min at {task.progress} %: {step}"
    if found.active_operations:
        yield f"See it: slurmscale attach {found.active_operations[0].id}"


def _operation_lines(view: OperationView) -> Iterator[str]:
    done = f"{view.success_nodes} of {len(view.nodes)} {Operation(view.type).definition.scope.hosts} done"
    progress = f"{view.progress} %, " if view.completed_at is None else ""
    yield f"  {view.id}  {output.what(view.type, check=view.check)} {view.status}: {progress}{done}"
    began = output.iso(view.started_at)
    until = f" to {output.iso(view.completed_at)}" if view.completed_at else ""
    yield f"    {fold(view.nodes)} of {view.cluster}, {began}{until}"
    for line in output.failure_lines(view.failures):
        yield f"    {line}"
    if view.error and view.error["code"] != "nodes-failed" and not view.failures:
        yield f"    {' '.join(clean(view.error['reason']).split())}"
    if view.failures:
        yield f"    log: slurmscale log {view.failures[0].nodes[0]} --run {view.id} --failed"
    elif view.error:
        yield f"    log: slurmscale log --run {view.id}"


@runs_app.callback(epilog=output.epilog(("slurmscale runs --limit 5", "slurmscale runs --cluster lab")))
def runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many, newest first.")] = 20,
    cluster: options.ClusterOption = None,
    json: options.JsonOption = False,
) -> None:
    """List runs, newest first; `runs prune` deletes old ones."""
    if context.invoked_subcommand:
        return
    with Scaling() as scaling:
        found = scaling.runs(limit, cluster)
    if json:
        output.echo_json([RunDocument.of_run(run).as_json() for run in found])
        return
    rows = [
        (
            run.id,
            run.operation.value + (" --check" if run.check else ""),
            run.status.value,
            f"{run.counts.success} of {run.counts.total}",
            fold(run.nodes),
            run.error_message or "",
            output.iso(when(run.created_at)),
        )
        for run in found
    ]
    heads = ("run", "operation", "status", "done", "nodes", "error", "created")
    output.print_table(heads, rows, cut=2, optional=1)


@runs_app.command(epilog=output.epilog(("slurmscale runs prune --older-than 90d",)))
def prune(
    older_than: Annotated[str, typer.Option("--older-than", help="Age of the runs: 12h, 90d or 8w.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
    json: options.JsonOption = False,
) -> None:
    """Delete the records of old runs: nodes, logs and reports; an active run stays."""
    age = _AGE.fullmatch(older_than)
    if age is None:
        raise RefusedError(f"{clean(older_than)!r} is no age.", "Write hours, days or weeks: 12h, 90d, 8w.")
    before = time.time() - int(age[1]) * _SECONDS[age[2]]
    if not yes and not sys.stdin.isatty():
        raise RefusedError("The deletion of records has to be confirmed.", "Run it in a terminal, or with --yes.")
    if not yes and not typer.confirm(f"Delete all runs that began before {output.iso(when(before))}?", err=True):
        raise RefusedError("It was not confirmed; nothing was deleted.")
    with Scaling() as scaling:
        count = scaling.prune(before)
    output.echo_json({"deleted": count}) if json else typer.echo(f"{count} runs deleted")


def tasks(
    run: options.NewestRunArgument = None,
    json: options.JsonOption = False,
) -> None:
    """List the nodes of a run with status, progress, phase and step."""
    with Scaling() as scaling:
        found = scaling.tasks(run)
    if json:
        output.echo_json([TaskDocument.of(task).as_json() for task in found])
        return
    rows = [
        (task.node, task.status.value, f"{task.progress} %", task.phase, task.step, task.error_message or "")
        for task in found
    ]
    output.print_table(("node", "status", "progress", "phase", "step", "error"), rows, cut=2)
    groups = group_failures((task.node, task.error) for task in found if task.failed)
    if groups:
        typer.echo("")
    for line in output.failure_lines(groups):
        typer.echo(output.fitted(line, sys.stdout))


def report(run: options.NewestRunArgument = None, json: options.JsonOption = False) -> None:
    """Show what a check, a repair, an AppHub's check, a look at a cluster or a job found."""
    with Scaling() as scaling:
        run_id = scaling.find_run(run).id if run else scaling.tasks()[0].run_id
        found = scaling.report(run_id)
    if found is None:
        raise NotFoundError(f"Run {run_id} left no report.", f"Its nodes: slurmscale tasks {run_id}")
    output.echo_json(found) if json else output.print_report(found)


def log(
    node: Annotated[
        str | None,
        typer.Argument(
            help="The node; without it, what belongs to none, such as the controller's part.",
            autocompletion=completion.nodes,
        ),
    ] = None,
    run: options.RunOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="What failed first, then the rest.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    json: options.JsonOption = False,
) -> None:
    """Print the whole log of a node, or of what belongs to no node of a run."""
    with Scaling() as scaling:
        if follow:
            _follow_log(scaling, node, run, json=json)
            return
        lines = scaling.log(node, run)
        if failed and node is None and not any(line.event in _FAILED_EVENTS for line in lines):
            _name_failed_nodes(scaling, scaling.run_of_log(None, run).id)
    if failed:
        lines = sorted(lines, key=lambda line: line.event not in _FAILED_EVENTS)
    if json:
        output.echo_json([LineDocument.of(line).as_json() for line in lines])
    else:
        _print_lines(lines)


def _name_failed_nodes(scaling: Scaling, run: str) -> None:
    """Say where the failures are when none is in what belongs to no node."""
    names = [task.node for task in scaling.tasks(run) if task.failed]
    if names:
        text = f"Failed: {fold(names)}. See each: slurmscale log {names[0]} --run {run} --failed"
        typer.echo(output.fitted(text, sys.stderr), err=True)


def _follow_log(scaling: Scaling, node: str | None, run: str | None, *, json: bool) -> None:
    last, followed = 0, scaling.run_of_log(node, run).id
    while True:
        # looked at before the lines are read: what an ended run wrote is there
        ended = scaling.watch(followed).wait(0).status not in RUN_ACTIVE
        lines = scaling.log(node, followed, after=last)
        if json:
            for line in lines:
                output.echo_json_line(LineDocument.of(line))
        else:
            _print_lines(lines)
            sys.stdout.flush()
        last = lines[-1].id if lines else last
        if ended:
            return
        time.sleep(_POLL)


def _print_lines(lines: Iterable[LogLine]) -> None:
    for line in lines:
        # what a play says belongs to no task
        task = f"[{line.task}]" if line.task else ""
        head = (output.iso(when(line.created_at)), "FAILED" if line.event in _FAILED_EVENTS else "", task)
        typer.echo(f"{' '.join(filter(None, head))}\n{line.text}")


_DOCUMENTS = documents.SCHEMAS | {
    "audit": list[AuditView],
    "token": TokenView,
    "token-created": MadeToken,
    "tokens": list[TokenView],
    "user": UserAccount,
    "users": list[UserAccount],
}


def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            help="The document; without it, their names.",
            autocompletion=lambda incomplete: [one for one in _DOCUMENTS if one.startswith(incomplete)],
        ),
    ] = None,
) -> None:
    """Print the JSON schema of what --json prints."""
    if name is None:
        typer.echo("\n".join(sorted(_DOCUMENTS)))
    elif name not in _DOCUMENTS:
        raise RefusedError(f"There is no document {clean(name)!r}.", f"Name one of {', '.join(sorted(_DOCUMENTS))}.")
    else:
        output.echo_json(documents.schema(_DOCUMENTS[name]))


_EXAMPLES: dict[Callable[..., None], tuple[str, ...]] = {
    status: ("slurmscale status --watch", "slurmscale status --json | jq .progress"),
    tasks: ("slurmscale tasks", "slurmscale tasks 20260101-120000-a1b2c3 --json"),
    report: ("slurmscale report", "slurmscale report a1b2c3 --json"),
    log: ("slurmscale log node07 --failed", "slurmscale log --run a1b2c3 --follow"),
    schema: ("slurmscale schema", "slurmscale schema status"),
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for function, examples in _EXAMPLES.items():
        app.command(epilog=output.epilog(examples))(function)
    app.add_typer(runs_app, name="runs")
