"""What requests ask for, checked before the library sees it: names, addresses and options, and nothing else.

No path, no inventory, no free variable and no template comes from a request. A machine that is in no inventory has to
lie in an allowed network, for it is offered the login of the cluster.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, create_model

from slurmscale.errors import NodesError, RefusedError
from slurmscale.inventory.hostlist import expand
from slurmscale.inventory.names import check_node
from slurmscale.models import Cluster, Credentials, NodeSpec, RunOptions
from slurmscale.operations import Operation
from slurmscale.service.api.schemas import Body, usable_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from slurmscale.operations import Option
    from slurmscale.service.settings import ServiceSettings

MOST_NODES = 1000
_NODE_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
_HOST_PATTERN = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45})$"

NodeName = Annotated[str, Field(pattern=_NODE_PATTERN)]
Host = Annotated[str, Field(pattern=_HOST_PATTERN)]
UserName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")]
ClusterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Password = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00\r\n]+$")]
PrivateKey = Annotated[str, Field(max_length=20_000), AfterValidator(usable_key)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Words = Annotated[list[Word], Field(max_length=64)]
CredentialId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[int, Field(ge=1, le=7 * 86_400)]
Hostlist = Annotated[str, Field(min_length=1, max_length=100_000)]
OsType = Annotated[str, Field(max_length=64)]

_Body = TypeVar("_Body", bound=Body)


class MachineLogin(Body):
    """How to log in to a machine; what is left out is that of the cluster."""

    port: Port | None = None
    user: UserName | None = None
    password: Password | None = None
    private_key: PrivateKey | None = None
    """The text of a private key, never a path. It must have no passphrase."""
    become_password: Password | None = None

    def credentials(self) -> Credentials:
        """Return the library's form."""
        return Credentials(self.user, self.password, None, self.become_password, self.port, self.private_key)


class Machine(MachineLogin):
    """A machine with its address."""

    host: Host
    name: NodeName | None = None
    """Its name in Slurm; the address when that is a name."""


def with_options_of(operation: Operation) -> Callable[[type[_Body]], type[_Body]]:
    """Return what gives a body a field for each option of an operation; `variables_of` reads them."""
    fields: dict[str, Any] = {option.name: (_type_of(option) | None, None) for option in operation.definition.options}

    def extended(body: type[_Body]) -> type[_Body]:
        return create_model(body.__name__, __base__=body, __doc__=body.__doc__, __module__=body.__module__, **fields)

    return extended


def _type_of(option: Option) -> Any:
    """Return the type of a field: what the command takes, and of a whole number no more than a week of seconds."""
    if option.kind is bool:
        return bool
    if option.kind is int:
        return Seconds
    if re.fullmatch(r"[a-z]+([|][a-z]+)+", option.pattern):
        return Literal[tuple(option.pattern.split("|"))]
    return Annotated[str, Field(pattern=f"^{option.pattern}$")]


def variables_of(body: Body, operation: Operation) -> dict[str, Any]:
    """Return the options of an operation that a body gives, as variables of its playbook."""
    given = {option.name: getattr(body, option.name) for option in operation.definition.options}
    return {name: value for name, value in given.items() if value is not None}


class CommonOptions(Body):
    """Choices for a run of any operation."""

    forks: Annotated[int, Field(ge=1, le=200)] | None = None
    timeout: Seconds | None = None


@with_options_of(Operation.SCALE_UP)
class Options(CommonOptions):
    """Choices for making nodes."""

    partitions: Words | None = None
    features: Words | None = None
    memory_margin: Annotated[float, Field(ge=0, le=50)] | None = None
    dynamic: bool | None = None

    def variables(self) -> dict[str, Any]:
        """Return the variables of the playbook."""
        values = {
            "slurmctld_reconfigure_partitions": self.partitions,
            "slurmd_features": self.features,
            "slurmd_memory_margin": self.memory_margin,
            "slurm_node_registration": None if self.dynamic is None else "dynamic" if self.dynamic else "static",
        }
        of_roles = {name: value for name, value in values.items() if value is not None}
        return of_roles | variables_of(self, Operation.SCALE_UP)


@with_options_of(Operation.SCALE_DOWN)
class RemovalOptions(CommonOptions):
    """Choices for removing nodes."""

    def variables(self) -> dict[str, Any]:
        """Return the variables of the playbook."""
        return variables_of(self, Operation.SCALE_DOWN)


Nodes = Hostlist | Annotated[list[NodeName | Machine], Field(min_length=1, max_length=MOST_NODES)]


class Target(Body):
    """The nodes of a cluster."""

    cluster: ClusterName | None = None
    """The only one when left out."""
    nodes: Nodes
    """A list such as node[07-12], names, or machines."""
    credential: CredentialId | None = None
    """A login of the cluster that is kept, for these nodes; what a machine has itself wins."""


class ScaleUp(Target):
    """Nodes that are to be made."""

    options: Options = Options()
    dry_run: bool = False
    """Only show what would be done."""
    plan_id: RunId | None = None
    """A plan that was looked at: it must be of this cluster and these nodes."""


class ScaleDown(Target):
    """Nodes that are to be removed."""

    options: RemovalOptions = RemovalOptions()
    dry_run: bool = False


@with_options_of(Operation.CHECK)
class Check(Target):
    """Nodes that are to be looked at."""


