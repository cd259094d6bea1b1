"""The stream of one service: what can be watched, and who does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from anyio import to_thread

from slurmscale.documents import JobDocument
from slurmscale.errors import NotFoundError
from slurmscale.service.access.authentication import holder_of, visible
from slurmscale.service.access.permissions import Permission
from slurmscale.service.api.schemas import ClusterView
from slurmscale.service.stream.feeds import ListFeed
from slurmscale.service.stream.hub import Hub
from slurmscale.service.stream.sessions import Sessions
from slurmscale.store.notices import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from slurmscale.models import Run
    from slurmscale.scaling import Scaling
    from slurmscale.service.access.accounts import Accounts
    from slurmscale.service.access.authentication import Principal
    from slurmscale.service.stream.feeds import Feed

_JOBS = 200
"""Jobs whose changes are told: the newest ones."""


class Stream:
    """What the routes of the stream work with.

    Args:
        scaling: The library.
        accounts: The users.
        base: Path under which the service is published.
    """

    def __init__(self, scaling: Scaling, accounts: Accounts, base: str) -> None:
        self._store = scaling.store
        self._jobs = scaling.jobs
        self._hub = Hub(scaling.store, scaling, scaling.store.notices.listen, base, shared=scaling.store.shared)
        self._accounts = accounts
        self.sessions = Sessions(self._hub, self._holders)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work until the block is left."""
        tasks = [asyncio.create_task(self._hub.run()), asyncio.create_task(self.sessions.run())]
        try:
            yield
        finally:
            self.sessions.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _holders(self, token_ids: Collection[str]) -> dict[str, Principal]:
        return {token.id: holder_of(token, user) for token, user in self._accounts.valid(token_ids)}

    def common(self, principal: Principal) -> list[Feed]:
        """Return what everybody watches: the scaling status, clusters, and jobs, as far as somebody may see them."""
        seen = principal.clusters
        clusters = ListFeed(
            ("clusters", seen), kind=Kind.CLUSTERS, event="cluster", items=partial(self._clusters, seen)
        )
        # when Slurm was asked last is no change of a job
        jobs = ListFeed(
            ("jobs", seen),
            kind=Kind.JOBS,
            event="job",
            items=partial(self._newest, seen),
            whole=False,
            unless="seen_at",
        )
        return [self._hub.status_feed(seen), clusters, *([jobs] if principal.may(Permission.JOBS_READ) else [])]

    def _clusters(self, seen: Collection[str] | None) -> dict[str, ClusterView]:
        known = self._store.clusters()
        return {one.name: ClusterView.of(one) for one in known if seen is None or one.name in seen}

    def _newest(self, seen: Collection[str] | None) -> dict[str, JobDocument]:
        newest = self._jobs.newest(_JOBS)
        return {one.id: JobDocument.of(one) for one in newest if seen is None or one.cluster in seen}

    async def find(self, run_id: str, principal: Principal) -> Run:
        """Return a run that somebody may see.

        Raises:
            NotFoundError: There is no such run, or he may not see it.
        """
        return visible(await to_thread.run_sync(self._store.run, run_id), principal)

    async def run(self, run_id: str, principal: Principal) -> Feed:
        """Return what is told of a run; errors as of `find`."""
        await self.find(run_id, principal)
        return self._hub.run_feed(run_id)

    async def log(self, name: str, principal: Principal) -> Feed:
        """Return the log of a task, or of a run what belongs to none of its nodes; errors as of `find`."""
        run_id, _, node = name.partition(":")
        run = await self.find(run_id, principal)
        if node and node not in run.nodes:
            raise NotFoundError(f"Node {node} is not part of run {run_id}.")
        return self._hub.log_feed(name)
