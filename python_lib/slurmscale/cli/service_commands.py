"""The command that runs the service."""

from __future__ import annotations

import sys
from typing import Annotated

import structlog
import typer

from slurmscale import settings
from slurmscale.cli import account_commands, audit_command, optional_service, output, secret_commands


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port to listen on (default: 8765).")] = None,
    root_path: Annotated[str | None, typer.Option(help="Path under which a proxy publishes it.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen also where others reach it, without TLS in front.")
    ] = False,
) -> None:
    """Serve the API until it is told to stop. It logs JSON, a line each, on standard error."""
    with optional_service.service():
        from slurmscale.service.processes.serve import serve as run  # noqa: PLC0415 - it may not be installed
        from slurmscale.service.settings import ServiceSettings  # noqa: PLC0415 - likewise
    given = {"host": host, "port": port, "root_path": root_path}
    config = settings.read(ServiceSettings, **{name: value for name, value in given.items() if value is not None})
    _log_as_json()
    run(settings.load(), config, insecure=insecure)


def worker(
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Runs in progress at the same time (default: SLURMSCALE_MAX_RUNS)."),
    ] = None,
) -> None:
    """Carry the runs that services with the same PostgreSQL ask for, until it is told to stop.

    A stop waits for the active runs; another worker goes on with what takes too long. It logs JSON, a line each, on
    standard error.
    """
    with optional_service.service():
        from slurmscale.service.processes.worker import work  # noqa: PLC0415 - likewise
        from slurmscale.service.settings import ServiceSettings  # noqa: PLC0415 - it may not be installed
    config = settings.read(ServiceSettings)
    _log_as_json()
    work(settings.load(), config, concurrency)


def _log_as_json() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=output.epilog(("slurmscale serve", "slurmscale serve --port 9000")))(serve)
    app.command(epilog=output.epilog(("slurmscale worker", "slurmscale worker --concurrency 2")))(worker)
    app.add_typer(account_commands.user_app, name="user")
    app.add_typer(account_commands.token_app, name="token")
    app.add_typer(audit_command.audit_app, name="audit")
    app.add_typer(secret_commands.app, name="secrets")
    app.add_typer(secret_commands.credential_app, name="credential")
