"""The options and arguments of the commands, each declared once.

Commands that start an operation are made of these and of the operation's own options; see `commands_from_operations`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from slurmscale.cli import completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from slurmscale.operations import Definition

REQUIRED = inspect.Parameter.empty
"""Default of a parameter that must be given."""


NodesArgument = Annotated[
    str,
    typer.Argument(metavar="NODES", help="Nodes in Slurm's syntax, e.g. node[07-12].", autocompletion=completion.nodes),
]
ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", "-c", help="A cluster added with `cluster add`.", autocompletion=completion.cluster),
]
InventoryOption = Annotated[str | None, typer.Option("--inventory", "-i", help="Path of an Ansible inventory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ExtraVarsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--extra-vars",
        "-e",
        help="Ansible variables: KEY=VALUE, JSON, or @FILE. Texts are no templates; secrets are never stored.",
    ),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run, or the beginning of its id.", autocompletion=completion.run)
]
NewestRunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN", help="A run, or the beginning of its id; the newest one when left out.",
        autocompletion=completion.run,
    ),
]  # fmt: skip
RunOption = Annotated[
    str | None,
    typer.Option("--run", "-r", help="The run; the newest one when left out.", autocompletion=completion.run),
]


JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="A job: our id or its beginning, Slurm's, or CLUSTER:JOBID.", autocompletion=completion.job
    ),
]


def parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    """Return a parameter as a function of typer would have it."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option(name: str, kind: Any, *flags: str, default: Any = None, **more: Any) -> inspect.Parameter:
    return parameter(name, Annotated[kind, typer.Option(*flags, **more)], default)


def _switch(name: str, *flags: str, help: str) -> inspect.Parameter:  # noqa: A002 - as typer calls it
    return _option(name, bool, *flags, default=False, help=help)


NODES = parameter("nodes", NodesArgument, REQUIRED)
NODES_OR_ALL = parameter(
    "nodes",
    Annotated[
        Optional[str],  # noqa: UP045 - made when this is read, which `|` with typer's marks is not
        typer.Argument(
            metavar="NODES", help="Nodes in Slurm's syntax; the group slurm_nodes when left out.",
            autocompletion=completion.nodes,
        ),
    ],
)  # fmt: skip
NODES_OPTION = _option(
    "nodes", str | None, "--nodes", "-n", help="Nodes in Slurm's syntax; the group slurm_nodes when left out.",
    autocompletion=completion.nodes,
)  # fmt: skip
RUN = parameter("run", RunArgument, REQUIRED)
JOB = parameter("job", JobArgument, REQUIRED)
TARGET = (parameter("cluster", ClusterOption), parameter("inventory", InventoryOption))
HOST = _option("host", list[str] | None, "--host", help="NODE=ADDRESS[:PORT] of a node that is in no inventory;"
               " repeatable.")  # fmt: skip
CHECK = _switch("check", "--check", "-C", help="Only show what would be changed.")
CREDENTIAL = _option("credential", str | None, "--credential", help="Id of a login that is kept, for these nodes; see"
                     " `slurmscale credential list`.", autocompletion=completion.credential)  # fmt: skip
LOGIN = (
    parameter("extra_vars", ExtraVarsOption),
    _option("user", str | None, "--user", "-u", help="Login name where nothing else names one."),
    _option("private_key", str | None, "--private-key", help="Private key file where nothing else names one."),
    _switch("ask_pass", "--ask-pass", "-k", help="Ask for the login password."),
    _switch("ask_become_pass", "--ask-become-pass", "-K", help="Ask for the password of sudo."),
    _switch("ask_vault_pass", "--ask-vault-pass", "-J", help="Ask for the password of Ansible Vault."),
    _option("vault_password_file", str | None, "--vault-password-file", help="File or program that gives it."),
    _option("timeout", float | None, "--timeout", min=1, help="Cancel after so many seconds."),
    _option("verbose", int, "--verbose", "-v", default=0, count=True, help="More details in the nodes' logs."),
    parameter("json", JsonOption, default=False),
)
"""What every command has that runs a playbook."""
WORK = (
    *LOGIN,
    _switch("diff", "--diff", "-D", help="Log what changes in files; see `slurmscale log`."),
    _option("forks", int | None, "--forks", "-f", min=1, max=10_000, help="Nodes worked on at the same time."),
    _switch("detach", "--detach", "-d", help="Start it, print its id, and don't show it; see `slurmscale attach`."),
    _switch("follow", "--follow", help="With --json: print what happens as JSON, a line per event."),
    _switch("yes", "--yes", "-y", help="Don't ask for confirmation."),
)
"""What every command has that starts an operation."""


_COMPLETED = {"job_partition": completion.partition}


def own_options(definition: Definition) -> Iterator[inspect.Parameter]:
    """Yield the options of an operation itself."""
    for option in definition.options:
        if option.kind is bool:
            yield _switch(option.name, option.option, help=option.help)
        else:
            yield _option(
                option.name, option.kind | None, option.option, help=option.help,
                autocompletion=_COMPLETED.get(option.name),
            )  # fmt: skip


def command(
    function: Callable[..., None], parameters: Iterable[inspect.Parameter], summary: str
) -> Callable[..., None]:
    """Return a function with these parameters, for typer to read, which calls another one with what was given."""

    def made(**given: Any) -> None:
        function(given)

    made.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined] # what inspect looks for
    made.__doc__ = summary
    return made
