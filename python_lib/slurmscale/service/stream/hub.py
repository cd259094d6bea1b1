"""Keeps what is watched, once for all who watch it, and wakes them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

import structlog
from anyio import to_thread

from slurmscale.errors import NotFoundError, SlurmscaleError
from slurmscale.service.stream.feeds import Feed, LogFeed, Records, RunFeed, StatusFeed, StatusSource
from slurmscale.store.notices import Change, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from contextlib import AbstractContextManager

_POLL = 2.0
"""Seconds between two looks at the revisions, for changes of which no notice came."""
_AGED_AFTER = 5
"""Looks after which feeds look again in any case: tasks become stalled by the clock alone."""
_RETRY = 1.0

log = structlog.get_logger(__name__)


class ChangingRecords(Records, Protocol):
    """Records whose changes can be looked for."""

    def revisions(self, run_ids: Iterable[str] = ()) -> dict[str, int]:
        """Return the revisions of some runs, of the active ones, and of the newest one."""


class Hub:
    """All that is watched through one service.

    Args:
        records: Where the runs are recorded.
        source: Where the scaling status comes from.
        listen: Lets a function be told of each change, from any thread, as long as it is entered.
        base: Path under which the service is published.
        poll: Seconds between two looks for changes of which no notice came.
        shared: Whether the notices are those of all processes. Then whoever has just been told of something has missed
            nothing before it.

    Attributes:
        accounts_changed: Set when users or their tokens have changed.
    """

    def __init__(  # noqa: PLR0913 - what it works with, each by its name
        self,
        records: ChangingRecords,
        source: StatusSource,
        listen: Callable[[Callable[[Change], None]], AbstractContextManager[object]],
        base: str = "",
        poll: float = _POLL,
        *,
        shared: bool = False,
    ) -> None:
        self._records = records
        self._source = source
        self._listen = listen
        self._base = base
        self._interval = poll
        self._shared = shared
        self._told = False
        self._feeds: dict[Hashable, Feed] = {}
        self._tasks: dict[Feed, asyncio.Task[None]] = {}
        self._known: dict[str, int] = {}
        self.accounts_changed = asyncio.Event()

    async def run(self) -> None:
        """Work until it is cancelled."""
        loop = asyncio.get_running_loop()

        def told(change: Change) -> None:
            # the loop is closed when the service has stopped before the one who tells
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._hear, change)

        # listening first, then reading: nothing falls in between
        with self._listen(told):
            looks = 0
            try:
                while True:
                    await asyncio.sleep(self._interval)
                    looks += 1
                    await self._look(aged=looks % _AGED_AFTER == 0)
            finally:
                for task in self._tasks.values():
                    task.cancel()

    # -- what can be watched

    def run_feed(self, run_id: str) -> Feed:
        """Return what is told of a run."""
        return RunFeed(self._records, run_id, self._base)

    def log_feed(self, name: str) -> Feed:
        """Return what is told of a log: that of a task, or of a run what belongs to none of its nodes."""
        run_id, _, node = name.partition(":")
        return LogFeed(self._records, name, run_id, node or None)

    def status_feed(self, clusters: frozenset[str] | None) -> Feed:
        """Return what is told of the scaling status, of some clusters or of all."""
        return StatusFeed(self._source, clusters)

    # -- viewers

    async def join(self, feed: Feed, wake: Callable[[Feed], None]) -> Feed:
        """Let a viewer be woken when a feed has changed; returns when it has been read.

        Returns:
            The feed that all its viewers share.

        Raises:
            SlurmscaleError: It can't be read.
        """
        feed = self._feeds.setdefault(feed.key, feed)
        feed.wake.add(wake)
        if feed not in self._tasks:
            self._tasks[feed] = asyncio.create_task(self._follow(feed))
        task = self._tasks[feed]
        loaded = asyncio.create_task(feed.loaded.wait())
        try:
            await asyncio.wait({task, loaded}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        except BaseException:
            self.leave(feed, wake)
            raise
        finally:
            loaded.cancel()
        return feed

    def leave(self, feed: Feed, wake: Callable[[Feed], None]) -> None:
        """Wake a viewer no more; a feed without viewers is forgotten."""
        feed.wake.discard(wake)
        if feed.wake:
            return
        if self._feeds.get(feed.key) is feed:
            del self._feeds[feed.key]
        task = self._tasks.pop(feed, None)
        if task is not None:
            task.cancel()

    async def _follow(self, feed: Feed) -> None:
        """Read a feed whenever it may have changed."""
        failed = False
        while True:
            feed.dirty.clear()
            try:
                changed = feed.take(await to_thread.run_sync(feed.read))
            except SlurmscaleError as exc:
                if not feed.loaded.is_set():
                    raise
                if isinstance(exc, NotFoundError):
                    feed.lost = exc
                    _wake_all(feed)
                    return
                if not failed:
                    log.warning("What is watched can't be read; it is tried again.", error=exc.reason)
                failed = True
                await asyncio.sleep(_RETRY)
                continue
            failed = False
            feed.loaded.set()
            if changed:
                _wake_all(feed)
            await asyncio.sleep(feed.pause)
            await feed.dirty.wait()

    # -- changes

    def _hear(self, change: Change) -> None:
        self._told = True
        self._note(change)

    def _note(self, change: Change) -> None:
        if change.kind in {Kind.ACCOUNTS, Kind.ANYTHING}:
            self.accounts_changed.set()
        if change.kind is Kind.RUN and self._feeds:
            self._known[change.run_id] = max(change.revision, self._known.get(change.run_id, 0))
        for feed in tuple(self._feeds.values()):
            if feed.note(change):
                _wake_all(feed)

    async def _look(self, *, aged: bool) -> None:
        """Look for changes that no notice told of."""
        told, self._told = self._told and self._shared, False
        if not self._feeds:
            self._known = {}
            return
        if aged:
            for feed in self._feeds.values():
                # the clock changes others, whatever is told
                if not (told and feed.ages):
                    feed.look_again()
        if told:
            return
        watched = {feed.run_id for feed in self._feeds.values() if feed.run_id is not None}
        before = dict(self._known)
        try:
            found = await to_thread.run_sync(self._records.revisions, watched)
        except SlurmscaleError:
            # whoever reads what is watched says so
            return
        for run_id in before.keys() - found.keys():
            self._known.pop(run_id, None)
            self._note_unknown(run_id, 0)
        for run_id, revision in found.items():
            if revision > self._known.get(run_id, 0):
                self._note_unknown(run_id, revision)

    def _note_unknown(self, run_id: str, revision: int) -> None:
        self._note(Change(Kind.RUN, run_id, revision=revision))


def _wake_all(feed: Feed) -> None:
    for wake in tuple(feed.wake):
        wake(feed)
