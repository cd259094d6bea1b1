"""What requests hold and what answers hold, beside the documents that the command prints, too."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from slurmscale.documents import Document, JobDocument, LineDocument, Moment, RunFields, TaskDocument
from slurmscale.models import Cluster, Credentials, Run, when
from slurmscale.operations import Operation
from slurmscale.service.access.permissions import Permission, Role  # noqa: TC001 - pydantic reads the annotations

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.hazmat.primitives.serialization.ssh import SSHPrivateKeyTypes

    from slurmscale.store.accounts import Token, User
    from slurmscale.store.audit import AuditEntry
    from slurmscale.store.logins import KeptLogin

NewPassword = Annotated[str, Field(min_length=12, max_length=1024)]
Address = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45})$")]
ClusterNames = Annotated[
    list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]], Field(max_length=1000)
]


def _load_key(text: str) -> SSHPrivateKeyTypes | PrivateKeyTypes:
    content = text.encode(errors="replace")
    load = load_ssh_private_key if b"BEGIN OPENSSH" in content else load_pem_private_key
    return load(content, None)


def usable_key(text: str) -> str:
    """Return the text of a private key; raises ValueError when Ansible could not use it."""
    try:
        _load_key(text)
    except TypeError as exc:
        raise ValueError("The private key has a passphrase.") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ValueError("This is not the text of a private key.") from exc
    return text


def fingerprint_of(text: str | None) -> str:
    """Return the fingerprint of a private key, as ssh-keygen shows it; empty when there is none."""
    if text is None:
        return ""
    public = _load_key(text).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


class Body(BaseModel):
    """What all bodies of requests have in common: nothing that is not known is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _texts_only(cls, given: Any) -> Any:
        if _holds_nul(given):
            raise ValueError("No text may hold the character NUL.")
        return given


def _holds_nul(given: Any) -> bool:
    if isinstance(given, dict):
        return _holds_nul([*given, *given.values()])
    return any(map(_holds_nul, given)) if isinstance(given, list) else isinstance(given, str) and "\0" in given


class Page(Document):
    """A part of a longer list."""

    next_cursor: str | None = None
    """The parameter `cursor` for the next part; none when this is the last one."""


# -- who


class Login(Body):
    """A login with name and password, or with a token."""

    username: Annotated[str, Field(max_length=64)] | None = None
    password: Annotated[str, Field(max_length=1024)] | None = None
    token: Annotated[str, Field(max_length=200)] | None = None
    """A token in place of name and password."""
    cookie: bool = False
    """Put the session into a cookie for a page, and not into the answer."""


class UserView(Document):
    """Somebody who uses the service."""

    id: str
    name: str
    role: str
    """viewer, operator or admin."""
    permissions: list[str]
    """What may be done with this login or token."""
    clusters: list[str] | None
    """The clusters that it is limited to; none for all."""


class LoginData(Document):
    """What a login gives."""

    token: str | None
    """For the header `Authorization: Bearer`; none when it is in a cookie."""
    expires_at: Moment
    user: UserView


class LoginAnswer(Document):
    """The answer to a login."""

    data: LoginData


# -- runs


class CountsView(Document):
    """How the nodes of a run stand."""

    total: int
    active: int
    success: int
    failed: int


class Links(Document):
    """Where there is more about a run."""

    self: str
    tasks: str
    events: str
    cancel: str


class RunView(RunFields):
    """A run."""

    operation: str
    counts: CountsView
    remaining: int | None
    """Estimated seconds to the end, where earlier runs tell."""
    requested_by: str | None
    """The user of the service who asked for it."""
    attempt: int
    """How often a process has taken up its work; 0 while it waits for the first one."""
    worker: str | None
    """The process that works on it."""
    explanation: str | None
    """What became of earlier attempts."""
    revision: int
    """One higher with each change."""
    dry_run: bool
    """Nothing is changed, only shown."""
    links: Links

    @classmethod
    def of(cls, run: Run, base: str) -> RunView:
        """Make it of a record.

        Args:
            run: The record.
            base: Path under which the service is published.
        """
        own = f"{base}/api/slurm/runs/{run.id}"
        links = Links(
            self=own, tasks=f"{own}/tasks", events=f"{base}/api/slurm/events?run={run.id}", cancel=f"{own}/cancel"
        )
        dry_run = run.check or run.operation is Operation.PLAN
        return cls.of_record(run, progress=run.counts.progress, dry_run=dry_run, links=links)


