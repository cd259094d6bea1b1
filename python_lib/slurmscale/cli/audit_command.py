"""The command that shows the audit trail of the service, and verifies it."""

from __future__ import annotations

from typing import Annotated

import typer

from slurmscale.cli import output
from slurmscale.cli import shared_options as options
from slurmscale.cli.account_commands import administration
from slurmscale.errors import SlurmscaleError
from slurmscale.models import when
from slurmscale.service.api.schemas import AuditView

audit_app = typer.Typer(help="Show what users asked for, newest first, or verify it.", invoke_without_command=True)


@audit_app.callback(epilog=output.epilog(("slurmscale audit --status denied", "slurmscale audit --user anna --json")))
def audit(  # noqa: PLR0913, PLR0917 - options, each by its name
    context: typer.Context,
    user: Annotated[str | None, typer.Option(help="Only what this user asked for.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, such as scale-up or login.")] = None,
    status: Annotated[str | None, typer.Option(help="Only with this result: success, failed or denied.")] = None,
    run: Annotated[str | None, typer.Option("--run", "-r", help="Only what belongs to this run.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many.")] = 50,
    json: options.JsonOption = False,
) -> None:
    """Show what users of the service asked for, newest first, and the result; `audit verify` looks for changes."""
    if context.invoked_subcommand:
        return
    with administration() as service:
        found = service.audit.entries(limit=limit, user=user, action=action, status=status, run_id=run)
    if json:
        output.echo_json([AuditView.of(row).as_json() for row in found])
        return
    rows = [
        (output.iso(when(row.timestamp)), row.user_name or "", row.source, row.action, row.status, row.run_id or "",
         row.nodes or row.resource)
        for row in found
    ]  # fmt: skip
    output.print_table(("time", "user", "from", "action", "result", "run", "what"), rows)


@audit_app.command(epilog=output.epilog(("slurmscale audit verify", "slurmscale audit verify --json")))
def verify(json: options.JsonOption = False) -> None:
    """Verify that no row of the audit trail was changed or taken out."""
    with administration() as service:
        broken = service.audit.broken()
    if broken is not None:
        raise SlurmscaleError(
            f"Row {broken} of the audit trail was changed, or the row before it is missing.",
            "When the keys were rotated since, verify with the key that it was written with. Else compare with the log"
            " of the service and with a backup.",
            code="audit-changed",
        )
    if json:
        output.echo_json({"changed": False})
        return
    typer.echo("Nothing was changed.")
