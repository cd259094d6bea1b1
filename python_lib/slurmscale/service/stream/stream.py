"""The stream of one service: what can be watched, and who does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import to_thread

from slurmscale.errors import NotFoundError
from slurmscale.service.access.authentication import holder_of, visible
from slurmscale.service.stream.hub import Hub
from slurmscale.service.stream.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from slurmscale.models import Run
    from slurmscale.scaling import Scaling
    from slurmscale.service.access.accounts import Accounts
    from slurmscale.service.access.authentication import Principal
    from slurmscale.service.stream.feeds import Feed


class Stream:
    """What the routes of the stream work with.

    Args:
        scaling: The library.
        accounts: The users.
        base: Path under which the service is published.
    """

    def __init__(self, scaling: Scaling, accounts: Accounts, base: str) -> None:
        self._store = scaling.store
        self._hub = Hub(scaling.store, scaling.status, scaling.store.notices.listen, base)
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

    def status(self, principal: Principal) -> Feed:
        """Return the scaling status, as far as somebody may see it."""
        return self._hub.status_feed(principal.clusters)

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
