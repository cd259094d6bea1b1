"""The application: the routes, who may use them, and what they share."""

from __future__ import annotations

from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from importlib import metadata
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from slurmscale import settings
from slurmscale.runs.discovery import look_after_clusters
from slurmscale.runs.executor import LocalExecutor
from slurmscale.runs.queue_executor import QueueExecutor
from slurmscale.service import problems
from slurmscale.service.access.accounts import Accounts
from slurmscale.service.access.keys import derive, read_keys
from slurmscale.service.access.request_limits import RequestLimits
from slurmscale.service.access.run_audit import auditing_ends
from slurmscale.service.api.description import DescribedApi
from slurmscale.service.api.idempotency import Repeats
from slurmscale.service.monitoring import metrics
from slurmscale.service.monitoring.apphubs import ApphubWatch
from slurmscale.service.problems import Problem
from slurmscale.service.routes import accounts as account_routes
from slurmscale.service.routes import apphub as apphub_routes
from slurmscale.service.routes import audit, auth, clusters, commands, credentials, health, jobs, page, runs
from slurmscale.service.routes import problems as problem_pages
from slurmscale.service.routes import webhooks as webhook_routes
from slurmscale.service.settings import ServiceSettings
from slurmscale.service.stream import sse, websocket
from slurmscale.service.stream.stream import Stream
from slurmscale.service.webhooks import Hooks, sender
from slurmscale.store.audit import AuditTrail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI
    from fastapi.routing import APIRoute

    from slurmscale.runs.executor import Executor
    from slurmscale.scaling import Scaling

_ROUTERS = (
    health.router,
    auth.router,
    runs.router,
    commands.router,
    commands.apphub,
    apphub_routes.router,
    clusters.router,
    credentials.router,
    jobs.router,
    account_routes.router,
    audit.router,
    webhook_routes.router,
    sse.router,
    websocket.router,
    metrics.router,
    page.router,
    problem_pages.router,
)
_PROBLEM = {"model": Problem, "content": {problems.MEDIA_TYPE: {}}, "description": "Why it was not done."}


def create_app(scaling: Scaling, config: ServiceSettings | None = None, accounts: Accounts | None = None) -> FastAPI:
    """Return the application.

    Args:
        scaling: The library; it stays the caller's to close.
        config: Settings of the service; read from the environment when None.
        accounts: The users; those of the library's database when None.

    Raises:
        RefusedError: The secret keys can't be read.
    """
    config = config or settings.read(ServiceSettings)
    keys = read_keys(config.secret_key_file, scaling.settings.data_dir.expanduser().absolute())
    app = _routed()
    app.state.scaling = scaling
    app.state.config = config
    app.state.accounts = accounts or Accounts(scaling.store)
    app.state.stream = Stream(scaling, app.state.accounts, config.root_path)
    app.state.apphubs = ApphubWatch(scaling)
    app.state.hooks = Hooks(scaling, keys)
    app.state.sender = sender(app.state.hooks)
    app.state.audit = AuditTrail(scaling.store, derive(keys, "audit"))
    app.state.repeats = Repeats(scaling.store, keys)
    problems.install(app)
    app.add_middleware(RequestLimits, config=config)
    return app


def describe() -> dict[str, Any]:
    """Return the description of the API in OpenAPI's form."""
    return _routed().openapi()


def _routed() -> FastAPI:
    app = DescribedApi(
        title="slurmscale",
        summary="Scales Slurm clusters and shows how far each node is.",
        version=metadata.version("slurmscale"),
        # their pages load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        generate_unique_id_function=_operation_id,
        responses={"default": _PROBLEM},
    )
    for router in _ROUTERS:
        app.include_router(router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Have runs begun while the application is up; when it stops, wait for the active ones here."""
    state = app.state
    async with state.stream.running():
        with auditing_ends(state.audit), state.apphubs, state.sender, _looking(state.scaling):
            state.executor = await anyio.to_thread.run_sync(_executor, state.scaling)
            try:
                yield
            finally:
                await anyio.to_thread.run_sync(state.executor.close, state.config.stop_seconds)


def _looking(scaling: Scaling) -> AbstractContextManager[object]:
    """Look at external clusters, unless workers do, who have what it takes to log in."""
    return look_after_clusters(scaling.clusters) if scaling.queue is None else nullcontext()


def _executor(scaling: Scaling) -> Executor:
    return LocalExecutor(scaling) if scaling.queue is None else QueueExecutor(scaling, scaling.queue)


def _operation_id(route: APIRoute) -> str:
    return route.name
