"""What somebody asked for, and the form in which it is recorded so that another process can take it up."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import TypeAdapter

from slurmscale.inventory.extra_vars import split_secrets
from slurmscale.models import Cluster, Credentials, NodeSpec, RunOptions
from slurmscale.operations import Scope
from slurmscale.redaction import has_secret

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from slurmscale.models import Run
    from slurmscale.operations import Operation, Stage
    from slurmscale.store.idempotency import RequestKey

_CLUSTER, _OPTIONS, _NODES = TypeAdapter(Cluster), TypeAdapter(RunOptions), TypeAdapter(list[NodeSpec])


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked for.

    Attributes:
        operation: What is to be done.
        cluster: Where.
        nodes: The nodes that were named, by name.
        options: Choices for the run.
        retry_of: The run that is repeated.
        requested_by: The user of a service who asks.
        queued: Whether any process may take it up; see `Run`.
        key: Of a request that makes no other run when it is repeated.
        stage: The stage of the operation that is to be done; None for all of it.
    """

    operation: Operation
    cluster: Cluster
    nodes: Mapping[str, NodeSpec]
    options: RunOptions
    retry_of: str | None = None
    requested_by: str | None = None
    queued: bool = False
    key: RequestKey | None = None
    stage: Stage | None = None

    def without_secrets(self) -> Request:
        """Return what may be written down of it."""
        cluster, options = self.cluster, self.options
        return dataclasses.replace(
            self,
            cluster=dataclasses.replace(
                cluster,
                credentials=_plain(cluster.credentials),
                variables=split_secrets(cluster.variables)[0],
                # what it told last may be thousands of nodes
                info=None,
                apphub_urls=tuple(url for url in cluster.apphub_urls if not has_secret("", url)),
            ),
            nodes={
                name: dataclasses.replace(node, credentials=_plain(node.credentials))
                for name, node in self.nodes.items()
            },
            options=dataclasses.replace(
                options,
                credentials=_plain(options.credentials),
                extra_vars=split_secrets(options.extra_vars, self.operation.definition.private)[0],
                vault_password=None,
            ),
        )

    def document(self) -> dict[str, Any]:
        """Return it as data, secrets included."""
        return {
            "cluster": _CLUSTER.dump_python(self.cluster, mode="json", exclude_defaults=True),
            "options": _OPTIONS.dump_python(self.options, mode="json", exclude_defaults=True),
            # one text: ten thousand names as a list take longer to read than all else of a run
            "nodes": "\n".join(self.nodes),
            "logins": _NODES.dump_python(
                [node for name, node in self.nodes.items() if node != NodeSpec(name)],
                mode="json", exclude_defaults=True,
            ),
        }  # fmt: skip

    def recorded(self) -> dict[str, Any]:
        """Return the form of `Run.request`; `secret` says that it is not all of it."""
        plain = self.without_secrets()
        return {**plain.document(), "secret": plain != self}


class Sealer(Protocol):
    """Makes texts that only who has its key can read."""

    def seal(self, owner: str, text: str) -> str:
        """Seal a text that belongs to a run, or to something else that is named."""

    def open(self, owner: str, sealed: str) -> str:
        """Return the text; raises RefusedError when it was sealed with another key or for somebody else."""


def request_of(run: Run, recorded: Mapping[str, Any], left: Collection[str]) -> Request:
    """Return what was asked for, as far as it is not done yet.

    Args:
        run: The run.
        recorded: The request's document.
        left: The run's nodes that are not finished.
    """
    names = recorded["nodes"].split("\n") if recorded["nodes"] else []
    if run.operation.definition.scope in (Scope.NODES, Scope.NODES_OR_ALL):
        names = [name for name in run.nodes if name in set(left)]
    logins = {node.name: node for node in _NODES.validate_python(recorded["logins"])}
    return Request(
        run.operation,
        _CLUSTER.validate_python(recorded["cluster"]),
        {name: logins.get(name) or NodeSpec(name) for name in names},
        _OPTIONS.validate_python(recorded["options"]),
        run.retry_of,
        run.requested_by,
        run.queued,
        stage=run.stage,
    )


def _plain(given: Credentials) -> Credentials:
    return dataclasses.replace(given, password=None, become_password=None, private_key=None)
