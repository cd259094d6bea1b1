"""Turns a request into a run: its record, what Ansible is given, and what must be masked; refuses what it can."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurmscale import settings
from slurmscale.errors import NodesError, RefusedError
from slurmscale.inventory import ansible_inventory as inventories
from slurmscale.inventory import vault
from slurmscale.inventory.ansible_inventory import CONTROLLER, Inventory
from slurmscale.inventory.extra_vars import references, split_secrets, unsafe
from slurmscale.inventory.names import check_credentials, check_host, check_variables, shown
from slurmscale.models import Counts, Credentials, NodeSpec, Run, RunOptions
from slurmscale.operations import Operation, Scope
from slurmscale.redaction import Redactor
from slurmscale.runner import processes, project, run_directories
from slurmscale.runner.protocol import Launch
from slurmscale.runner.secret_socket import SecretSocket
from slurmscale.states import RunStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from slurmscale.models import Cluster
    from slurmscale.runs.request import Request

_LONGEST_RUN = 365 * 24 * 3600
_CONTROL_MACHINE = "localhost"
_OF_MANAGED = {Operation.SETUP_CONTROLLER: "configuration", Operation.ROTATE_MUNGE_KEY: "munge key"}
"""What is done to managed clusters only, by what it would replace."""


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """The record of the run, what Ansible is given, and the secrets to mask."""

    run: Run
    launch: Launch
    redactor: Redactor


def _fixed_vars(request: Request, run: Run) -> dict[str, object]:
    """Return what the library states itself: the nodes, and what the operation always says."""
    definition = request.operation.definition
    nodes: Collection[str] = request.nodes
    if definition.scope is Scope.NODES_OR_ALL:
        nodes = run.nodes
    elif definition.scope is Scope.CLUSTER:
        # the controller is looked at without being named, and would be refused if it were
        nodes = [name for name in nodes if name != run.nodes[0]]
    stated = {"nodes": ",".join(nodes)} if nodes and definition.scope.takes_nodes else {}
    return dict(definition.variables) | stated


def prepare_run(
    config: settings.Settings,
    request: Request,
    prepared: Mapping[str, Any] | None = None,
    kept: Credentials = Credentials(),  # noqa: B008 - it is frozen
) -> PreparedRun:
    """Check a request against playbooks and inventory, and prepare its run.

    Args:
        config: Settings.
        request: What somebody asked for.
        prepared: What earlier stages reported of the nodes.
        kept: The login that the request names by its id.

    Raises:
        RefusedError: It can't be run; nothing was changed.
    """
    _validate(config, request)
    content = project.find(config.project_dir)
    stage = request.stage
    playbook = content.playbook(stage.playbook if stage else request.operation.playbook)
    told = unsafe({"prepared": dict(prepared)}) if prepared else {}
    environment = content.environment() | settings.blanked_environment()
    known_password = config.vault_password
    vault_password = request.options.vault_password or (known_password.get_secret_value() if known_password else None)
    known = _known(request, environment, vault_password)
    _check_nodes(request, known)
    _require_options(request, known)
    definition = request.operation.definition
    plain_vars, secret_vars = split_secrets(request.options.extra_vars, definition.private)
    run = _run(config, request, _hosts(request, known), plain_vars, secret_vars)
    cluster, options = request.cluster, request.options
    levels = (cluster.credentials, options.credentials, config.credentials)
    nodes = {
        name: dataclasses.replace(node, credentials=_completed(node.credentials, dataclasses.asdict(kept)))
        for name, node in request.nodes.items()
    }
    if any(one.private_key for one in (*levels, *(node.credentials for node in nodes.values()))):
        # Ansible starts it in the run's directory, and it ends with the run
        environment |= {"ANSIBLE_SSH_AGENT": "auto"}
    launch = Launch(
        playbook=playbook,
        environment=environment,
        inventory=(cluster.inventory,) if cluster.inventory else (),
        added=_trusting(config, cluster, inventories.additions(cluster, nodes, run.nodes, known, levels, secret_vars)),
        extra_vars=unsafe(plain_vars) | references(secret_vars) | _fixed_vars(request, run) | told,
        forks=run.forks,
        check=options.check,
        timeout=options.timeout,
        verbosity=options.verbosity,
        diff=options.diff,
        vault_password=vault_password,
        vault_password_file=options.vault_password_file,
        report=bool(stage or request.operation.reports) and "report" not in options.extra_vars,
    )
    if not definition.claims:
        run = dataclasses.replace(run, claims=tuple(f"{run.id}/{name}" for name in run.nodes))
    elif run.nodes != (_CONTROL_MACHINE,):
        # many clusters may be looked at from here at the same time
        run = dataclasses.replace(run, claims=inventories.machines(run.nodes, known, launch.added))
    return PreparedRun(run, launch, _redactor(known, launch, secret_vars))


def _trusting(config: settings.Settings, cluster: Cluster, added: dict[str, Any]) -> dict[str, Any]:
    """Let a controller be reached only when it shows a host key that was confirmed for its cluster."""
    if cluster.inventory or not cluster.host_keys:
        return added
    folder = config.data_dir.expanduser().absolute() / "known_hosts"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / cluster.name
    # whole at every moment: another run may be reading it
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
        file.write("".join(f"{line}\n" for line in cluster.host_keys))
    Path(file.name).replace(path)
    known = shlex.join(["-o", f"UserKnownHostsFile={path}", "-o", "GlobalKnownHostsFile=/dev/null"])
    variables = {"ansible_host_key_checking": True, "ansible_ssh_common_args": f"{known} -o StrictHostKeyChecking=yes"}
    added["_meta"]["hostvars"][CONTROLLER] |= unsafe(variables)
    return added


def _validate(config: settings.Settings, request: Request) -> None:
    """Refuse names, addresses and variables that are more than that."""
    cluster, options = request.cluster, request.options
    if cluster.controller:
        check_host(cluster.controller)
        if CONTROLLER in request.nodes:
            raise NodesError(f"{CONTROLLER} is the controller of cluster {cluster.name}.", "Name other nodes.")
    for node in request.nodes.values():
        if node.host:
            check_host(node.host)
    own = (node.credentials for node in request.nodes.values())
    for credentials in {*own, cluster.credentials, options.credentials, config.credentials}:
        check_credentials(credentials)
        key = credentials.private_key_file
        if key and not os.path.isfile(os.path.expanduser(key)):  # noqa: PTH111, PTH113 - these raise for no path
            raise RefusedError(f"The private key file {shown(key)} does not exist.", "Correct its path.")
    if options.timeout is not None and not 0 < options.timeout <= _LONGEST_RUN:
        raise RefusedError("The time limit must be a number of seconds, at most a year.", "Correct --timeout.")
    check_variables(options.extra_vars)
    check_variables(cluster.variables)
    _validate_operation(request)


def _validate_operation(request: Request) -> None:
    """Refuse what the operation does not take."""
    definition, options, cluster = request.operation.definition, request.options, request.cluster
    if cluster.cluster_type == "external" and request.operation in _OF_MANAGED:
        raise RefusedError(
            f"{cluster.name} is an external cluster: its {_OF_MANAGED[request.operation]} is used as it is.",
            f"To have it changed from here, make it a managed one: slurmscale cluster add {cluster.name}",
        )
    after = {*(cluster.info or {}).get("nodes", ()), *request.nodes}
    limit = cluster.config.get("max_nodes")
    if limit and request.operation is Operation.SCALE_UP and len(after) > limit:
        raise NodesError(
            f"Cluster {cluster.name} would have {len(after)} nodes, and may have {limit}.",
            "Add fewer, or connect it again with a higher limit (--max-nodes).",
        )
    for option in definition.options:
        problem = option.problem(options.extra_vars[option.name]) if option.name in options.extra_vars else None
        if problem:
            raise RefusedError(problem, f"Correct {option.option}: {option.help}")
    if options.timeout is not None and definition.uncut:
        raise RefusedError(f"A run of {request.operation.value} takes no time limit.", definition.risk)
    if request.nodes and not definition.scope.takes_nodes:
        raise NodesError(f"{request.operation.value} takes no list of nodes.", "Leave the nodes away.")
    if options.credential is not None and not request.nodes:
        raise RefusedError("A credential is for nodes that are named.", "Name nodes, or leave the credential away.")


def _require_options(request: Request, known: Inventory) -> None:
    """Refuse an operation without what somebody has to state."""
    stated = {name for variables in known.hostvars.values() for name in variables}
    stated |= request.options.extra_vars.keys() | request.cluster.variables.keys()
    for option in request.operation.definition.options:
        if option.required and option.name not in stated:
            raise RefusedError(
                f"{request.operation.value} needs {option.option}. Nothing was changed.",
                f"Give {option.option}: {option.help}",
            )


def _known(request: Request, environment: dict[str, str], vault_password: str | None) -> Inventory:
    """Return the cluster's inventory."""
    cluster = request.cluster
    if cluster.inventory is None:
        return Inventory(**cluster.hosts) if cluster.hosts else Inventory()
    sources, merged = [cluster.inventory], os.environ | environment
    if vault_password:
        directory = run_directories.make()
        channel = SecretSocket(directory, {}, vault_password)
        try:
            return inventories.read(sources, merged, ["--vault-password-file", str(channel.vault_script)])
        finally:
            channel.close()
            run_directories.remove(directory)
    path = request.options.vault_password_file
    return inventories.read(sources, merged, ["--vault-password-file", path] if path else [])