class RunAnswer(Document):
    """What became of a request for a run."""

    success: bool | None
    """Whether all its nodes succeeded; none while it is in progress."""
    logs: list[str]
    """The end of its log, when it was waited for."""
    error: str | None
    """Why it failed, as a sentence."""
    run: RunView


class NodeAnswer(Document):
    """What became of one node of a request."""

    success: bool | None
    logs: list[str]
    error: str | None


class RunPage(Page):
    """Runs, newest first."""

    items: list[RunView]


class TaskList(Document):
    """All nodes of a run, or all that changed after a revision."""

    items: list[TaskDocument]
    revision: int
    """The parameter `after` for what changes from now on."""


class LogPage(Document):
    """Lines of a log, oldest first."""

    items: list[LineDocument]
    last: int
    """The parameter `after` for what follows."""


# -- users, tokens, the audit trail


class UserAccount(Document):
    """A user, as administrators see it."""

    id: str
    name: str
    role: str
    clusters: list[str] | None
    """The clusters that it is limited to; none for all."""
    disabled: bool
    password_set: bool
    created_at: Moment | None

    @classmethod
    def of(cls, user: User) -> UserAccount:
        """Make the document of a user."""
        return cls(
            id=user.id,
            name=user.name,
            role=user.role,
            clusters=None if user.clusters is None else list(user.clusters),
            disabled=user.disabled,
            password_set=user.password_hash is not None,
            created_at=when(user.created_at),
        )


class UserList(Document):
    """All users that one manages."""

    items: list[UserAccount]


class NewUser(Body):
    """A user to be made."""

    name: Annotated[str, Field(max_length=64)]
    role: Role
    password: NewPassword | None = None
    """Without one it has tokens only."""
    clusters: ClusterNames | None = None


class UserChange(Body):
    """What is to be changed of a user; what is left out stays."""

    role: Role | None = None
    password: NewPassword | None = None
    clusters: ClusterNames | None = None
    """null for all."""
    disabled: bool | None = None


class TokenView(Document):
    """A token, or a login, without what is secret of it."""

    id: str
    user: str
    kind: str
    """`token`, or `session` of a login."""
    name: str
    permissions: list[str] | None
    """What it is limited to; none for all that its user may do."""
    clusters: list[str] | None
    created_at: Moment | None
    expires_at: Moment | None
    last_used_at: Moment | None

    @classmethod
    def of(cls, token: Token, user: str) -> TokenView:
        """Make the document of a token.

        Args:
            token: The token.
            user: Name of its user.
        """
        return cls(
            id=token.id,
            user=user,
            kind=token.kind,
            name=token.name,
            permissions=None if token.permissions is None else list(token.permissions),
            clusters=None if token.clusters is None else list(token.clusters),
            created_at=when(token.created_at),
            expires_at=when(token.expires_at),
            last_used_at=when(token.last_used_at),
        )


class MadeToken(TokenView):
    """A token that was just made."""

    token: str
    """It is not shown again."""

    @classmethod
    def with_text(cls, token: Token, user: str, text: str) -> MadeToken:
        """Make the document of a new token, with what is shown this once."""
        return cls(**TokenView.of(token, user).model_dump(), token=text)


class TokenList(Document):
    """All tokens and logins that one may see."""

    items: list[TokenView]


class NewToken(Body):
    """A token to be made."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """What it is for."""
    days: Annotated[float, Field(gt=0, le=3650)] | None = None
    permissions: Annotated[list[Permission], Field(max_length=100)] | None = None
    """What it is limited to."""
    clusters: ClusterNames | None = None
    user: Annotated[str, Field(max_length=64)] | None = None
    """Whose it is; one's own when left out."""


class AuditView(Document):
    """A row of the audit trail."""

    id: str
    timestamp: Moment | None
    user_id: str | None
    user_name: str | None
    token_id: str | None
    source: str
    """Address of the caller; `command` for the command line."""
    action: str
    resource: str
    cluster: str | None
    nodes: list[str]
    status: str
    """success, failed or denied."""
    run_id: str | None
    request_id: str | None
    details: dict[str, Any]

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditView:
        """Make the document of a row."""
        plain = {name: getattr(entry, name) for name in cls.model_fields if name not in ("id", "timestamp", "nodes")}
        nodes = entry.nodes.split(",") if entry.nodes else []
        return cls(**plain, id=str(entry.id), timestamp=when(entry.timestamp), nodes=nodes)


