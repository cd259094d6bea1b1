"""Turns a request into a run: its record, what Ansible is given, and what must be masked; refuses what it can."""

from __future__ import annotations

import dataclasses
import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurmscale import settings
from slurmscale.errors import NodesError, RefusedError
from slurmscale.inventory import ansible_inventory as inventories
from slurmscale.inventory import secrets as secret_values
from slurmscale.inventory import vault
from slurmscale.inventory.ansible_inventory import CONTROLLER, Inventory
from slurmscale.inventory.names import check_credentials, check_host, check_variables, shown
from slurmscale.inventory.secrets import Redactor
from slurmscale.models import Cluster, Counts, Credentials, NodeSpec, Run, RunOptions
from slurmscale.operations import Operation
from slurmscale.runner import processes, project
from slurmscale.runner.protocol import Launch
from slurmscale.runner.secret_socket import SecretSocket
from slurmscale.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_RUN = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked for."""

    operation: Operation
    cluster: Cluster
    specs: Mapping[str, NodeSpec]
    options: RunOptions
    retry_of: str | None = None


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """The record of the run, what Ansible is given, and the secrets to mask."""

    run: Run
    launch: Launch
    redactor: Redactor


def _fixed_vars(run: Run) -> dict[str, object]:
    """Return what the library states itself: the nodes, and that somebody has confirmed their removal."""
    confirmed = {"confirm": True} if run.operation is Operation.SCALE_DOWN else {}
    return {"nodes": ",".join(run.nodes), **confirmed}


def prepare_run(config: settings.Settings, request: Request) -> PreparedRun:
    """Check a request against playbooks and inventory, and prepare its run.

    Args:
        config: Settings.
        request: What somebody asked for.

    Raises:
        RefusedError: It can't be run; nothing was changed.
    """
    _validate(config, request)
    content = project.find(config.project_dir)
    playbook = content.playbook(request.operation)
    environment = content.environment() | settings.blanked_environment()
    own = config.vault_password
    vault_password = request.options.vault_password or (own.get_secret_value() if own else None)
    known = _known(request, environment, vault_password)
    plain_vars, secret_vars = secret_values.split_secrets(request.options.extra_vars)
    run = _run(config, request, plain_vars, secret_vars)
    cluster, options = request.cluster, request.options
    levels = (cluster.credentials, options.credentials, config.credentials)
    launch = Launch(
        playbook=playbook,
        environment=environment,
        inventory=(cluster.inventory,) if cluster.inventory else (),
        added=inventories.additions(cluster, request.specs, run.nodes, known, levels, secret_vars),
        extra_vars=secret_values.unsafe(plain_vars) | secret_values.references(secret_vars) | _fixed_vars(run),
        forks=run.forks,
        check=options.check,
        timeout=options.timeout,
        verbosity=options.verbosity,
        vault_password=vault_password,
        vault_password_file=options.vault_password_file,
        report=request.operation.reports and "report" not in options.extra_vars,
    )
    run = dataclasses.replace(run, claims=inventories.machines(run.nodes, known, launch.added))
    return PreparedRun(run, launch, _redactor(known, launch, secret_vars))


def _validate(config: settings.Settings, request: Request) -> None:
    """Refuse names, addresses and variables that are more than that."""
    cluster, options = request.cluster, request.options
    if cluster.controller:
        check_host(cluster.controller)
        if CONTROLLER in request.specs:
            raise NodesError(f"{CONTROLLER} is the controller of cluster {cluster.name}.", "Name other nodes.")
    for spec in request.specs.values():
        if spec.host:
            check_host(spec.host)
    own = (spec.credentials for spec in request.specs.values())
    for credentials in {*own, cluster.credentials, options.credentials, config.credentials}:
        check_credentials(credentials)
        key = credentials.private_key_file
        if key and not os.path.isfile(os.path.expanduser(key)):  # noqa: PTH111, PTH113 - these raise for no path
            raise RefusedError(f"The private key file {shown(key)} does not exist.", "Correct its path.")
    if options.timeout is not None and not 0 < options.timeout <= _LONGEST_RUN:
        raise RefusedError("The time limit is no number of seconds up to a year.", "Correct --timeout.")
    check_variables(options.extra_vars)
    check_variables(cluster.variables)


def _known(request: Request, environment: dict[str, str], vault_password: str | None) -> Inventory:
    """Read the cluster's inventory and refuse nodes that are not in it."""
    cluster = request.cluster
    if cluster.inventory is None:
        return Inventory()
    sources, merged = [cluster.inventory], os.environ | environment
    if vault_password:
        directory = processes.make_run_dir()
        channel = SecretSocket(directory, {}, vault_password)
        try:
            known = inventories.read(sources, merged, ["--vault-password-file", str(channel.vault_script)])
        finally:
            channel.close()
            processes.remove_run_dir(directory)
    else:
        path = request.options.vault_password_file
        known = inventories.read(sources, merged, ["--vault-password-file", path] if path else [])
    new = {name for name, spec in request.specs.items() if spec.host}
    inventories.check_nodes([name for name in request.specs if name not in new], known, cluster)
    return known


