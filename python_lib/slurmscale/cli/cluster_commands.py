"""Commands that keep clusters: cluster add, list, show, remove."""

from __future__ import annotations

from typing import Annotated

import typer

from slurmscale.cli import options as common
from slurmscale.cli import output, parameters
from slurmscale.documents import ClusterDocument
from slurmscale.models import Cluster
from slurmscale.scaling import Scaling

app = typer.Typer(help="Keep clusters by name. No secret is kept with them.", no_args_is_help=True)
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the cluster.", autocompletion=parameters.complete_cluster)
]


@app.command(
    epilog=output.epilog(
        (
            "slurmscale cluster add lab --inventory inventories/lab/hosts.yml",
            "slurmscale cluster add small --controller ctl1.example.org --apphub https://apphub.example.org",
        )
    )
)
def add(
    name: NameArgument,
    inventory: parameters.InventoryOption = None,
    controller: Annotated[str | None, typer.Option(help="Address of the controller, without an inventory.")] = None,
    apphub: Annotated[list[str] | None, typer.Option(help="AppHub address, without an inventory; repeatable.")] = None,
    extra_vars: parameters.ExtraVarsOption = None,
) -> None:
    """Remember a cluster, or change what is remembered."""
    with Scaling() as scaling:
        scaling.add_cluster(
            Cluster(name, inventory, controller, tuple(apphub or ()), variables=common.extra_vars(extra_vars))
        )
    typer.echo(f"{name}: added")


@app.command("list", epilog=output.epilog(("slurmscale cluster list --json",)))
def list_(json: parameters.JsonOption = False) -> None:  # noqa: FBT002 - an option
    """List the known clusters."""
    with Scaling() as scaling:
        found = scaling.store.clusters()
    if json:
        output.echo_json([ClusterDocument.of(cluster).as_json() for cluster in found])
        return
    rows = [(one.name, one.inventory or "", one.controller or "", " ".join(one.apphub_urls)) for one in found]
    output.print_table(("name", "inventory", "controller", "apphub"), rows, cut=3)


@app.command(epilog=output.epilog(("slurmscale cluster show lab",)))
def show(name: NameArgument) -> None:
    """Show what is kept of a cluster, and its newest runs."""
    with Scaling() as scaling:
        cluster = scaling.store.cluster(name)
        runs = scaling.store.runs(cluster=name, limit=5)
    output.echo_json(
        ClusterDocument.of(cluster).as_json() | {"recent_runs": [f"{run.id} {run.status.value}" for run in runs]}
    )


@app.command(epilog=output.epilog(("slurmscale cluster remove lab",)))
def remove(name: NameArgument) -> None:
    """Forget a cluster; nothing is changed on it, and the records of its runs stay."""
    with Scaling() as scaling:
        scaling.store.remove_cluster(name)
    typer.echo(f"{name}: forgotten")
