"""The command that keeps the sealed secrets of the service."""

from __future__ import annotations

import typer

from slurmscale import settings
from slurmscale.cli import extra, options, output
from slurmscale.errors import RefusedError
from slurmscale.runs.logins import ClusterLogins
from slurmscale.scaling import Scaling

app = typer.Typer(help="Keep the sealed secrets: of runs that wait, of clusters, of webhooks.", no_args_is_help=True)


@app.command(epilog=output.epilog(("SLURMSCALE_SECRET_KEY_FILE=/etc/slurmscale/keys slurmscale secrets rotate",)))
def rotate(json: options.JsonOption = False) -> None:
    """Seal all secrets anew with the first key of the secret key file.

    Write the new key as the first line on every machine, restart services and workers, run this, and only then take the
    old key away. Keep it in a safe place: it vouches for the rows of the audit trail that are older.
    """
    with extra.service():
        from slurmscale.service.access import sealing  # noqa: PLC0415 - it may not be installed
        from slurmscale.service.access.administration import Administration  # noqa: PLC0415 - likewise
        from slurmscale.service.access.keys import read_keys  # noqa: PLC0415 - likewise
        from slurmscale.service.settings import ServiceSettings  # noqa: PLC0415 - likewise
        from slurmscale.service.webhooks import Hooks  # noqa: PLC0415 - likewise
    config = settings.read(ServiceSettings)
    sealer = sealing.sealer(config, settings.load())
    if sealer is None:
        raise RefusedError(
            "Without SLURMSCALE_SECRET_KEY_FILE no secrets are sealed.", "Name the file of keys that the service has."
        )
    with Scaling() as scaling:
        hooks = Hooks(scaling, read_keys(config.secret_key_file, scaling.settings.data_dir))
        logins = ClusterLogins(scaling.store, sealer)
        done = sealing.rotate(scaling.store, sealer) + logins.reseal() + hooks.reseal()
        Administration(scaling).record("rotate_keys", "secrets", sealed=done)
    if json:
        output.echo_json({"sealed": done})
        return
    typer.echo(f"{done} sealed anew")
