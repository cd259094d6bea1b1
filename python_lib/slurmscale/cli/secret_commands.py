"""The commands that keep the sealed secrets of the service, and the credentials among them."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slurmscale import settings
from slurmscale.cli import completion, option_values, optional_service, output
from slurmscale.cli import shared_options as options
from slurmscale.errors import NotFoundError, RefusedError
from slurmscale.inventory.names import check_user, shown
from slurmscale.models import Credentials, when
from slurmscale.runs.logins import ClusterLogins
from slurmscale.scaling import Scaling
from slurmscale.service.api.schemas import CredentialView, fingerprint_of, usable_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.service.access.administration import Administration

credential_app = typer.Typer(
    help="Keep logins, sealed, that requests to the service name by their id.", no_args_is_help=True
)
app = typer.Typer(help="Keep the sealed secrets: of runs that wait, of clusters, of webhooks.", no_args_is_help=True)


@app.command(epilog=output.epilog(("SLURMSCALE_SECRET_KEY_FILE=/etc/slurmscale/keys slurmscale secrets rotate",)))
def rotate(json: options.JsonOption = False) -> None:
    """Seal all secrets anew with the first key of the secret key file.

    Write the new key as the first line on every machine, restart services and workers, run this, and only then take the
    old key away. Keep it in a safe place: it vouches for the rows of the audit trail that are older.
    """
    with optional_service.service():
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


@contextlib.contextmanager
def _kept() -> Iterator[tuple[Scaling, ClusterLogins, Administration]]:
    """Open the database, the logins that are kept in it, and the audit trail."""
    with optional_service.service():
        from slurmscale.service.access.administration import Administration  # noqa: PLC0415 - it may not be installed
    sealer = optional_service.sealer()
    with Scaling() as scaling:
        yield scaling, ClusterLogins(scaling.store, sealer), Administration(scaling)


@credential_app.command(
    "add",
    epilog=output.epilog(
        (
            "slurmscale credential add lab --user root --ask-pass",
            "slurmscale credential add lab --user admin --private-key ~/.ssh/new_nodes --ask-become-pass",
        )
    ),
)
def add_credential(  # noqa: PLR0913, PLR0917 - options, each by its name
    cluster: Annotated[
        str,
        typer.Argument(metavar="CLUSTER", help="The cluster that it is for.", autocompletion=completion.cluster),
    ],
    user: Annotated[str | None, typer.Option("--user", "-u", help="Login name; that of the cluster if none.")] = None,
    private_key: Annotated[
        str | None, typer.Option(help="A private key file without a passphrase; its text is kept.")
    ] = None,
    ask_pass: Annotated[bool, typer.Option("--ask-pass", "-k", help="Ask for the login password.")] = False,
    ask_become_pass: Annotated[
        bool, typer.Option("--ask-become-pass", "-K", help="Ask for the password of sudo.")
    ] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the login password from standard input.")
    ] = False,
    json: options.JsonOption = False,
) -> None:
    """Keep a login, sealed, and print its id; it is not shown again."""
    with _kept() as (scaling, logins, service):
        found = scaling.store.cluster(cluster)
        key = _key(private_key)
        given = Credentials(
            check_user(user) if user else None,
            sys.stdin.readline().rstrip("\n") if password_stdin else option_values.ask("Login password", ask_pass),
            become_password=option_values.ask("Password of sudo", ask_become_pass),
            private_key=key,
        )
        made = logins.add(found.name, given, fingerprint_of(key))
        service.record(
            "keep-credential", f"credential/{made.id}", cluster=made.cluster, kind=made.kind,
            fingerprint=made.fingerprint,
        )  # fmt: skip
    if json:
        output.echo_json(CredentialView.of(made).as_json())
        return
    typer.echo(made.id)


@credential_app.command("list", epilog=output.epilog(("slurmscale credential list --json",)))
def list_credentials(json: options.JsonOption = False) -> None:
    """List the logins that are kept, those of the clusters among them; what is secret of them is never shown."""
    with _kept() as (_, logins, _):
        found = logins.all()
    if json:
        output.echo_json([CredentialView.of(one).as_json() for one in found])
        return
    rows = [
        (
            one.id, one.cluster, one.user or "", one.kind, one.fingerprint,
            "all of the cluster" if one.for_cluster else "named nodes", output.iso(when(one.updated_at)),
        )
        for one in found
    ]  # fmt: skip
    output.print_table(("credential", "cluster", "user", "kind", "fingerprint", "for", "kept"), rows)


@credential_app.command("remove", epilog=output.epilog(("slurmscale credential remove 0a1b2c3d4e5f6789",)))
def remove_credential(
    credential: Annotated[str, typer.Argument(metavar="CREDENTIAL", help="Its id.")],
    json: options.JsonOption = False,
) -> None:
    """Delete a login that is kept; runs that name it and have not begun fail."""
    with _kept() as (_, logins, service):
        found = logins.named(credential)
        if found is None or not logins.remove(found):
            raise NotFoundError(f"There is no credential {shown(credential)}.", "See: slurmscale credential list")
        service.record("delete-credential", f"credential/{found.id}", cluster=found.cluster, kind=found.kind)
    if json:
        output.echo_json({"id": found.id, "removed": True})
        return
    typer.echo(f"{found.id}: removed")


def _key(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return usable_key(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no private key without a passphrase"
        raise RefusedError(f"The file {shown(path)} can't be used: {reason}.", "Name a private key.") from exc
