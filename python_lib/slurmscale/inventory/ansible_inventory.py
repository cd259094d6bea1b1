"""What the inventory says, and what a run adds to it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurmscale.errors import ClusterError, NodesError
from slurmscale.inventory.extra_vars import unsafe
from slurmscale.inventory.machines import address_of, machine_ids
from slurmscale.runner import run_directories
from slurmscale.runner.secret_socket import OVERRIDES_VARIABLE, SECRETS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurmscale.models import Cluster, Credentials, NodeSpec

_LIST_TIMEOUT = 120
CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class Inventory:
    """An inventory as Ansible reads it."""

    groups: dict[str, list[str]] = field(default_factory=dict)
    hostvars: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def hosts(self) -> frozenset[str]:
        """All hosts."""
        return frozenset(host for hosts in self.groups.values() for host in hosts)


def read(sources: Iterable[str], environment: Mapping[str, str], vault: Iterable[str] = ()) -> Inventory:
    """Let Ansible read an inventory.

    Args:
        sources: Paths of the inventory.
        environment: Environment for Ansible.
        vault: Arguments that tell Ansible the vault's password.

    Raises:
        ClusterError: Ansible can't read it.
    """
    sources = list(sources)
    for source in sources:
        if "," not in source and not os.path.exists(source):  # noqa: PTH110 - Path raises for what is no path
            raise ClusterError(f"The inventory {source} does not exist.", "Name one with --inventory.")
    # what can't be parsed is only warned of otherwise, and would look like an empty inventory
    strict = dict(environment) | {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}
    # what it makes there stays when it is killed, and goes with the directory
    directory = run_directories.make()
    strict |= {"ANSIBLE_LOCAL_TEMP": str(directory), "TMPDIR": str(directory)}
    command = ["ansible-inventory", "--list", *vault]
    for source in sources:
        command += ["-i", source]
    try:
        done = subprocess.run(
            command, env=strict, capture_output=True, text=True, errors="replace", timeout=_LIST_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ClusterError(f"ansible-inventory could not be run: {exc}.", "Install ansible-core.") from exc
    finally:
        run_directories.remove(directory)
    if done.returncode:
        raise ClusterError(f"Ansible can't read the inventory {', '.join(sources)}: {done.stderr.strip()[-2000:]}")
    data = json.loads(done.stdout)
    hostvars = data.pop("_meta", {}).get("hostvars", {})
    groups = {name: _members(data, name) for name in data}
    return Inventory({name: hosts for name, hosts in groups.items() if hosts}, hostvars)


def _members(data: Mapping[str, Any], group: str) -> list[str]:
    found = dict.fromkeys(data.get(group, {}).get("hosts", []))
    for child in data.get(group, {}).get("children", []):
        found.update(dict.fromkeys(_members(data, child)))
    return list(found)


def check_nodes(nodes: Iterable[str], inventory: Inventory, cluster: Cluster) -> None:
    """Refuse nodes that Ansible would silently skip, or take for more than one host.

    Raises:
        NodesError: A node is not in the inventory, or has the name of a group.
        ClusterError: The inventory has no controller.
    """
    nodes = list(nodes)
    groups = [node for node in nodes if node in inventory.groups and node not in inventory.hosts]
    if groups:
        raise NodesError(f"{groups[0]} is a group of the inventory.", "Name its hosts.")
    if not inventory.groups.get("slurm_controllers"):
        raise ClusterError(
            f"The inventory of cluster {cluster.name} has no host in the group slurm_controllers, so there is no"
            " controller to register the nodes with.",
            "Add it to the inventory.",
        )
    missing = [node for node in nodes if node not in inventory.hosts]
    if missing:
        known = inventory.groups.get("slurm_nodes", [])
        raise NodesError(
            f"Not in the inventory: {', '.join(missing[:10])}. The group slurm_nodes has"
            f" {', '.join(known[:10]) or 'no host'}{', ...' if len(known) > 10 else ''}.",  # noqa: PLR2004 - a readable list
            "Add the nodes to the inventory, or correct the names.",
        )


def additions(  # noqa: PLR0913, PLR0917 - these are the levels that have to be merged
    cluster: Cluster,
    nodes: Mapping[str, NodeSpec],
    hosts: Iterable[str],
    inventory: Inventory,
    levels: Iterable[Credentials],
    secret_vars: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the dynamic inventory of a run: nodes that are in no file, and logins that no file gives.

    A node's own credentials win over what the inventory says, that over the cluster's, those over the defaults.

    Args:
        cluster: The cluster.
        nodes: The nodes that were named, by name, some with own address or credentials.
        hosts: All hosts of the run.
        inventory: What the cluster's inventory says.
        levels: Credentials from narrow to wide: the cluster's, the run's, the defaults.
        secret_vars: Secret extra variables.

    Returns:
        The inventory as Ansible's script plugin wants it, with all texts marked as such, so that none is taken for a
        template; empty when there is nothing to add.
    """
    wider = _merged(levels)
    # where slurm.conf is on every node, a run logs in to all of them
    groups_too = ("slurm_controllers", "slurm_nodes") if wider else ()
    others = [host for group in groups_too for host in inventory.groups.get(group, [])]
    hostvars = {
        name: _host_variables(nodes.get(name), inventory.hostvars.get(name, {}), wider)
        for name in dict.fromkeys((*hosts, *others))
    }
    everywhere: dict[str, Any] = dict(cluster.variables)
    if secret_vars:
        everywhere[SECRETS_VARIABLE] = dict(secret_vars)
    groups: dict[str, Any] = {}
    if cluster.hosts:
        groups |= {group: {"hosts": list(hosts)} for group, hosts in inventory.groups.items() if group != "all"}
        hostvars = {
            name: {**inventory.hostvars.get(name, {}), **hostvars.get(name, {})} for name in inventory.hosts
        } | {name: variables for name, variables in hostvars.items() if name not in inventory.hosts}
    elif cluster.inventory is None:
        groups["slurm_controllers"] = {"hosts": [CONTROLLER]}
        hostvars[CONTROLLER] = {**wider, "ansible_host": cluster.controller}
    if cluster.inventory is None and cluster.apphub_urls:
        everywhere["apphub_client_urls"] = list(cluster.apphub_urls)
    new = [name for name in nodes if name not in inventory.hosts]
    if new:
        groups["slurm_nodes"] = {"hosts": [*groups.get("slurm_nodes", {}).get("hosts", []), *new]}
    hostvars = {name: unsafe(variables) for name, variables in hostvars.items() if variables}
    if not (hostvars or everywhere or groups):
        return {}
    # Ansible takes variables only of hosts that the same source lists.
    return {
        "_meta": {"hostvars": hostvars},
        "all": {
            "hosts": list(dict.fromkeys((*hostvars, *(inventory.hosts if cluster.hosts else ())))),
            "vars": unsafe(everywhere),
        },
    } | groups


