"""The parts of the application that routes use, with their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from slurmscale.errors import Code
from slurmscale.service.problems import ProblemError
from slurmscale.service.webhooks import Hooks

if TYPE_CHECKING:
    from slurmscale.models import Cluster
    from slurmscale.runs.executor import Executor
    from slurmscale.scaling import Scaling
    from slurmscale.service.access.accounts import Accounts
    from slurmscale.service.access.authentication import Principal
    from slurmscale.service.settings import ServiceSettings
    from slurmscale.store.audit import AuditTrail


@dataclass(frozen=True, slots=True)
class Service:
    """What the application is made of.

    Attributes:
        scaling: The library.
        config: Settings of the service.
        accounts: Users and tokens.
        audit: The audit trail.
        executor: Has the runs begun that are requested.
        base: Path under which a proxy publishes the service.
    """

    scaling: Scaling
    config: ServiceSettings
    accounts: Accounts
    audit: AuditTrail
    executor: Executor
    base: str

    def cluster(self, name: str | None, principal: Principal) -> Cluster:
        """Return a known cluster: never what a caller could take for a path.

        Args:
            name: Its name; the only one that its caller sees when None.
            principal: Who asks.

        Raises:
            ProblemError: There is none.
        """
        known = self.scaling.store.clusters()
        if name is None:
            mine = [one for one in known if principal.sees(one.name)]
            if len(mine) == 1:
                return mine[0]
            raise ProblemError(
                422, Code.CLUSTER_UNUSABLE, f"No cluster is named, and there are {len(mine)}.", "Name it."
            )
        for one in known:
            if one.name == name:
                return one
        raise ProblemError(422, Code.CLUSTER_UNUSABLE, f"There is no cluster {name}.", "Add it, or correct the name.")


def service_of(request: Request) -> Service:
    """Return the parts of the application that a request came to."""
    state = request.app.state
    base = request.scope.get("root_path", "")
    return Service(state.scaling, state.config, state.accounts, state.audit, state.executor, base)


Parts = Annotated[Service, Depends(service_of)]


def hooks_of(request: Request) -> Hooks:
    """Return the webhooks."""
    hooks: Hooks = request.app.state.hooks
    return hooks


HookParts = Annotated[Hooks, Depends(hooks_of)]