def _check_nodes(request: Request, known: Inventory) -> None:
    """Refuse nodes that are not in the cluster's inventory, if it has one; those with an address are new."""
    cluster = request.cluster
    if (cluster.inventory or cluster.hosts) and request.operation.definition.scope is not Scope.APPHUB:
        inventories.check_nodes([name for name, node in request.nodes.items() if not node.host], known, cluster)


def _hosts(request: Request, known: Inventory) -> tuple[str, ...]:
    """Return the hosts whose progress is recorded.

    Raises:
        NodesError: There is none.
    """
    without_file = [CONTROLLER] if request.cluster.controller and not request.cluster.inventory else []
    controllers = known.groups.get("slurm_controllers", without_file)
    every = known.groups.get("slurm_nodes", [])
    scope = request.operation.definition.scope
    nodes = [name for name in request.nodes if scope is not Scope.CLUSTER or name not in controllers]
    # without a host of its own, an AppHub is looked at from here
    looked_at_from = [] if request.operation.definition.changes else [_CONTROL_MACHINE]
    hosts = {
        Scope.NODES: nodes,
        Scope.NODES_OR_ALL: nodes or every,
        Scope.CLUSTER: [*controllers[:1], *(nodes or every)],
        Scope.WHOLE_CLUSTER: [*controllers, *every],
        Scope.CONTROLLER: controllers[:1],
        Scope.APPHUB: known.groups.get("apphub") or looked_at_from,
    }[scope]
    if not hosts:
        raise NodesError(
            f"The inventory of cluster {request.cluster.name} has no host for {request.operation.value}.",
            "Add it to the group apphub." if scope is Scope.APPHUB else "Name nodes, or add them to slurm_nodes.",
        )
    return tuple(dict.fromkeys(hosts))


