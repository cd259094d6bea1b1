"""The parts of the application that routes use, with their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

if TYPE_CHECKING:
    from slurmscale.runs.executor import LocalExecutor
    from slurmscale.scaling import Scaling
    from slurmscale.service.accounts import Accounts
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
        executor: Begins the runs that are requested.
        base: Path under which a proxy publishes the service.
    """

    scaling: Scaling
    config: ServiceSettings
    accounts: Accounts
    audit: AuditTrail
    executor: LocalExecutor
    base: str


def service_of(request: Request) -> Service:
    """Return the parts of the application that a request came to."""
    state = request.app.state
    base = request.scope.get("root_path", "")
    return Service(state.scaling, state.config, state.accounts, state.audit, state.executor, base)


Parts = Annotated[Service, Depends(service_of)]
