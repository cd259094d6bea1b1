"""Runs that reach workers through the queue: the side that asks for them, and the side that carries them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

from slurmscale.errors import SlurmscaleError
from slurmscale.runs.executor import Carrier, look_after_runs

if TYPE_CHECKING:
    from slurmscale.models import Run
    from slurmscale.runs.executor import Runs
    from slurmscale.store.run_queue import RunQueue

_NO_ROOM_SECONDS = 5
_RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class QueueExecutor:
    """Leaves all runs to workers.

    Args:
        scaling: The library's entry.
        queue: The queue; a run is in it as soon as it is recorded.
    """

    def __init__(self, scaling: Runs, queue: RunQueue) -> None:
        self._scaling = scaling
        self._queue = queue
        self._looking = look_after_runs(self._look)

    def submit(self, run_id: str) -> None:
        """Do nothing: the queue got the run with its record."""

    def close(self, wait: float = 0.0) -> None:  # noqa: ARG002 - nothing runs here
        """Look after lost runs no more."""
        self._looking.close()

    def _look(self) -> None:
        self._scaling.recover()
        self._queue.repair()


class QueueWorker(Carrier):
    """Carries the runs that come out of the queue.

    Args:
        scaling: The library's entry.
        queue: The queue.
        max_runs: Runs in progress at the same time.
    """

    def __init__(self, scaling: Runs, queue: RunQueue, max_runs: int) -> None:
        self._entries = queue
        self._threads = ThreadPoolExecutor(max_runs, thread_name_prefix="entry")
        self._loop = asyncio.new_event_loop()
        self._fetching: asyncio.Task[None] | None = None
        # of one cluster the database counts them, for all workers together
        super().__init__(scaling, max_runs, max_runs)
        self._fetcher = threading.Thread(target=self._fetch, name="fetcher", daemon=True)
        self._fetcher.start()

    def close(self, wait: float = 0.0) -> None:
        """Fetch no more, then as `Carrier.close`."""
        self._closing.set()
        with contextlib.suppress(RuntimeError):
            # it was closed before
            self._loop.call_soon_threadsafe(self._stop_fetching)
        super().close(wait)
        with self._changed:
            self._changed.notify_all()
        self._fetcher.join()
        self._threads.shutdown()

    def _fetch(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._keep_fetching())
        finally:
            self._loop.close()

    async def _keep_fetching(self) -> None:
        """Fetch until this is closed, and again when the database was away."""
        while not self._closing.is_set():
            self._fetching = asyncio.create_task(self._entries.fetch(self._carry_entry, self._max_runs))
            try:
                await self._fetching
            except asyncio.CancelledError:
                return
            except Exception as exc:  # noqa: BLE001 - the active runs go on, whatever happens to the queue
                log.warning("the queue can not be read for the moment", error=str(exc))
            self._fetching = None
            await asyncio.sleep(_RETRY_SECONDS)

    def _stop_fetching(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()

    async def _carry_entry(self, run_id: str) -> None:
        await self._loop.run_in_executor(self._threads, self._carry_to_end, run_id)

    def _carry_to_end(self, run_id: str) -> None:
        """Wait until a run has left this process: it has ended, or others go on with it."""
        with self._changed:
            if self._has(run_id):
                # its entry was there twice, and this one would take the place of another run
                return
        try:
            self.submit(run_id)
        except SlurmscaleError as exc:
            log.warning("a run could not be begun", run=run_id, error=exc.reason)
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._has(run_id))

    def _has(self, run_id: str) -> bool:
        return run_id in self._at_work or (run_id in self._queue and not self._closing.is_set())

    def _look(self) -> None:
        self._entries.repair()
        super()._look()

    def _no_room(self, run: Run) -> None:
        try:
            self._entries.add_later(run.key, _NO_ROOM_SECONDS)
        except SlurmscaleError as exc:
            # whoever looks at the queue next adds it
            log.warning("a run could not be put back", run=run.key, error=exc.reason)
