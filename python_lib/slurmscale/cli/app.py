"""The commands put together, and what becomes of errors.

Exit codes: 0 all nodes done, 1 some failed, 2 wrong use or refused before any change, 130 cancelled.
"""

from __future__ import annotations

import sys

import structlog
import typer

from slurmscale.cli import cluster_commands, doctor, query_commands, run_commands
from slurmscale.errors import SlurmscaleError

app = typer.Typer(
    name="slurmscale",
    help="Scale Slurm clusters and see how far each node is. Nodes are written as Slurm does: node[07-12],login1.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,  # locals may hold passwords
)
app.add_typer(cluster_commands.app, name="cluster")
for module in (run_commands, query_commands, doctor):
    module.register(app)


def main() -> None:
    """Run the command."""
    # standard output belongs to results
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        app()
    except SlurmscaleError as exc:
        typer.secho(f"slurmscale: {exc}", fg="red", err=True)
        raise SystemExit(2) from None
    except BrokenPipeError:
        # the reader of our output, such as head, has seen enough
        sys.stderr.close()
        raise SystemExit(0) from None