def _run(
    config: settings.Settings,
    request: Request,
    hosts: tuple[str, ...],
    plain_vars: dict[str, object],
    secret_vars: dict[str, object],
) -> Run:
    options = request.options
    return Run(
        id=f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}",
        cluster=request.cluster.name,
        operation=request.operation,
        status=RunStatus.PENDING,
        nodes=hosts,
        counts=Counts(total=len(hosts), active=len(hosts)),
        created_at=time.time(),
        inventory=request.cluster.inventory,
        forks=options.forks or config.forks,
        check=options.check,
        variables=plain_vars,
        secret_names=tuple(secret_vars),
        logins=_logins(request),
        retry_of=request.retry_of,
        queued=request.queued,
        requested_by=request.requested_by,
        request=request.recorded(),
        **processes.owner(),
    )


def _logins(request: Request) -> dict[str, Any]:
    """Return how to log in as far as it is not secret, and what has to be given again to repeat the run."""
    options = request.options
    nodes = {
        name: {"host": node.host, **_plain_login(node.credentials)}
        for name, node in request.nodes.items()
        if node != NodeSpec(name)
    }
    secret = [
        ("of the nodes", options.credentials),
        *((f"of {name}", request.nodes[name].credentials) for name in nodes),
    ]
    wanted = [
        f"{what} {whose}"
        for whose, given in secret
        for what, value in (
            ("login password", given.password),
            ("sudo password", given.become_password),
            ("private key", given.private_key),
        )
        if value is not None
    ]
    if options.vault_password is not None:
        wanted.append("password of Ansible Vault")
    return {
        "nodes": nodes,
        "run": _plain_login(options.credentials),
        "credential": options.credential,
        "vault_password_file": options.vault_password_file,
        "secrets": wanted,
    }


def _plain_login(given: Credentials) -> dict[str, Any]:
    return {"user": given.user, "port": given.port, "private_key_file": given.private_key_file}


def repeat(
    run: Run,
    nodes: list[str],
    options: RunOptions,
    given: Mapping[str, NodeSpec],
    config: settings.Settings,
) -> tuple[list[NodeSpec], RunOptions]:
    """Return the nodes and the choices that repeat a run for some of its nodes.

    Args:
        run: The run.
        nodes: Their names.
        options: What is given anew; it wins over what the run had.
        given: Nodes whose login is given anew.
        config: Settings, which may have the passwords.

    Raises:
        RefusedError: Something secret is missing.
    """
    logins = {"nodes": {}, "run": {}, "credential": None, "vault_password_file": None, "secrets": [], **run.logins}
    anew = options.credentials
    given_anew = anew.password or anew.private_key
    found = {
        "login password of the nodes": anew.password or config.ssh_password,
        "sudo password of the nodes": anew.become_password or config.become_password,
        "private key of the nodes": anew.private_key,
        "password of Ansible Vault": options.vault_password or options.vault_password_file or config.vault_password,
    }  # fmt: skip
    for name, node in given.items():
        found |= {
            f"login password of {name}": node.credentials.password,
            f"sudo password of {name}": node.credentials.become_password,
            f"private key of {name}": node.credentials.private_key,
        }
    others = {
        f"{what} of {node}"
        for node in set(run.nodes) - set(nodes)
        for what in ("login password", "sudo password", "private key")
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
        credential=options.credential or (None if given_anew else logins["credential"]),
        vault_password_file=options.vault_password_file or logins["vault_password_file"],
    )
    return [given.get(name) or _spec(name, logins["nodes"].get(name)) for name in nodes], options


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
