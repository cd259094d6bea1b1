"""Commands for clusters: cluster add, test, connect, refresh, list, info, forget."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Any

import typer
import yaml

from slurmscale.clean_text import clean
from slurmscale.cli import completion, option_values, output
from slurmscale.cli import shared_options as options
from slurmscale.documents import ClusterDocument, ClusterInfoDocument, DiscoveryDocument
from slurmscale.errors import Code, RefusedError
from slurmscale.inventory.described import as_inventory
from slurmscale.models import Cluster, Credentials, Discovery, RunOptions, when
from slurmscale.operations import Operation
from slurmscale.scaling import Scaling

_UNNAMED = "unnamed"

app = typer.Typer(help="Look at clusters, and keep them by name. No secret is kept with them.", no_args_is_help=True)
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the cluster.", autocompletion=completion.cluster)
]


@app.command(
    epilog=output.epilog(
        (
            "slurmscale cluster add lab --inventory inventories/lab/hosts.yml",
            "slurmscale cluster add small --controller ctl1.example.org --apphub https://apphub.example.org",
        )
    )
)
def add(  # noqa: PLR0913, PLR0917 - options
    name: NameArgument,
    inventory: options.InventoryOption = None,
    controller: Annotated[str | None, typer.Option(help="Address of the controller, without an inventory.")] = None,
    apphub: Annotated[list[str] | None, typer.Option(help="AppHub address, without an inventory; repeatable.")] = None,
    extra_vars: options.ExtraVarsOption = None,
    json: options.JsonOption = False,
) -> None:
    """Remember a cluster, or change what is remembered."""
    with Scaling() as scaling:
        scaling.add_cluster(
            Cluster(name, inventory, controller, tuple(apphub or ()), variables=option_values.extra_vars(extra_vars))
        )
        added = scaling.store.cluster(name)
    _tell(added, f"{name}: added", json=json)


@app.command("import", epilog=output.epilog(("slurmscale cluster import lab --inventory inventories/lab/hosts.yml",)))
def import_(
    name: NameArgument,
    inventory: Annotated[str, typer.Option("--inventory", "-i", help="Its path.")],
    json: options.JsonOption = False,
) -> None:
    """Keep a cluster with its hosts and their variables, so that it is known wherever the database is.

    Secrets are left out, and told. What the inventory says later is not read again: import it anew.
    """
    with Scaling() as scaling:
        left = scaling.clusters.import_inventory(Cluster(name, inventory))
        imported = scaling.store.cluster(name)
    hosts = imported.hosts or {"hostvars": {}}
    _tell(imported, f"{name}: {len(hosts['hostvars'])} hosts imported", json=json)
    if left:
        typer.echo(output.fitted(f"Not kept, for they are secret: {', '.join(left)}", sys.stderr), err=True)


@app.command(epilog=output.epilog(("slurmscale cluster export lab > hosts.yml",)))
def export(name: NameArgument, json: options.JsonOption = False) -> None:
    """Print a cluster that is kept here as an Ansible inventory, in YAML."""
    with Scaling() as scaling:
        found = as_inventory(scaling.store.cluster(name))
    if json:
        output.echo_json(found)
        return
    typer.echo(yaml.safe_dump(found, sort_keys=False, allow_unicode=True).rstrip())


@app.command("list", epilog=output.epilog(("slurmscale cluster list --json",)))
def list_(json: options.JsonOption = False) -> None:
    """List the known clusters."""
    with Scaling() as scaling:
        found = scaling.store.clusters()
    if json:
        output.echo_json([ClusterDocument.of(cluster).as_json() for cluster in found])
        return
    rows = [
        (
            one.name, one.cluster_type, one.health, output.iso(when(one.seen_at)),
            one.inventory or one.controller or "", " ".join(one.apphub_urls),
        )
        for one in found
    ]  # fmt: skip
    output.print_table(("name", "type", "health", "seen", "inventory or controller", "apphub"), rows, optional=1)


@app.command(epilog=output.epilog(("slurmscale cluster info lab", "slurmscale cluster info lab --json")))
def info(name: NameArgument, json: options.JsonOption = False) -> None:
    """Show what is kept of a cluster: what it told when it answered last, and its newest runs. Asks no cluster."""
    with Scaling() as scaling:
        cluster = scaling.store.cluster(name)
        document = ClusterInfoDocument.of_cluster(cluster, scaling.store.runs(cluster=name, limit=5))
    if json:
        output.echo_json(document.as_json())
        return
    known = document.as_json()
    known |= {name: output.iso(when(getattr(cluster, name))) for name in ("seen_at", "created_at")}
    for key in ("name", "cluster_type", "health", "seen_at", "inventory", "controller", "apphub_urls", "created_at"):
        output.show(key, known[key])
    for key, value in known["config"].items():
        output.show(key, value)
    output.show_cluster(cluster.info)
    output.show("recent_runs", known["recent_runs"])


@app.command(epilog=output.epilog(("slurmscale cluster forget lab",)))
def forget(name: NameArgument, json: options.JsonOption = False) -> None:
    """Forget a cluster; nothing is changed on it, and the records of its runs stay."""
    with Scaling() as scaling:
        known = scaling.store.cluster(name)
        scaling.clusters.forget(name)
    _tell(known, f"{name}: forgotten", json=json)


def _tell(cluster: Cluster, done: str, *, json: bool) -> None:
    """Say what was done with a cluster, or describe it."""
    if json:
        output.echo_json(ClusterDocument.of(cluster).as_json())
    else:
        typer.echo(done)


def _test(given: dict[str, Any]) -> None:
    run_options = option_values.run_options(given)
    with Scaling() as scaling:
        cluster = _described(given) or scaling.find_cluster(given["name"] or given["inventory"])
        found = scaling.clusters.test(cluster, run_options, fingerprint=given["discover_fingerprint"] or "")
    _print(found, json=given["json"])
    raise typer.Exit(0 if found.success else 1)


def _connect(given: dict[str, Any]) -> None:
    run_options = option_values.run_options(given)
    cluster = _described(given)
    if cluster is None and given["inventory"] is None:
        raise RefusedError(
            "A cluster is connected by its controller or an inventory.", "Give --controller or --inventory."
        )
    cluster = cluster or Cluster(given["name"], given["inventory"])
    cluster = dataclasses.replace(cluster, variables=option_values.extra_vars(given["extra_vars"]))
    config = {name: given[name] for name in ("max_nodes", "reuse_existing_config", "reuse_existing_munge",
                                             "reuse_existing_database")}  # fmt: skip
    if run_options.credentials.password or run_options.credentials.become_password:
        config["needs_password"] = True
    with Scaling() as scaling:
        found = _confirmed(scaling, cluster, run_options, given)
        if given["json"] and not found.success:
            _print(found, json=True)
            raise typer.Exit(1)
        connected = scaling.clusters.connect(cluster, found, **config)
    if given["json"]:
        output.echo_json(ClusterDocument.of(connected).as_json())
    else:
        typer.echo(f"{connected.name}: connected")


def _confirmed(scaling: Scaling, cluster: Cluster, run_options: RunOptions, given: dict[str, Any]) -> Discovery:
    """Test a cluster, and again when somebody at the terminal confirms its host key."""
    found = scaling.clusters.test(cluster, run_options, fingerprint=given["discover_fingerprint"] or "")
    unknown = found.error is not None and found.error.code == Code.HOST_KEY_UNKNOWN and found.fingerprint
    asked = unknown and sys.stdin.isatty()
    if not given["json"]:
        # what ends the command is told by its refusal
        _print(found if asked else dataclasses.replace(found, error=None), json=False)
    if not asked:
        return found
    if not typer.confirm(f"Is {found.fingerprint} the host key of the controller?", err=True):
        raise RefusedError("The host key was not confirmed; nothing was remembered.")
    found = scaling.clusters.test(cluster, run_options, fingerprint=found.fingerprint)
    if not given["json"]:
        _print(dataclasses.replace(found, error=None), json=False)
    return found


def _refresh(given: dict[str, Any]) -> None:
    run_options = option_values.run_options(given)
    with Scaling() as scaling:
        found = scaling.clusters.refresh(given["name"], run_options)
    _print(found, json=given["json"])
    raise typer.Exit(0 if found.success else 1)


def _described(given: dict[str, Any]) -> Cluster | None:
    """Return the cluster that the options describe by its controller; None when they don't."""
    if not given["controller"]:
        return None
    if given["inventory"]:
        raise RefusedError("--controller and --inventory exclude each other.", "Give one of them.")
    login = Credentials(user=given["user"], port=given["port"], private_key_file=given["private_key"])
    return Cluster(
        given["name"] or _UNNAMED, controller=given["controller"], apphub_urls=tuple(given.get("apphub") or ()),
        credentials=login,
    )  # fmt: skip


