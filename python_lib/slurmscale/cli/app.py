"""The commands put together, and how errors are shown.

Exit codes: 0 all nodes done, 1 some failed, 2 wrong use or refused before any change, 3 ended without a
record of the result, 130 cancelled.
"""

from __future__ import annotations

import os
import sys
import traceback
from importlib import metadata
from pathlib import Path
from typing import Annotated, TextIO, cast

import structlog
import typer

from slurmscale.cli import (
    cluster_commands,
    commands_from_operations,
    doctor,
    job_commands,
    output,
    query_commands,
    record_command,
    service_commands,
)
from slurmscale.errors import RefusedError, SlurmscaleError

_UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""Of click, or of the copy of click that newer versions of typer carry."""

app = typer.Typer(
    name="slurmscale",
    help="Scale Slurm clusters and see how far each node is. Nodes are written as Slurm does: node[07-12],login1.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,  # locals may hold passwords
)
apphub_app = typer.Typer(help="Publish packages on the AppHub, and check it.", no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"slurmscale {metadata.version('slurmscale')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
]


@app.callback()
def _options(
    version: VersionOption = False,
) -> None:
    pass


commands_from_operations.register(app, apphub_app)
for module in (query_commands, record_command, doctor, service_commands):
    module.register(app)
app.add_typer(apphub_app, name="apphub")
app.add_typer(cluster_commands.app, name="cluster")
app.add_typer(job_commands.app, name="job")


def main() -> None:
    """Run the command."""
    # standard output belongs to results
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())],
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", output.EnduringStream(sys.stderr))),
    )
    code = _run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # the reader of our output, such as head, has seen enough; Python would complain at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    raise SystemExit(code)


def _run(arguments: list[str]) -> int:
    json = "--json" in arguments
    try:
        _check_encoding(arguments)
        return int(app(args=arguments, prog_name="slurmscale", standalone_mode=False) or 0)
    except SlurmscaleError as exc:
        return output.show_failure(exc, json=json)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("slurmscale: cancelled", err=True)
        return output.CANCELLED
    except BrokenPipeError:
        return 0
    except _UsageError as exc:
        return _show_usage_error(exc, json=json)
    except Exception as exc:  # noqa: BLE001 - a traceback helps nobody who uses the command, and may show secrets
        last = traceback.extract_tb(exc.__traceback__)[-1]
        where = f"{type(exc).__name__} in {Path(last.filename).name}, line {last.lineno}"
        failure = SlurmscaleError(f"A mistake in slurmscale: {where}.", "Please report it.", code="internal-error")
        return output.show_failure(failure, json=json, exit_code=1)


def _show_usage_error(exc: BaseException, *, json: bool) -> int:
    context = getattr(exc, "ctx", None)
    if type(exc).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help() if context else "", err=True)
        return 2
    command = context.command_path if context else "slurmscale"
    reason = str(getattr(exc, "format_message", exc.__str__)())
    return output.show_failure(RefusedError(reason, f"See: {command} --help"), json=json)


def _check_encoding(arguments: list[str]) -> None:
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError as exc:
        raise RefusedError("An argument holds bytes that are not UTF-8.", "Use names and paths in UTF-8.") from exc
