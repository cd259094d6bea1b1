"""How results are printed: JSON for programs, tables for people, and exit codes."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer
from rich.cells import cell_len, set_cell_size

from slurmscale.clean_text import clean
from slurmscale.inventory.hostlist import fold
from slurmscale.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from slurmscale.documents import Document
    from slurmscale.errors import SlurmscaleError
    from slurmscale.models import Run
    from slurmscale.scaling_status import FailureGroup

CANCELLED = 130
NOT_RECORDED = 3
_NARROWEST = 8
_MOST_REASONS = 10


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
def surviving_hangup() -> Iterator[None]:
    """Let the work in this block go on when the terminal or the pipe is closed."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", EnduringStream(stream)) for stream in streams)
    previous = signal.signal(signal.SIGHUP, _on_hangup)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous)
        sys.stdout, sys.stderr = streams


def _on_hangup(_number: int, _frame: Any) -> None:
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
        typer.secho(fitted(f"slurmscale: {clean(failure.reason)}", sys.stderr), fg="red", err=True)
        if failure.remedy:
            typer.echo(fitted(clean(failure.remedy), sys.stderr), err=True)
        if json:
            echo_json({"error": failure.as_dict()})
    return exit_code


def echo_json(value: Any) -> None:
    """Print JSON, times and other odd values as text."""
    typer.echo(json.dumps(value, indent=2, default=str))


def echo_json_line(document: Document) -> None:
    """Print a document on one line, at once: what reads a stream can't wait for its end."""
    typer.echo(json.dumps(document.as_json()))
    sys.stdout.flush()


def iso(moment: datetime | None) -> str:
    """Return a time as people read it: ISO 8601 in the local zone, to the second; empty when there is none."""
    return moment.astimezone().isoformat(timespec="seconds") if moment else ""


def fitted(text: str, stream: TextIO) -> str:
    """Return a line of text as it is, and broken between words for a terminal, what follows indented further."""
    if not stream.isatty():
        return text
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.fill(
        text.strip(), shutil.get_terminal_size().columns, initial_indent=indent, subsequent_indent=f"{indent}  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def print_table(
    heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, cut: int = 1, optional: int = 0, wrap: bool = False
) -> None:
    """Print a table: whole and a line per row when piped, fitted into a terminal.

    Args:
        heads: Heads of the columns.
        rows: The cells, as plain text.
        cut: How many columns at the end, before optional ones, are cut in a terminal that is too narrow; the others
            stay whole.
        optional: How many of the last columns are left out then.
        wrap: The last column goes on below instead of being cut.
    """
    lines = [tuple(" ".join(clean(cell).split()) for cell in row) for row in (heads, *rows)]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(heads))]
    columns = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and _total(widths) > columns:
        widths = _fitted(widths[: len(widths) - optional], cut, columns)
    for line in lines:
        shown = [line]
        if wrap and len(widths) == len(line):
            parts = textwrap.wrap(line[-1], widths[-1], break_on_hyphens=False) or [""]
            shown = [(*line[:-1], parts[0]), *(("",) * (len(line) - 1) + (part,) for part in parts[1:])]
        for row in shown:
            cells = [set_cell_size(_cut(cell, width), width) for cell, width in zip(row, widths, strict=False)]
            typer.echo("  ".join(cells).rstrip())