def _print(found: Discovery, *, json: bool) -> None:
    if json:
        output.echo_json(DiscoveryDocument.of(found).as_json())
        return
    output.print_stages(found.stages)
    if found.error:
        typer.echo(output.fitted(clean(found.error.reason), sys.stderr), err=True)
        typer.echo(output.fitted(clean(found.error.remedy), sys.stderr), err=True)
    output.show_cluster(found.info)


def _register() -> None:
    discover = Operation.DISCOVER_CLUSTER.definition
    any_name = Annotated[str | None, typer.Argument(
        metavar="NAME", help="A known cluster.", autocompletion=completion.cluster,
    )]  # fmt: skip
    address = Annotated[
        str | None, typer.Option("--controller", help="Address of the controller, without an inventory.")
    ]
    port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port of its sshd (default: 22).")]
    apphub = Annotated[list[str] | None, typer.Option("--apphub", help="AppHub address; repeatable.")]
    most = Annotated[int | None, typer.Option("--max-nodes", min=1, help="Most nodes that it may have.")]
    where = [
        options.parameter("controller", address), options.parameter("port", port),
        options.parameter("inventory", options.InventoryOption), *options.own_options(discover),
    ]  # fmt: skip
    reuse = [
        options.parameter(
            f"reuse_existing_{what}",
            Annotated[bool, typer.Option(f"--reuse-{what}/--no-reuse-{what}", help=f"Use its {text} as it is.")],
            default=True,
        )
        for what, text in (("config", "slurm.conf"), ("munge", "munge key"), ("database", "accounting database"))
    ]
    name = options.parameter("name", NameArgument, options.REQUIRED)
    stages = "The stages: resolve, tcp, hostkey, auth, sudo, slurm; each with what to do when it fails."
    key = "The host key is shown to be compared, and no other one is accepted later."
    commands = (
        (
            "test", _test, [options.parameter("name", any_name), *where, *options.LOGIN],
            f"Find out whether a cluster can be worked with, and what it is; changes nothing.\n\n{stages}",
            ("slurmscale cluster test lab", "slurmscale cluster test --controller ctl1.example.org --user admin"),
        ),
        (
            "connect", _connect,
            [name, *where, options.parameter("apphub", apphub), options.parameter("max_nodes", most), *reuse,
             *options.LOGIN],
            f"Test a cluster that somebody else set up, and remember it; nothing is changed on it.\n\n{stages} {key}",
            ("slurmscale cluster connect hpc --controller ctl1.example.org --user admin --max-nodes 100",),
        ),
        (
            "refresh", _refresh, [name, *options.LOGIN],
            "Look at a known cluster again: its health, version, partitions and nodes; changes nothing on it.",
            ("slurmscale cluster refresh hpc --json",),
        ),
    )  # fmt: skip
    for command, function, wanted, summary, examples in commands:
        made = options.command(function, wanted, summary)
        app.command(command, epilog=output.epilog(examples))(made)


_register()
