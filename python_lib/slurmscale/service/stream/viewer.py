"""One viewer: what it watches, how far it is, and what it is told next."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from slurmscale.errors import SlurmscaleError
from slurmscale.service.stream.messages import PING, error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from slurmscale.service.stream.feeds import Feed
    from slurmscale.service.stream.hub import Hub
    from slurmscale.service.stream.messages import Message

PING_SECONDS = 15.0
"""Proxies close connections on which nothing is said for a minute."""
_PER_MESSAGE = 0.1
"""Ten messages a second at most; what happens in between comes in one step."""
_RETRY = 1.0


class Viewer:
    """Somebody who watches; leave it with `close`.

    Args:
        hub: Where the feeds come from.
        ping: Seconds of silence after which it is told that the connection is alive.
    """

    def __init__(self, hub: Hub, ping: float = PING_SECONDS) -> None:
        self._hub = hub
        self._ping = ping
        self._feeds: dict[Hashable, Feed] = {}
        self._positions: dict[Hashable, int] = {}
        self._changed: dict[Feed, None] = {}
        self._told: deque[Message] = deque()
        self._ready = asyncio.Event()
        self._open = True

    def __len__(self) -> int:
        """Return how many feeds it watches."""
        return len(self._feeds)

    def __contains__(self, feed: Feed) -> bool:
        """Say whether it watches a feed."""
        return feed.key in self._feeds

    async def watch(self, feed: Feed, after: int = 0) -> None:
        """Watch a feed.

        Args:
            feed: What to watch.
            after: The position that it knows; 0 for none.

        Raises:
            SlurmscaleError: It can't be read.
        """
        feed = await self._hub.join(feed, self._wake)
        self._feeds[feed.key] = feed
        self._positions[feed.key] = after or feed.start
        self._wake(feed)

    def unwatch(self, feed: Feed) -> None:
        """Watch a feed no more."""
        known = self._feeds.pop(feed.key, None)
        if known is not None:
            self._hub.leave(known, self._wake)

    def tell(self, message: Message) -> None:
        """Tell it something that belongs to no feed."""
        self._told.append(message)
        self._ready.set()

    def close(self) -> None:
        """Watch nothing any more, and end the messages."""
        for feed in tuple(self._feeds.values()):
            self.unwatch(feed)
        self._open = False
        self._ready.set()

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what happens until it is closed, at most ten messages a second."""
        while self._open:
            try:
                async with asyncio.timeout(self._ping):
                    await self._ready.wait()
            except TimeoutError:
                yield PING
                continue
            self._ready.clear()
            count = 0
            while self._told:
                yield self._told.popleft()
                count += 1
            changed, self._changed = self._changed, {}
            for feed in changed:
                for message in await self._next(feed):
                    yield message
                    count += 1
            await asyncio.sleep(_PER_MESSAGE * count)

    async def _next(self, feed: Feed) -> list[Message]:
        if feed not in self:
            return []
        if feed.lost is not None:
            self.unwatch(feed)
            return [error(feed.lost)]
        try:
            messages, position = await feed.since(self._positions[feed.key])
        except SlurmscaleError:
            asyncio.get_running_loop().call_later(_RETRY, self._wake, feed)
            return []
        self._positions[feed.key] = position
        if feed.more(position):
            self._wake(feed)
        return messages

    def _wake(self, feed: Feed) -> None:
        self._changed[feed] = None
        self._ready.set()