def _run(
    config: settings.Settings,
    request: Request,
    plain_vars: dict[str, object],
    secret_vars: dict[str, object],
) -> Run:
    options = request.options
    return Run(
        id=f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}",
        cluster=request.cluster.name,
        operation=request.operation,
        status=RunStatus.PENDING,
        nodes=tuple(request.specs),
        counts=Counts(total=len(request.specs), active=len(request.specs)),
        created_at=time.time(),
        inventory=request.cluster.inventory,
        forks=options.forks or config.forks,
        check=options.check,
        variables=plain_vars,
        secret_names=tuple(secret_vars),
        logins=_logins(request),
        retry_of=request.retry_of,
        **processes.owner(),
    )


def _logins(request: Request) -> dict[str, Any]:
    """Return how to log in as far as it is not secret, and what has to be given again to repeat the run."""
    options = request.options
    nodes = {
        name: {"host": spec.host, **_plain_login(spec.credentials)}
        for name, spec in request.specs.items()
        if spec != NodeSpec(name)
    }
    secret = [
        ("of the nodes", options.credentials),
        *((f"of {name}", request.specs[name].credentials) for name in nodes),
    ]
    wanted = [
        f"{what} {whose}"
        for whose, given in secret
        for what, value in (("login password", given.password), ("sudo password", given.become_password))
        if value is not None
    ]
    if options.vault_password is not None:
        wanted.append("password of Ansible Vault")
    return {
        "nodes": nodes,
        "run": _plain_login(options.credentials),
        "vault_password_file": options.vault_password_file,
        "secrets": wanted,
    }


def _plain_login(given: Credentials) -> dict[str, Any]:
    return {"user": given.user, "port": given.port, "private_key_file": given.private_key_file}


def repeat(
    run: Run, names: list[str], options: RunOptions, given: Mapping[str, NodeSpec]
) -> tuple[list[NodeSpec], RunOptions]:
    """Return the nodes and the choices that repeat a run for some of its nodes.

    Args:
        run: The run.
        names: The nodes.
        options: What is given anew; it wins over what the run had.
        given: Nodes whose login is given anew.

    Raises:
        RefusedError: Something secret is missing.
    """
    logins = {"nodes": {}, "run": {}, "vault_password_file": None, "secrets": [], **run.logins}
    anew = options.credentials
    found = {
        "login password of the nodes": anew.password, "sudo password of the nodes": anew.become_password,
        "password of Ansible Vault": options.vault_password or options.vault_password_file,
    }  # fmt: skip
    for name, spec in given.items():
        found |= {
            f"login password of {name}": spec.credentials.password,
            f"sudo password of {name}": spec.credentials.become_password,
        }
    others = {
        f"{what} of {node}" for node in set(run.nodes) - set(names) for what in ("login password", "sudo password")
    }
    missing = [text for text in logins["secrets"] if found.get(text) is None and text not in others]
    variables = [name for name in run.secret_names if name not in options.extra_vars]
    if missing or variables:
        wanted = [*(f"the {text}" for text in missing), *(f"{name} (-e)" for name in variables)]
        raise RefusedError(
            f"Run {run.id} was started with secrets, which are never kept.",
            f"Give again: {', '.join(wanted)}.",
            code="credentials-needed",
        )
    options = dataclasses.replace(
        options,
        extra_vars=run.variables | options.extra_vars,
        forks=options.forks or run.forks,
        check=options.check or run.check,
        credentials=_completed(anew, logins["run"]),
        vault_password_file=options.vault_password_file or logins["vault_password_file"],
    )
    return [given.get(name) or _spec(name, logins["nodes"].get(name)) for name in names], options


def _completed(given: Credentials, known: Mapping[str, Any]) -> Credentials:
    missing = {name: value for name, value in known.items() if getattr(given, name) is None}
    return dataclasses.replace(given, **missing)


def _spec(name: str, known: Mapping[str, Any] | None) -> NodeSpec:
    if known is None:
        return NodeSpec(name)
    login = {key: value for key, value in known.items() if key != "host"}
    return NodeSpec(name, known["host"], Credentials(**login))


def _redactor(known: Inventory, launch: Launch, secret_vars: dict[str, object]) -> Redactor:
    redactor = Redactor()
    secret = vault.password(launch.vault_password, launch.vault_password_file)
    redactor.learn(vault.unseal(known.hostvars, secret), literal=False)
    redactor.learn(launch.added)
    redactor.learn(secret_vars)
    redactor.learn(launch.vault_password or "", "password")
    return redactor