class AuditPage(Page):
    """A part of the audit trail, newest first."""

    items: list[AuditView]


# -- clusters


class ClusterView(Document):
    """A known cluster, without logins and variables."""

    id: str
    name: str
    cluster_type: str
    """managed, or external for one that somebody else set up."""
    health: str
    """healthy or unhealthy, as its last look told; empty when nobody looked."""
    seen_at: Moment | None
    """When it answered last."""
    version: str | None
    """Of Slurm, as it told when it answered last; none when nobody looked."""
    node_count: int | None
    """How many nodes it told of then."""
    controller: str | None
    has_inventory: bool
    """It is described by an inventory on the service's machine."""
    apphub_urls: list[str]
    created_at: Moment | None

    @classmethod
    def of(cls, cluster: Cluster) -> ClusterView:
        """Make it of a record."""
        info = cluster.info or {}
        return cls(
            id=cluster.name,
            name=cluster.name,
            cluster_type=cluster.cluster_type,
            health=cluster.health,
            seen_at=when(cluster.seen_at),
            version=info.get("version"),
            node_count=len(info["nodes"]) if "nodes" in info else None,
            controller=cluster.controller,
            has_inventory=cluster.inventory is not None,
            apphub_urls=list(cluster.apphub_urls),
            created_at=when(cluster.created_at),
        )


class ClusterList(Document):
    """All known clusters that one may see."""

    items: list[ClusterView]


class NewLogin(Body):
    """A login that is to be kept, sealed, in place of what is kept of the cluster. It is not shown again."""

    username: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")] | None = None
    password: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00\r\n]+$")] | None = None
    key: Annotated[str, Field(max_length=20_000), AfterValidator(usable_key)] | None = None
    """The text of a private key, never a path. It must have no passphrase."""
    become_password: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00\r\n]+$")] | None = None

    def credentials(self) -> Credentials:
        """Return the library's form."""
        return Credentials(self.username, self.password, None, self.become_password, private_key=self.key)


class NewCredential(NewLogin):
    """A login that is to be kept, sealed, for requests that name it by its id. It is not shown again."""

    cluster: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] | None = None
    """The only one when left out."""


class LoginView(Document):
    """What is kept of how to log in to a cluster, without what is secret of it."""

    username: str | None
    """That of the cluster when none was given."""
    password_set: bool
    key_set: bool
    become_password_set: bool
    fingerprint: str
    """Of the private key; empty without one."""
    updated_at: Moment | None

    @classmethod
    def of(cls, kept: KeptLogin) -> LoginView:
        """Make the document of what is kept."""
        return LoginView(**cls._fields_of(kept))

    @staticmethod
    def _fields_of(kept: KeptLogin) -> dict[str, Any]:
        kinds = kept.kind.split(",")
        return {
            "username": kept.user,
            "password_set": "password" in kinds,
            "key_set": "private_key" in kinds,
            "become_password_set": "become_password" in kinds,
            "fingerprint": kept.fingerprint,
            "updated_at": when(kept.updated_at),
        }


class CredentialView(LoginView):
    """A login that is kept, without what is secret of it."""

    id: str
    """What requests name it by, as `credential`."""
    cluster: str
    for_cluster: bool
    """It is the login of the cluster, for all that is asked of it; else only for nodes of requests that name it."""

    @classmethod
    def of(cls, kept: KeptLogin) -> CredentialView:
        """Make the document of what is kept."""
        return cls(**cls._fields_of(kept), id=kept.id, cluster=kept.cluster, for_cluster=kept.for_cluster)


class CredentialList(Document):
    """All logins that are kept, of the clusters that one may see."""

    items: list[CredentialView]


class NewWebhook(Body):
    """An address that is to be told of events."""

    url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/%+=-]*)?$", max_length=1000)]
    """It may hold no login and no query; what must be secret is the signature."""
    events: Annotated[
        list[Literal["run.completed", "run.failed", "run.interrupted", "task.stalled", "cluster.unhealthy"]],
        Field(min_length=1, max_length=10),
    ]


class WebhookView(Document):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[str]
    created_at: Moment | None


class MadeWebhook(WebhookView):
    """A webhook that was just made."""

    secret: str
    """What its messages are signed with, as Standard Webhooks says; it is shown this once."""


