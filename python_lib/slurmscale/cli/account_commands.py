"""Commands that keep the users of the service and their tokens."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurmscale.cli import optional_service, output
from slurmscale.cli import shared_options as options
from slurmscale.errors import NotFoundError, RefusedError
from slurmscale.models import when
from slurmscale.scaling import Scaling
from slurmscale.service.access.permissions import Role
from slurmscale.service.api.schemas import MadeToken, TokenView, UserAccount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.service.access.administration import Administration
    from slurmscale.store.accounts import User

user_app = typer.Typer(help="Keep the users of the service.", no_args_is_help=True)
token_app = typer.Typer(help="Make and revoke tokens for the service.", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="Name of the user.")]
ClustersOption = Annotated[
    list[str] | None, typer.Option("--cluster", "-c", help="A cluster to be limited to; repeatable.")
]
PasswordStdinOption = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@contextlib.contextmanager
def administration() -> Iterator[Administration]:
    """Open the users and the audit trail of the service."""
    with optional_service.service():
        from slurmscale.service.access.administration import Administration  # noqa: PLC0415 - it may not be installed
    with Scaling() as scaling:
        yield Administration(scaling)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise RefusedError("There is no terminal to ask for the password.", "Use --password-stdin.")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


@user_app.command(
    "add",
    epilog=output.epilog(
        ("slurmscale user add anna --role admin", "slurmscale user add monitoring --role viewer --no-password")
    ),
)
def add_user(  # noqa: PLR0913, PLR0917 - options, each by its name
    user: UserArgument,
    role: Annotated[Role, typer.Option(help="What the user may do.")] = Role.VIEWER,
    cluster: ClustersOption = None,
    password_stdin: PasswordStdinOption = False,
    no_password: Annotated[bool, typer.Option("--no-password", help="It has tokens only, and no login.")] = False,
    json: options.JsonOption = False,
) -> None:
    """Make a user; the first administrator is made this way."""
    password = None if no_password else _password(password_stdin)
    with administration() as service:
        made = service.accounts.add_user(user, role, password=password, clusters=cluster or None)
        service.record("user-add", f"user/{made.name}", role=made.role, clusters=cluster)
    _show(made, f"added as {made.role}", json=json)


@user_app.command("list", epilog=output.epilog(("slurmscale user list --json",)))
def list_users(json: options.JsonOption = False) -> None:
    """List the users."""
    with administration() as service:
        found = service.accounts.users.all()
    if json:
        output.echo_json([UserAccount.of(user).as_json() for user in found])
        return
    rows = [
        (user.name, user.role, ",".join(user.clusters) if user.clusters is not None else "all", _state(user))
        for user in found
    ]
    output.print_table(("user", "role", "clusters", "state"), rows)


@user_app.command(
    "change", epilog=output.epilog(("slurmscale user change anna --role operator", "slurmscale user change anna --off"))
)
def change_user(  # noqa: PLR0913, PLR0917 - options, each by its name
    user: UserArgument,
    role: Annotated[Role | None, typer.Option(help="What the user may do.")] = None,
    cluster: ClustersOption = None,
    all_clusters: Annotated[bool, typer.Option("--all-clusters", help="Limit it to no cluster.")] = False,
    off: Annotated[bool | None, typer.Option("--off/--on", help="Whether login and tokens are refused.")] = None,
    json: options.JsonOption = False,
) -> None:
    """Change the role, the clusters or the state of a user."""
    values: dict[str, Any] = {"role": role.value if role else None, "disabled": off, "clusters": cluster or None}
    values = {name: value for name, value in values.items() if value is not None}
    if all_clusters:
        values["clusters"] = None
    if not values:
        raise RefusedError("Nothing is to be changed.", "Give --role, --cluster, --all-clusters, --off or --on.")
    with administration() as service:
        found = service.accounts.find_user(user)
        changed = service.accounts.change_user(found, **values)
        service.record("user-change", f"user/{found.name}", **values)
    _show(changed, "changed", json=json)


@user_app.command("password", epilog=output.epilog(("slurmscale user password anna",)))
def set_password(
    user: UserArgument, password_stdin: PasswordStdinOption = False, json: options.JsonOption = False
) -> None:
    """Give a user a new password; who signed in with the old one has to sign in again."""
    with administration() as service:
        found = service.accounts.find_user(user)
        changed = service.accounts.change_user(found, password=_password(password_stdin))
        service.record("user-password", f"user/{found.name}")
    _show(changed, "changed", json=json)


@user_app.command("remove", epilog=output.epilog(("slurmscale user remove anna",)))
def remove_user(user: UserArgument, json: options.JsonOption = False) -> None:
    """Delete a user and its tokens."""
    with administration() as service:
        found = service.accounts.find_user(user)
        service.accounts.remove_user(found)
        service.record("user-remove", f"user/{found.name}")
    _show(found, "removed", json=json)


@token_app.command(
    "create",
    epilog=output.epilog(
        (
            "slurmscale token create anna --name laptop",
            "slurmscale token create monitoring --days 365 --permission metrics:read",
        )
    ),
)
def create_token(  # noqa: PLR0913, PLR0917 - options, each by its name
    user: UserArgument,
    name: Annotated[str, typer.Option(help="What it is for.")] = "token",
    days: Annotated[float | None, typer.Option(min=0.01, max=3650, help="How long it lasts (default: 90).")] = None,
    permission: Annotated[list[str] | None, typer.Option(help="What it is limited to; repeatable.")] = None,
    cluster: ClustersOption = None,
    json: options.JsonOption = False,
) -> None:
    """Make a token, and print it this once."""
    with administration() as service:
        found = service.accounts.find_user(user)
        text, token = service.accounts.new_token(
            found, name, days or service.config.token_days, permissions=permission or None, clusters=cluster or None
        )
        service.record("token-create", f"token/{token.id}", user=found.name, permissions=permission, clusters=cluster)
    if json:
        output.echo_json(MadeToken.with_text(token, found.name, text).as_json())
        return
    typer.echo(f"{token.id}: valid until {output.iso(when(token.expires_at))}; it is not shown again", err=True)
    typer.echo(text)


@token_app.command("list", epilog=output.epilog(("slurmscale token list anna",)))
def list_tokens(
    user: Annotated[str | None, typer.Argument(metavar="USER", help="Only those of a user.")] = None,
    json: options.JsonOption = False,
) -> None:
    """List tokens and logins; the tokens themselves are not kept."""
    with administration() as service:
        owner = service.accounts.find_user(user).id if user else None
        names = {one.id: one.name for one in service.accounts.users.all()}
        found = service.accounts.tokens.of_user(owner)
    if json:
        output.echo_json([TokenView.of(token, names.get(token.user_id, "")).as_json() for token in found])
        return
    rows = [
        (token.id, names.get(token.user_id, ""), token.kind, token.name, output.iso(when(token.expires_at)),
         output.iso(when(token.last_used_at)))
        for token in found
    ]  # fmt: skip
    output.print_table(("token", "user", "kind", "name", "expires", "last used"), rows)


@token_app.command(epilog=output.epilog(("slurmscale token revoke 0a1b2c3d4e5f",)))
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Id of the token, its first part.")],
    json: options.JsonOption = False,
) -> None:
    """Revoke a token or a login: it is not valid any more."""
    with administration() as service:
        if not service.accounts.tokens.remove(token):
            raise NotFoundError("There is no such token.", "See: slurmscale token list")
        service.record("token-revoke", f"token/{token}")
    if json:
        output.echo_json({"id": token, "revoked": True})
        return
    typer.echo(f"{token}: revoked")


def _show(user: User, what: str, *, json: bool) -> None:
    if json:
        output.echo_json(UserAccount.of(user).as_json())
    else:
        typer.echo(f"{user.name}: {what}")


def _state(user: User) -> str:
    if user.disabled:
        return "off"
    return "on" if user.password_hash else "on, tokens only"
