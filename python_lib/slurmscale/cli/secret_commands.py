"""The command that keeps the sealed secrets of the service."""

from __future__ import annotations

import typer

from slurmscale import settings
from slurmscale.cli import extra, output, parameters
from slurmscale.errors import RefusedError
from slurmscale.scaling import Scaling

app = typer.Typer(help="Keep the sealed secrets of runs that wait.", no_args_is_help=True)


@app.command(epilog=output.epilog(("SLURMSCALE_SECRET_KEY_FILE=/etc/slurmscale/keys slurmscale secrets rotate",)))
def rotate(json: parameters.JsonOption = False) -> None:
    """Seal all secrets anew with the first key of the secret key file.

    Write the new key as the first line, restart the service, run this, and only then delete the old key.
    """
    with extra.service():
        from slurmscale.service.access import sealing  # noqa: PLC0415 - it may not be installed
        from slurmscale.service.settings import ServiceSettings  # noqa: PLC0415 - likewise
    sealer = sealing.sealer(settings.read(ServiceSettings), settings.load())
    if sealer is None:
        raise RefusedError(
            "Without SLURMSCALE_SECRET_KEY_FILE no secrets are sealed.", "Name the file of keys that the service has."
        )
    with Scaling() as scaling:
        done = sealing.rotate(scaling.store, sealer)
    if json:
        output.echo_json({"sealed": done})
        return
    typer.echo(f"{done} sealed anew")