class WebhookList(Document):
    """All webhooks."""

    items: list[WebhookView]


class DeliveryView(Document):
    """A message to a webhook, and what became of it."""

    id: str
    event: str
    status: str
    """waiting, delivered or failed."""
    attempts: int
    created_at: Moment | None
    next_at: Moment | None
    """When it is tried again; none when it is not."""
    answered_at: Moment | None
    answer: int | None
    """Status of the last answer."""
    error: str | None
    body: str


class DeliveryList(Document):
    """All messages to a webhook that are kept, the newest hundred, newest first."""

    items: list[DeliveryView]


class ClusterNode(Document):
    """A node as its cluster described it when it answered last."""

    name: str
    state: list[str]
    """Slurm's own words."""
    reason: str
    partitions: list[str]
    version: str
    cpus: int | None
    real_memory: int | None
    managed: bool | None
    """Whether it was entered by slurmscale."""


class ClusterNodes(Document):
    """All nodes of a cluster."""

    items: list[ClusterNode]
    seen_at: Moment | None
    """When the cluster answered; nothing is known of nodes before it has."""


class ApphubHealth(Document):
    """Whether an AppHub answers."""

    url: str
    up: bool
    detail: str
    """What was found instead; empty when it is up."""
    clusters: list[str]


class ApphubList(Document):
    """All AppHubs of the clusters that one may see."""

    items: list[ApphubHealth]


class ClusterInfo(ClusterView):
    """A known cluster with what it told of itself when it answered last, and its newest runs."""

    info: dict[str, Any] | None
    recent_runs: list[RunView]


class NewCluster(Body):
    """A cluster to be remembered, described by addresses."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    controller: Address
    apphub_urls: Annotated[
        list[Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$", max_length=500)]],
        Field(max_length=10),
    ] = []


class MasterSsh(Body):
    """How to log in to a controller."""

    host: Address
    port: Annotated[int, Field(ge=1, le=65_535)] = 22
    username: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")] | None = None
    auth_type: Literal["password", "key"] | None = None
    """Without password and key, the keys of the service's own account are used."""
    password: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00\r\n]+$")] | None = None
    key: Annotated[str, Field(max_length=20_000), AfterValidator(usable_key)] | None = None
    """The text of a private key, never a path. It must have no passphrase."""


class Connection(Body):
    """A cluster that somebody else set up, to be looked at."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] = "new"
    master_ssh: MasterSsh
    fingerprint: Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")] | None = None
    """Of the controller's ssh key, as somebody compared it."""


class ConnectionConfig(Body):
    """What is used of a cluster as it is."""

    reuse_existing_config: bool = True
    reuse_existing_munge: bool = True
    reuse_existing_database: bool = True
    max_nodes: Annotated[int, Field(ge=1, le=100_000)] | None = None


class Connect(Connection):
    """A cluster that somebody else set up, to be remembered."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    config: ConnectionConfig = ConnectionConfig()
    keep_login: bool = False
    """Keep the password or the key, sealed; it needs the permission slurm:credentials:write."""


class Refresh(Body):
    """How to log in for a look; what is left out is known."""

    username: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")] | None = None
    password: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00\r\n]+$")] | None = None
    key: Annotated[str, Field(max_length=20_000), AfterValidator(usable_key)] | None = None
    """The text of a private key, never a path. It must have no passphrase."""


# -- jobs


class NewJob(Body):
    """A job to be submitted."""

    command: Annotated[str, Field(min_length=1, max_length=65_536, pattern=r"^[^\x00]+$")]
    """A command, or a whole script that begins with #!."""
    cluster_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] | None = None
    """The only one when left out."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    partition: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    nodes: Annotated[str, Field(pattern=r"^[0-9]{1,6}(-[0-9]{1,6})?$")] | None = None
    """How many, or from and to: 2-4."""
    time: Annotated[str, Field(pattern=r"^[0-9:-]{1,20}$")] | None = None
    """Limit of its run time: 30 (minutes), 1-12:00:00."""


class JobPage(Page):
    """Jobs, newest first."""

    items: list[JobDocument]


# -- the service itself


class Health(Document):
    """Whether the service answers."""

    status: str


class Readiness(Document):
    """Whether the service can do its work."""

    ready: bool
    database: bool
    """The database answers, and has the tables of this version."""
    worker: bool
    """A worker has shown itself lately, or this process does the work itself."""