def machines(nodes: Iterable[str], inventory: Inventory, added: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what identifies the machine of each node; see `machine_ids`.

    Args:
        nodes: The nodes of the run.
        inventory: What the cluster's inventory says.
        added: What the run adds to it.
    """
    more = added.get("_meta", {}).get("hostvars", {})
    everywhere = added.get("all", {}).get("vars", {})

    def variables(name: str) -> dict[str, Any]:
        own = dict(more.get(name, {}))
        own |= own.pop(OVERRIDES_VARIABLE, {})
        merged = {**everywhere, **inventory.hostvars.get(name, {}), **own}
        texts = {key: value for key, value in merged.items() if not isinstance(value, dict)}
        marked = {key: value.get("__ansible_unsafe") for key, value in merged.items() if isinstance(value, dict)}
        return texts | marked

    controller = next(iter(inventory.groups.get("slurm_controllers", [])), CONTROLLER)
    return machine_ids(nodes, {name: variables(name) for name in nodes}, address_of(controller, variables(controller)))


_ALIASES = {
    "ansible_host": ("ansible_ssh_host",),
    "ansible_port": ("ansible_ssh_port",),
    "ansible_user": ("ansible_ssh_user",),
    "ansible_password": ("ansible_ssh_pass", "ansible_ssh_password"),
    "ansible_ssh_private_key_file": ("ansible_private_key_file",),
    "ansible_private_key": ("ansible_ssh_private_key",),
    "ansible_become_password": ("ansible_become_pass", "ansible_sudo_pass"),
}
"""Other names by which Ansible takes the same; it prefers them."""


def _host_variables(spec: NodeSpec | None, known: Mapping[str, Any], wider: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run adds to a host.

    Args:
        spec: The host's own address and credentials, if it has any.
        known: What the inventory says of the host.
        wider: Credentials for hosts that have none.
    """
    own = _variables(spec.credentials) if spec else {}
    if spec and spec.host:
        own["ansible_host"] = spec.host
    if known.get("ansible_connection") == "local":
        # it has no login, but perhaps a sudo
        wider = {name: value for name, value in wider.items() if name.startswith("ansible_become")}
    merged = {
        name: value for name, value in wider.items() if not any(one in known for one in (name, *_ALIASES.get(name, ())))
    } | own
    # what the inventory says under another name, or in host_vars, would win over what was asked for this node
    conflicts = {
        one: own[name]
        for name in own
        for one in (name, *_ALIASES.get(name, ()))
        if one in known and known[one] != own[name]
    }
    return merged | ({OVERRIDES_VARIABLE: conflicts} if conflicts else {})


def _merged(levels: Iterable[Credentials]) -> dict[str, Any]:
    return {name: value for level in reversed(list(levels)) for name, value in _variables(level).items()}


def _variables(credentials: Credentials) -> dict[str, Any]:
    key = credentials.private_key_file
    values = {
        "ansible_user": credentials.user,
        "ansible_password": credentials.password,
        "ansible_ssh_private_key_file": str(Path(key).expanduser().absolute()) if key else None,
        "ansible_become_password": credentials.become_password,
        # a password for sudo is given to be used
        "ansible_become": True if credentials.become_password else None,
        "ansible_port": credentials.port,
        "ansible_private_key": credentials.private_key,
    }
    return {name: value for name, value in values.items() if value is not None}