def _total(widths: list[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _fitted(widths: list[int], cut: int, columns: int) -> list[int]:
    """Return widths of which the last ones share what the others leave; one that would be too narrow is left out."""
    fixed, wide = widths[: len(widths) - cut], widths[len(widths) - cut :]
    left = columns - _total(fixed)
    while wide and sum(min(width, _NARROWEST) + 2 for width in wide) > left:
        wide.pop()
    # The narrowest first: what they don't need is for the others.
    narrowest_first = sorted(range(len(wide)), key=wide.__getitem__)
    for place, column in enumerate(narrowest_first):
        wide[column] = min(wide[column], left // (len(wide) - place) - 2)
        left -= wide[column] + 2
    return fixed + wide


def _cut(cell: str, width: int) -> str:
    return cell if cell_len(cell) <= width else set_cell_size(cell, width - 1) + "…"


def what(operation: str, *, check: bool) -> str:
    """Say what a run does: an operation, or only what it would change."""
    return f"check mode of {operation}" if check else operation


def failure_lines(groups: Iterable[FailureGroup]) -> Iterator[str]:
    """Yield a line per reason for which nodes failed: how many, why, which, and what to do."""
    groups = list(groups)
    for group in groups[:_MOST_REASONS]:
        count = len(group.nodes)
        reason = " ".join(clean(group.reason).split())
        remedy = " ".join(clean(group.remedy).split())
        which = f"{count} nodes: {reason} {fold(group.nodes)}" if count > 1 else _of_node(group.nodes[0], reason)
        yield f"{which} -> {remedy}" if remedy else which
    if len(groups) > _MOST_REASONS:
        yield f"and {len(groups) - _MOST_REASONS} more reasons: slurmscale tasks"


def _of_node(node: str, reason: str) -> str:
    """Name a node before its reason, unless that begins with it."""
    return reason if reason.split(" ", 1)[0] == node else f"{node}: {reason}"


def show(name: str, value: Any) -> None:
    """Print a value with its name, unless it is empty."""
    if isinstance(value, bool):
        value = "yes" if value else "no"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if value not in (None, "", []):
        typer.echo(fitted(f"{name.replace('_', ' ')}: {clean(text)}", sys.stdout))


def show_cluster(info: Mapping[str, Any] | None) -> None:
    """Print what a cluster is, as it told; nothing when it did not."""
    if info is None:
        return
    for name in ("cluster_name", "version", "conf_file", "configless", "slurm_user", "accounting", "auth"):
        show(name, info[name])
    # what was kept before it was asked for has none
    show("system", info.get("os", {}).get("pretty"))
    show(
        "controllers", [f"{one['host']} ({one['mode']}{'' if one['up'] else ', down'})" for one in info["controllers"]]
    )
    show("partitions", [f"{name} ({one['nodes']})" for name, one in info["partitions"].items()])
    show("nodes", [f"{count} {state}" for state, count in info["states"].items()])


def print_stages(stages: Iterable[Mapping[str, Any]]) -> None:
    """Print how far a look at a cluster came."""
    rows = [(one["stage"], "ok" if one["ok"] else "failed", str(one["found"])) for one in stages]
    print_table(("stage", "result", "found"), rows, wrap=True)


def _print_look(report: Mapping[str, Any]) -> None:
    print_stages(report["stages"])
    show_cluster(report["info"])


def _print_jobs(report: Mapping[str, Any]) -> None:
    names = ("job_id", "state", "reason", "nodes", "user", "partition", "name")
    print_table(names, [tuple(str(job[name] or "") for name in names) for job in report["jobs"].values()])


_OF_KIND = {"cluster": _print_look, "jobs": _print_jobs}


def print_report(report: dict[str, Any] | None) -> None:
    """Print what a playbook reports besides the result of each node."""
    report = report or {}
    print_own = _OF_KIND.get(report.get("kind", ""))
    if print_own:
        print_own(report)
        return
    nodes, findings, tests = (report.get(name) for name in ("nodes", "findings", "tests"))
    if nodes:
        _print_nodes(nodes, planned=report.get("kind") == "plan")
    if report.get("controller", {}) and "action" in report["controller"]:
        _print_controller(report["controller"])
    wrong = [one for one in findings or () if not one.get("ok")]
    if wrong:
        print_table(("host", "check", "result", "reason"), [_finding_row(one) for one in wrong], wrap=True)
    elif findings is not None and not tests:
        typer.echo("Nothing is wrong.")
    if report.get("kind") == "apphub":
        for one in findings or ():
            if one["ok"] and one["check"] == "packages":
                typer.echo(fitted(clean(f"{one['where']} {one['subject']}: {one['reason']}"), sys.stdout))
    if tests:
        names = ("partition", "node", "job_id", "state", "message")
        print_table(names, [tuple(str(one.get(name) or "") for name in names) for one in tests])


def _print_nodes(nodes: dict[str, dict[str, Any]], *, planned: bool) -> None:
    def why(one: dict[str, Any]) -> str:
        return " ".join(filter(None, (one.get("reason"), one.get("remedy"))))

    if planned:
        rows = [
            (name, "ready" if one["ready"] else one["code"], one["registration"], ", ".join(one["steps"]) or why(one))
            for name, one in nodes.items()
        ]
        print_table(("node", "state", "slurm.conf", "steps"), rows, wrap=True)
    else:
        print_table(
            ("node", "state", "reason"),
            [(name, "ready" if one["ready"] else one["code"], why(one)) for name, one in nodes.items()],
            wrap=True,
        )


def _print_controller(controller: dict[str, Any]) -> None:
    action = {"none": "is not touched", "reconfigure": "is reconfigured", "restart": "is restarted once"}
    typer.echo(f"The controller {clean(controller['host'])} {action[controller['action']]}.")
    for change in controller.get("diff") or ():
        for line in change["text"].splitlines():
            typer.echo(clean(line))


def _finding_row(found: dict[str, Any]) -> tuple[str, ...]:
    why = " ".join(filter(None, (found.get("reason"), found.get("remedy"))))
    where = found.get("host") or found.get("where")
    return tuple(str(one or "") for one in (where, found["check"], found.get("result") or found["code"], why))


def exit_code(run: Run) -> int:
    """Return the exit code that says how a run ended."""
    if run.status is RunStatus.COMPLETED:
        return 0
    return CANCELLED if run.status is RunStatus.CANCELLED else 1
