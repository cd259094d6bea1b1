"""Commands that start, follow or stop work: up, down, check, repair, upgrade, ..., retry, attach, cancel.

Those that start an operation are made of what `operations` says of it and of the shared options in `shared_options`.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from slurmscale.clean_text import clean
from slurmscale.cli import background, completion, option_values, optional_service, output
from slurmscale.cli import shared_options as options
from slurmscale.cli.follow import follow
from slurmscale.documents import EventDocument, ResultDocument, RunDocument
from slurmscale.errors import RefusedError, ResultNotRecordedError, SlurmscaleError
from slurmscale.inventory.hostlist import fold
from slurmscale.operations import Operation, Scope
from slurmscale.scaling import Scaling
from slurmscale.states import RUN_ACTIVE, RunStatus

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slurmscale.models import RunOptions
    from slurmscale.runs.handle import RunHandle
    from slurmscale.runs.watched_run import WatchedRun

_CREDENTIALS = (
    "Credentials: a node's own in the inventory win, then the cluster's, then these options and SLURMSCALE_SSH_*."
)
_KEYS = "SLURMSCALE_SECRET_KEY_FILE"
_REPAIR = {
    "check": Operation.REPAIR_CHECK,
    "fix": Operation.REPAIR_FIX,
    "test": Operation.REPAIR_TEST,
}


@dataclass(frozen=True, slots=True)
class _Command:
    """A command that starts an operation.

    Attributes:
        name: Its name.
        operation: The operation.
        examples: How it is called.
        parameters: What it has besides its nodes, the cluster, the operation's own options and what all have.
    """

    name: str
    operation: Operation
    examples: tuple[str, ...]
    parameters: tuple[inspect.Parameter, ...] = ()


_COMMANDS = (
    _Command("plan", Operation.PLAN, (
        "slurmscale plan 'node[07-12]' --cluster lab", "slurmscale plan node07 --json",
    ), (options.HOST, options.CREDENTIAL)),
    _Command("up", Operation.SCALE_UP, (
        "slurmscale up 'rocky[1-2],ubuntu[1-2]' --inventory inventories/lab/hosts.yml",
        "slurmscale up node07 --cluster lab --host node07=10.0.0.7 --user admin --ask-pass",
        "slurmscale up node08 --host node08=10.0.0.8 --credential 0a1b2c3d4e5f6789",
        "slurmscale up 'node[07-12]' --detach",
    ), (options.HOST, options.CREDENTIAL, options.CHECK)),
    _Command("down", Operation.SCALE_DOWN, (
        "slurmscale down 'node[07-12]' --cluster lab --yes",
        "slurmscale down node07 --jobs requeue --uninstall",
    ), (options.HOST, options.CREDENTIAL, options.CHECK)),
    _Command("check", Operation.CHECK, (
        "slurmscale check 'node[07-12]' --cluster lab --json",
    ), (options.HOST, options.CREDENTIAL)),
    _Command("upgrade", Operation.UPGRADE, (
        "slurmscale upgrade --slurm-version 24.11.5-4 --batch 25%",
        "slurmscale upgrade 'node[07-12]' --slurm-version 24.11.5-4 --check",
    ), (options.CHECK,)),
    _Command("rotate-key", Operation.ROTATE_MUNGE_KEY, (
        "slurmscale rotate-key --cluster lab --also login1,login2",
    ), (options.CHECK,)),
    _Command("setup-controller", Operation.SETUP_CONTROLLER, (
        "slurmscale setup-controller --inventory inventories/lab/hosts.yml --cluster-name lab",
    ), (options.CHECK,)),
)  # fmt: skip
_APPHUB_COMMANDS = (
    _Command("publish", Operation.PUBLISH_APPHUB, (
        "slurmscale apphub publish --inventory inventories/lab/hosts.yml",
    ), (options.CHECK,)),
    _Command("check", Operation.CHECK_APPHUB, ("slurmscale apphub check --cluster lab --json",)),
)  # fmt: skip


def attach(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run, or the beginning of its id; the newest active one when left out.",
            autocompletion=completion.run,
        ),
    ] = None,
    json: options.JsonOption = False,
    follow_events: Annotated[bool, typer.Option("--follow", help="With --json: a line per event.")] = False,
) -> None:
    """Show an active run, whoever started it, until it has ended."""
    with output.surviving_hangup(), Scaling() as scaling:
        handle = scaling.watch(run)
        code = _follow(scaling, handle, {"json": json, "follow": follow_events})
    raise typer.Exit(code)


def cancel(
    run: options.RunArgument,
    json: options.JsonOption = False,
) -> None:
    """Stop a run, on this machine and on its nodes."""
    with Scaling() as scaling:
        ended = scaling.cancel(run)
    if json:
        output.echo_json(RunDocument.of_run(ended).as_json())
    else:
        typer.echo(f"{ended.id}: {ended.status.value}")
    if ended.status in RUN_ACTIVE:
        typer.echo("Its process has not answered yet; look again with `slurmscale status`.", err=True)
        raise typer.Exit(1)


def register(app: typer.Typer, apphub: typer.Typer) -> None:
    """Add the commands.

    Args:
        app: The command itself.
        apphub: Its group for the AppHub.
    """
    for group, commands in ((app, _COMMANDS), (apphub, _APPHUB_COMMANDS)):
        for command in commands:
            _register(group, command)
    action = Annotated[str | None, typer.Argument(
        metavar="ACTION", help="check, fix or test; all three in turn when left out.",
        autocompletion=lambda incomplete: [one for one in _REPAIR if one.startswith(incomplete)],
    )]  # fmt: skip
    repair = [
        options.parameter("action", action), options.NODES_OPTION, *options.TARGET,
        *options.own_options(Operation.REPAIR_FIX.definition), *options.WORK,
    ]  # fmt: skip
    summary = """Find what is wrong with a cluster, fix what is safe to fix, and run a job in each partition.

    Never changed: a machine of another cluster or that is not registered, what somebody else drained or set DOWN,
    clocks, disks, users, versions.
    """
    epilog = output.epilog(("slurmscale repair --cluster lab", "slurmscale repair check --nodes 'node[07-12]' --json"))
    app.command("repair", epilog=f"{epilog}\n\n{_CREDENTIALS}")(options.command(_repair, repair, summary))
    summary = """Run the nodes of a run again that did not succeed, with its addresses, logins and variables.

    Passwords are never stored: they have to be given again.
    """
    epilog = output.epilog(("slurmscale retry 20260101-120000-a1b2c3", "slurmscale retry a1b2c3 --ask-pass"))
    app.command("retry", epilog=epilog)(
        options.command(_retry, [options.RUN, options.CREDENTIAL, *options.WORK], summary)
    )
    app.command(epilog=output.epilog(("slurmscale attach a1b2c3",)))(attach)
    app.command(epilog=output.epilog(("slurmscale cancel 20260101-120000-a1b2c3", "slurmscale cancel a1b2c3")))(cancel)


def _register(app: typer.Typer, command: _Command) -> None:
    definition = command.operation.definition
    nodes = {Scope.NODES: (options.NODES,), Scope.NODES_OR_ALL: (options.NODES_OR_ALL,)}
    parameters = (
        *nodes.get(definition.scope, ()), *options.TARGET, *command.parameters,
        *options.own_options(definition), *options.WORK,
    )  # fmt: skip
    summary = definition.summary + (f"\n\nWhen it is cancelled: {definition.risk}" if definition.risk else "")
    epilog = f"{output.epilog(command.examples)}\n\n{_CREDENTIALS}"
    start = partial(_run_operations, [command.operation])
    app.command(command.name, epilog=epilog)(options.command(start, parameters, summary))


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise RefusedError(f"This has to be confirmed: {question}", "Run it in a terminal, or with --yes.")
    if not typer.confirm(question, err=True):
        raise RefusedError("It was not confirmed; nothing was changed.")


def _question(operation: Operation, cluster: str, nodes: Sequence[str], variables: Mapping[str, Any]) -> str:
    which = f"{fold(nodes)} ({len(nodes)} nodes)" if len(nodes) > 1 else "".join(nodes) or "all nodes"
    options = {option.name: "as stated in the inventory" for option in operation.definition.options}
    return operation.definition.question.format_map({**options, **variables, "nodes": which, "cluster": cluster})


def _repair(given: dict[str, Any]) -> None:
    action = given["action"]
    if action is not None and action not in _REPAIR:
        raise RefusedError(f"A repair has no action {clean(action)}.", f"Name one of {', '.join(_REPAIR)}.")
    _run_operations([_REPAIR[action]] if action else list(_REPAIR.values()), given)


def _previewed(operations: Sequence[Operation]) -> Iterator[Operation]:
    """Yield operations, each after the one that shows what it would do."""
    for operation in operations:
        preview = operation.preview
        if preview and preview not in operations:
            yield preview
        yield operation


def _run_operations(operations: list[Operation], given: dict[str, Any]) -> NoReturn:
    """Run operations one after the other, in a process that can leave the terminal.

    What changes a controller or nodes is confirmed first. An operation that can be previewed is so in a terminal only,
    where somebody reads, and else not asked about.
    """
    run_options = option_values.run_options(given)
    own = {option.name for operation in operations for option in operation.definition.options}
    own_values = {name: given[name] for name in own if given.get(name) not in (None, False)}
    nodes = option_values.nodes_of_options(given.get("nodes"), given.get("host"))
    target = option_values.target(given["cluster"], given["inventory"])
    agreed = given["yes"] or given.get("check")
    read = sys.stdin.isatty() and not (given["json"] or given["detach"])
    order = list(_previewed(operations)) if read and not agreed else operations

    def options_of(operation: Operation) -> RunOptions:
        taken = {option.name for option in operation.definition.options}
        variables = run_options.extra_vars | {name: value for name, value in own_values.items() if name in taken}
        return dataclasses.replace(run_options, extra_vars=variables)

    def work(leave: Callable[[], None]) -> int:
        with output.surviving_hangup(), _opened(bool(given.get("credential"))) as scaling:

            def run_one(operation: Operation) -> tuple[int, str]:
                cluster = scaling.find_cluster(target)
                handle = scaling.run(operation, cluster, nodes.values(), options_of(operation))
                return _follow(scaling, handle, given, leave), handle.id

            def ask(operation: Operation) -> None:
                definition = operation.definition
                if agreed or not definition.question or (definition.preview and not read):
                    return
                cluster, options = scaling.find_cluster(target), options_of(operation)
                if not definition.preview:
                    # what can't be done is not asked about
                    scaling.validate(operation, cluster, nodes.values(), options)
                _confirm(_question(operation, cluster.name, list(nodes), cluster.variables | options.extra_vars))

            return _run_in_order(scaling, order, run_one, ask)

    raise typer.Exit(background.run(work, apart=given["detach"] or sys.stdin.isatty()))


def _opened(with_credentials: bool) -> Scaling:
    """Open the library; logins that are kept can be opened only where the service and its file of keys are."""
    return Scaling(sealer=optional_service.sealer()) if with_credentials else Scaling()


def _run_in_order(
    scaling: Scaling,
    operations: Sequence[Operation],
    run_one: Callable[[Operation], tuple[int, str]],
    ask: Callable[[Operation], None],
) -> int:
    codes: dict[Operation, int] = {}
    for operation in operations:
        if operation is Operation.REPAIR_FIX and codes.get(Operation.REPAIR_CHECK) == 0:
            # nothing is wrong
            continue
        ask(operation)
        codes[operation], run_id = run_one(operation)
        if codes[operation] == output.CANCELLED:
            return output.CANCELLED
        if operation is Operation.PLAN and not scaling.store.run(run_id).counts.success:
            # no node is ready
            return codes[operation]
    # what was found before is fixed, or left by what came after it
    if Operation.REPAIR_FIX in codes:
        codes.pop(Operation.REPAIR_CHECK, None)
    if Operation.SCALE_UP in codes:
        codes.pop(Operation.PLAN, None)
    return max(codes.values())


def _retry(given: dict[str, Any]) -> None:
    run_options = option_values.run_options(given)

    def work(leave: Callable[[], None]) -> int:
        # the run itself may name a credential
        with output.surviving_hangup(), _opened(bool(given["credential"] or os.environ.get(_KEYS))) as scaling:
            return _follow(scaling, scaling.retry(given["run"], run_options), given, leave)

    raise typer.Exit(background.run(work, apart=given["detach"] or sys.stdin.isatty()))


def _follow(
    scaling: Scaling,
    handle: RunHandle | WatchedRun,
    given: dict[str, Any],
    leave: Callable[[], None] | None = None,
) -> int:
    """Show a run until its end and return the exit code, or start it only."""
    json, events = given["json"], given["json"] and given["follow"]
    detach = bool(given.get("detach"))
    _announce(handle, json=json and detach, events=events, plain=detach and not json)
    if detach and leave is not None:
        leave()
    try:
        run = follow(handle, scaling.store.report, quiet=json or detach, events=events, leave=leave)
    except SlurmscaleError as exc:
        # what was begun is not refused any more
        code = output.NOT_RECORDED if isinstance(exc, ResultNotRecordedError) else 1
        return output.show_failure(exc, json=json, exit_code=code)
    if run is None:
        return 0
    report = scaling.store.report(run.id) if run.operation.reports else None
    if json:
        result = ResultDocument.of(run, handle.tasks(), report)
        if events:
            output.echo_json_line(EventDocument(event="end", run_id=run.id, status=run.status.value, run=result))
        else:
            output.echo_json(result.as_json())
    else:
        output.print_report(report)
    return output.exit_code(run)


def _announce(handle: RunHandle | WatchedRun, *, json: bool, events: bool, plain: bool) -> None:
    """Say first which run it is, and what a cancel would leave behind."""
    run = handle.run
    if events:
        output.echo_json_line(EventDocument(event="begin", run_id=run.id, status=RunStatus.RUNNING.value))
    elif json:
        output.echo_json(RunDocument.of_run(run).as_json())
    elif plain:
        typer.echo(run.id)
    what = output.what(run.operation.value, check=run.check)
    nodes = f"{len(run.nodes)} {run.operation.definition.scope.hosts}" if len(run.nodes) > 1 else run.nodes[0]
    begun = [f"{run.id}: {what} on cluster {run.cluster}, {nodes}"]
    if run.operation.definition.risk and not run.check and run.status in RUN_ACTIVE:
        begun.append(f"When it is cancelled: {run.operation.definition.risk}")
    if plain:
        begun.append(f"See it: slurmscale attach {run.id}")
    for line in begun:
        typer.echo(output.fitted(line, sys.stderr), err=True)