class Plan(Target):
    """What is to be planned."""

    operation: Literal["scale-up", "scale-down"] = "scale-up"
    options: Options = Options()


class ApphubTarget(Body):
    """The cluster whose AppHubs are to be looked at."""

    cluster: ClusterName | None = None


class Install(Body):
    """A node that is to be made; `os_type` is read and never decides."""

    cluster: ClusterName | None = None
    node_name: NodeName
    os_type: OsType | None = None


class NodeOfBatch(Body):
    """A node of several that are to be made."""

    node_name: NodeName
    os_type: OsType | None = None


class BatchInstall(Body):
    """Nodes that are to be made."""

    cluster: ClusterName | None = None
    nodes: Annotated[list[NodeOfBatch], Field(min_length=1, max_length=MOST_NODES)]


class Ssh(Body):
    """How to reach a machine."""

    host: Host
    port: Port = 22
    user: UserName | None = None
    password: Password | None = None
    private_key: PrivateKey | None = None
    become_password: Password | None = None


class NewNode(Body):
    """A machine that is to become a node."""

    ssh: Ssh
    name: NodeName | None = None
    role: Literal["compute"] = "compute"


class InitNodes(Body):
    """Machines that are to become nodes."""

    cluster: ClusterName | None = None
    nodes: Annotated[list[NewNode], Field(min_length=1, max_length=MOST_NODES)]
    repo_url: Annotated[str | None, Field(alias="repoURL", max_length=2000)] = None
    """Must be an AppHub of the cluster, which has the last word."""


class Retry(Body):
    """What is given anew for a run that is repeated."""

    nodes: Annotated[list[NodeName], Field(max_length=MOST_NODES)] | None = None
    """Only these of the nodes that failed."""
    credentials: MachineLogin = MachineLogin()
    credential: CredentialId | None = None
    """A login that is kept, in place of the one that the run named."""


def nodes_of_request(nodes: str | Sequence[str | Machine], config: ServiceSettings) -> list[NodeSpec]:
    """Return the nodes of a request.

    Args:
        nodes: As they were asked for.
        config: Settings, which name the allowed networks.

    Raises:
        NodesError: A name or an address is not allowed, or there are too many.
    """
    items = expand(nodes) if isinstance(nodes, str) else nodes
    if len(items) > MOST_NODES:
        raise NodesError(f"{len(items):,} nodes are more than {MOST_NODES:,}.", "Work on fewer nodes at a time.")
    named: dict[str, NodeSpec] = {}
    for item in items:
        node = NodeSpec(check_node(item)) if isinstance(item, str) else _machine(item, config)
        if node.name in named:
            raise NodesError(f"Node {node.name} is named twice.", "Name it once.")
        named[node.name] = node
    return list(named.values())


def check_places(nodes: Iterable[NodeSpec], cluster: Cluster, config: ServiceSettings) -> None:
    """Refuse nodes of a cluster without an inventory that lie where the service must not offer a login.

    Raises:
        NodesError: One does.
    """
    for node in () if cluster.inventory or cluster.hosts else nodes:
        check_reachable(node.host or node.name, config)


def machine_of(node: NewNode) -> Machine:
    """Return a machine in the form of scale-up."""
    return Machine(name=node.name, **node.ssh.model_dump())


def run_options(body: ScaleUp | ScaleDown) -> RunOptions:
    """Return the library's form of choices."""
    options = body.options
    return RunOptions(
        forks=options.forks, check=body.dry_run, timeout=options.timeout, extra_vars=options.variables(),
        credential=body.credential,
    )  # fmt: skip


def _machine(item: Machine, config: ServiceSettings) -> NodeSpec:
    name = item.name or item.host
    if item.name is None and _is_address(item.host):
        raise NodesError(f"{item.host} has no name.", "Give the node's name in Slurm as name.")
    name = check_node(name)
    try:
        check_reachable(item.host, config)
    except NodesError:
        if item.host != name:
            raise
        # the inventory says where it is; when it does not, the library refuses it
        return NodeSpec(name, None, item.credentials())
    return NodeSpec(name, item.host, item.credentials())


def check_reachable(host: str, config: ServiceSettings) -> None:
    """Refuse an address to which the service must not offer a login.

    Raises:
        NodesError: It is the service's own, or lies in no allowed network.
    """
    networks = [ipaddress.ip_network(one, strict=False) for one in config.allowed_networks]
    for address in _addresses(host):
        special = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
        if special or not any(address in network for network in networks if network.version == address.version):
            raise NodesError(
                f"{host} is in none of the networks in which nodes may be given by their address.",
                "Add the node to the cluster's inventory, or its network to SLURMSCALE_ALLOWED_NETWORKS.",
            )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _addresses(host: str) -> Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    if _is_address(host):
        return [_plain(ipaddress.ip_address(host))]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise NodesError(f"{host} cannot be resolved.", "Correct the name, or give the address.") from exc
    return [_plain(ipaddress.ip_address(str(one[4][0]).partition("%")[0])) for one in found]


def _plain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def check_repository(url: str | None, known: Iterable[str]) -> None:
    """Refuse an address of packages that is none of the cluster's AppHubs.

    Raises:
        RefusedError: It is none of them.
    """
    if url is not None and not any(url == one or url.startswith(f"{one.rstrip('/')}/") for one in known):
        raise RefusedError(
            "The repoURL is no AppHub of the cluster.", "Leave it away: the cluster's own AppHubs are used."
        )
