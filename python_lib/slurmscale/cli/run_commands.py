"""Commands that start or stop work: up, down, check, retry, cancel."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurmscale.cli import options as common
from slurmscale.cli import output
from slurmscale.cli.live_display import follow
from slurmscale.errors import RefusedError, ResultNotRecordedError, SlurmscaleError
from slurmscale.inventory.hostlist import expand, fold
from slurmscale.models import Credentials, RunOptions
from slurmscale.operations import Operation
from slurmscale.scaling import Scaling
from slurmscale.states import RUN_ACTIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmscale.runs.handle import RunHandle

CheckOption = Annotated[bool, typer.Option("--check", "-C", help="Only show what would be changed.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")]
HostOption = Annotated[
    list[str] | None, typer.Option("--host", help="NODE=ADDRESS[:PORT] of a node that is in no inventory; repeatable.")
]
UserOption = Annotated[str | None, typer.Option("--user", "-u", help="Login name where nothing else names one.")]
KeyOption = Annotated[str | None, typer.Option("--private-key", help="Private key file where nothing else names one.")]
AskPassOption = Annotated[bool, typer.Option("--ask-pass", "-k", help="Ask for the login password.")]
AskBecomeOption = Annotated[bool, typer.Option("--ask-become-pass", "-K", help="Ask for the password of sudo.")]
AskVaultOption = Annotated[bool, typer.Option("--ask-vault-pass", "-J", help="Ask for the password of Ansible Vault.")]
VaultFileOption = Annotated[str | None, typer.Option("--vault-password-file", help="File or program that gives it.")]
TimeoutOption = Annotated[float | None, typer.Option("--timeout", min=1, help="Cancel after so many seconds.")]
VerboseOption = Annotated[int, typer.Option("--verbose", "-v", count=True, help="More details in the nodes' logs.")]


def up(  # noqa: PLR0913, PLR0917 - one parameter per option
    nodes: common.NodesArgument,
    cluster: common.ClusterOption = None,
    inventory: common.InventoryOption = None,
    extra_vars: common.ExtraVarsOption = None,
    host: HostOption = None,
    forks: common.ForksOption = None,
    check: CheckOption = False,  # noqa: FBT002 - an option of the command line, as the following ones
    user: UserOption = None,
    private_key: KeyOption = None,
    ask_pass: AskPassOption = False,  # noqa: FBT002
    ask_become_pass: AskBecomeOption = False,  # noqa: FBT002
    ask_vault_pass: AskVaultOption = False,  # noqa: FBT002
    vault_password_file: VaultFileOption = None,
    timeout: TimeoutOption = None,
    verbose: VerboseOption = 0,
    json: common.JsonOption = False,  # noqa: FBT002
    yes: YesOption = False,  # noqa: FBT002
) -> None:
    """Make compute nodes of machines: install, register, verify with a job."""
    _work(Operation.SCALE_UP, locals())


def down(  # noqa: PLR0913, PLR0917 - one parameter per option
    nodes: common.NodesArgument,
    cluster: common.ClusterOption = None,
    inventory: common.InventoryOption = None,
    extra_vars: common.ExtraVarsOption = None,
    forks: common.ForksOption = None,
    check: CheckOption = False,  # noqa: FBT002 - an option of the command line, as the following ones
    user: UserOption = None,
    private_key: KeyOption = None,
    ask_pass: AskPassOption = False,  # noqa: FBT002
    ask_become_pass: AskBecomeOption = False,  # noqa: FBT002
    ask_vault_pass: AskVaultOption = False,  # noqa: FBT002
    vault_password_file: VaultFileOption = None,
    timeout: TimeoutOption = None,
    verbose: VerboseOption = 0,
    json: common.JsonOption = False,  # noqa: FBT002
    yes: YesOption = False,  # noqa: FBT002
) -> None:
    """Drain nodes and take them out of the cluster."""
    names = expand(nodes)
    if not yes and not check:
        if not sys.stdin.isatty():
            raise RefusedError("The removal of nodes has to be confirmed.", "Run it in a terminal, or with --yes.")
        if not typer.confirm(f"Take {fold(names)} ({len(names)} nodes) out of the cluster?", err=True):
            raise RefusedError("The removal was not confirmed; nothing was changed.")
    _work(Operation.SCALE_DOWN, locals())


def check(  # noqa: PLR0913, PLR0917 - one parameter per option
    nodes: common.NodesArgument,
    cluster: common.ClusterOption = None,
    inventory: common.InventoryOption = None,
    extra_vars: common.ExtraVarsOption = None,
    host: HostOption = None,
    forks: common.ForksOption = None,
    user: UserOption = None,
    private_key: KeyOption = None,
    ask_pass: AskPassOption = False,  # noqa: FBT002 - an option of the command line, as the following ones
    ask_become_pass: AskBecomeOption = False,  # noqa: FBT002
    ask_vault_pass: AskVaultOption = False,  # noqa: FBT002
    vault_password_file: VaultFileOption = None,
    timeout: TimeoutOption = None,
    verbose: VerboseOption = 0,
    json: common.JsonOption = False,  # noqa: FBT002
) -> None:
    """Look whether nodes are ready to be scaled up; changes nothing."""
    _work(Operation.CHECK, locals())


def retry(  # noqa: PLR0913, PLR0917 - one parameter per option
    run: Annotated[str, typer.Argument(help="A run that has ended; see `slurmscale runs`.")],
    extra_vars: common.ExtraVarsOption = None,
    forks: common.ForksOption = None,
    user: UserOption = None,
    private_key: KeyOption = None,
    ask_pass: AskPassOption = False,  # noqa: FBT002 - an option of the command line, as the following ones
    ask_become_pass: AskBecomeOption = False,  # noqa: FBT002
    ask_vault_pass: AskVaultOption = False,  # noqa: FBT002
    vault_password_file: VaultFileOption = None,
    timeout: TimeoutOption = None,
    verbose: VerboseOption = 0,
    json: common.JsonOption = False,  # noqa: FBT002
    yes: YesOption = False,  # noqa: FBT002
) -> None:
    """Run the nodes of a run again that did not succeed, with its addresses, logins and variables.

    Passwords are never stored: they have to be given again.
    """
    options = _options(locals())
    with output.without_a_reader(), Scaling() as scaling:
        _finish(scaling.retry(run, options), json=json, yes=yes)


def cancel(run: Annotated[str, typer.Argument(help="A run at work; see `slurmscale status`.")]) -> None:
    """Stop a run, on this machine and on its nodes."""
    with Scaling() as scaling:
        ended = scaling.cancel(run)
    typer.echo(f"{ended.id}: {ended.status.value}")
    if ended.status in RUN_ACTIVE:
        typer.echo("Its process has not answered yet; look again with `slurmscale status`.", err=True)
        raise typer.Exit(1)


_CREDENTIALS = (
    "Credentials: a node's own in the inventory win, then the cluster's, then these options and SLURMSCALE_SSH_*."
)
_EXAMPLES: dict[Callable[..., None], tuple[str, ...]] = {
    up: (
        "slurmscale up 'rocky[1-2],ubuntu[1-2]' --inventory inventories/lab/hosts.yml",
        "slurmscale up node07 --cluster lab --host node07=10.0.0.7 --user admin --ask-pass",
    ),
    down: ("slurmscale down 'node[07-12]' --cluster lab --yes",),
    check: ("slurmscale check 'node[07-12]' --cluster lab --json",),
    retry: ("slurmscale retry 20260101-120000-a1b2c3", "slurmscale retry 20260101-120000-a1b2c3 --ask-pass"),
    cancel: ("slurmscale cancel 20260101-120000-a1b2c3",),
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for function, examples in _EXAMPLES.items():
        epilog = output.epilog(examples)
        app.command(epilog=epilog if function in (retry, cancel) else f"{epilog}\n\n{_CREDENTIALS}")(function)


def _work(operation: Operation, given: dict[str, Any]) -> None:
    options = _options(given)
    nodes = common.node_specs(expand(given["nodes"]), given.get("host"))
    with output.without_a_reader(), Scaling() as scaling:
        cluster = scaling.find_cluster(common.target(given["cluster"], given["inventory"]))
        handle = scaling.run(operation, cluster, nodes, options)
        _finish(handle, json=given["json"], yes=bool(given.get("yes")))


def _options(given: dict[str, Any]) -> RunOptions:
    return RunOptions(
        forks=given["forks"],
        check=bool(given.get("check")),
        timeout=given["timeout"],
        extra_vars=common.extra_vars(given["extra_vars"]),
        credentials=Credentials(
            user=given["user"],
            private_key_file=given["private_key"],
            password=_ask("Login password", given["ask_pass"]),
            become_password=_ask("Password of sudo", given["ask_become_pass"]),
        ),
        vault_password=_ask("Vault password", given["ask_vault_pass"]),
        vault_password_file=given["vault_password_file"],
        verbosity=given["verbose"],
    )


def _ask(what: str, wanted: bool) -> str | None:  # noqa: FBT001 - the option's value
    return typer.prompt(what, hide_input=True, err=True) if wanted else None


def _finish(handle: RunHandle, *, json: bool, yes: bool) -> None:
    try:
        run = follow(handle, quiet=json, ask=not yes)
    except SlurmscaleError as exc:
        # what was begun is not refused any more
        code = output.NOT_RECORDED if isinstance(exc, ResultNotRecordedError) else 1
        raise typer.Exit(output.show_failure(exc, json=json, exit_code=code)) from exc
    if json:
        tasks = [output.task_as_json(task) for task in handle.tasks()]
        output.echo_json(output.run_as_json(run) | {"tasks": tasks})
    raise typer.Exit(output.exit_code(run))
