"""What can be watched: a run, a log, the scaling status. Each is read once for all its viewers.

A viewer has a position in a feed, a revision or the number of a line. What it is told next is everything that came
after, however long ago it looked: a slow viewer costs nothing, and one that comes back goes on where it was.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from anyio import to_thread

from slurmscale.documents import LineDocument
from slurmscale.service.api.schemas import RunView
from slurmscale.service.stream.messages import (
    LogLines,
    Message,
    NodeProgress,
    RunEnd,
    RunProgress,
    Snapshot,
)
from slurmscale.states import RUN_ACTIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable

    from slurmscale.errors import SlurmscaleError
    from slurmscale.models import LogLine, Run, Task
    from slurmscale.report import ScalingStatus

LINES = 500
"""Most lines in one message."""
_CLOSED = -1


class Records(Protocol):
    """What the feeds read; the library's store is one."""

    def run_changes(self, run_id: str, after: int = 0) -> tuple[Run, list[Task]]:
        """Return a run, and its tasks that changed after a revision."""

    def log(self, run_id: str, node: str | None = None, *, after: int = 0, limit: int | None = None) -> list[LogLine]:
        """Return the lines of a log after a line."""

    def log_end(self, run_id: str, node: str | None = None) -> int:
        """Return the number of the last line of a log."""


class Feed(ABC):
    """Something that is watched.

    Args:
        key: What it is: of one thing there is one feed.

    Attributes:
        pause: Seconds between two reads at least.
        dirty: Set when it may have changed.
        loaded: Set when it has been read once.
        lost: Why it can't be read any more.
        wake: What its viewers want to be called with when it has changed.
    """

    pause = 0.1

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.dirty = asyncio.Event()
        self.loaded = asyncio.Event()
        self.lost: SlurmscaleError | None = None
        self.wake: set[Callable[[Feed], None]] = set()

    @property
    def run_id(self) -> str | None:
        """The run whose changes may change it; None for all runs."""
        return None

    @abstractmethod
    def read(self) -> Any:
        """Read what is new from the database; called in a thread, by nobody else at the same time."""

    @abstractmethod
    def take(self, found: Any) -> bool:
        """Take what was read, and say whether anything changed."""

    def more(self, position: int) -> bool:  # noqa: ARG002 - others do
        """Say whether there is more to tell after a position, when one step did not tell all."""
        return False

    @abstractmethod
    async def since(self, position: int) -> tuple[list[Message], int]:
        """Return what a viewer is to be told next, and its position after that.

        Args:
            position: Where it is; 0 when it knows nothing.
        """


class RunFeed(Feed):
    """A run and its nodes; the position is its revision.

    Args:
        records: Where it is recorded.
        run_id: The run.
        base: Path under which the service is published.
    """

    def __init__(self, records: Records, run_id: str, base: str) -> None:
        super().__init__(("run", run_id))
        self._records = records
        self._run_id = run_id
        self._base = base
        self._run: Run | None = None
        self._nodes: dict[str, tuple[int, NodeProgress]] = {}
        self._messages: dict[int, Message] = {}

    @property
    def run(self) -> Run:
        """The run as it was read last."""
        if self._run is None:
            raise RuntimeError("It has not been read yet.")
        return self._run

    @property
    def run_id(self) -> str:
        """The run."""
        return self._run_id

    def read(self) -> tuple[Run, list[tuple[str, int, NodeProgress]]]:
        """Read what changed since the last time."""
        run, tasks = self._records.run_changes(self._run_id, self._run.revision if self._run else 0)
        return run, [(task.node, task.revision, NodeProgress.of(task)) for task in tasks]

    def take(self, found: tuple[Run, Iterable[tuple[str, int, NodeProgress]]]) -> bool:
        """Take what was read."""
        run, changed = found
        known = self._run
        self._run = run
        if known is not None and run.revision == known.revision:
            return False
        self._nodes.update((node, (revision, progress)) for node, revision, progress in changed)
        self._messages.clear()
        return True

    async def since(self, position: int) -> tuple[list[Message], int]:
        """Return all of the run, or what changed, and the end after it."""
        run = self.run
        messages = []
        if not 0 < position <= run.revision:
            messages.append(self._once(0, lambda: Message("snapshot", self._snapshot(), self._id)))
        elif position < run.revision:
            messages.append(self._once(position, lambda: Message("scaling-progress", self._after(position), self._id)))
        if run.status not in RUN_ACTIVE:
            end = RunEnd(run=RunView.of(run, self._base))
            messages.append(self._once(_CLOSED, lambda: Message("end", end.model_dump_json(), self._id)))
        return messages, run.revision

    @property
    def _id(self) -> str:
        return f"{self._run_id}:{self.run.revision}"

    def _once(self, key: int, make: Callable[[], Message]) -> Message:
        if key not in self._messages:
            self._messages[key] = make()
        return self._messages[key]

    def _snapshot(self) -> str:
        tasks = [progress for _, progress in self._nodes.values()]
        return Snapshot(run=RunView.of(self.run, self._base), tasks=tasks).model_dump_json()

    def _after(self, position: int) -> str:
        tasks = [progress for revision, progress in self._nodes.values() if revision > position]
        return RunProgress.of(self.run, tasks).model_dump_json()


class LogFeed(Feed):
    """The log of a node in a run, or of a run the lines that belong to no node; the position is the number of a line.

    Args:
        records: Where it is recorded.
        name: What is watched: a task or a run.
        run_id: The run.
        node: The node; None for what belongs to none.
    """

    pause = 0.2

    def __init__(self, records: Records, name: str, run_id: str, node: str | None) -> None:
        super().__init__(("log", name))
        self._records = records
        self._name = name
        self._run_id = run_id
        self._node = node
        self._end = _CLOSED
        self._newest: tuple[int, Message, int] | None = None

    @property
    def run_id(self) -> str:
        """The run."""
        return self._run_id

    def read(self) -> tuple[int, tuple[Message, int] | None]:
        """Read the lines after the last one that is known; the first time only which is the last one."""
        if self._end == _CLOSED:
            return self._records.log_end(self._run_id, self._node), None
        page = self._page(self._end)
        return (page[1] if page else self._end), page

    def take(self, found: tuple[int, tuple[Message, int] | None]) -> bool:
        """Take what was read."""
        end, page = found
        if page is not None:
            self._newest = (self._end, *page)
            # a full page may not be the last one
            self.dirty.set()
        changed = end != self._end
        self._end = end
        return changed

    def more(self, position: int) -> bool:
        """Say whether there are further lines."""
        return position < self._end

    async def since(self, position: int) -> tuple[list[Message], int]:
        """Return the next lines; those that viewers in step with the log need have been read for all of them."""
        if position >= self._end:
            return [], position
        if self._newest is not None and self._newest[0] == position:
            return [self._newest[1]], self._newest[2]
        page = await to_thread.run_sync(self._page, position)
        return ([page[0]], page[1]) if page else ([], self._end)

    def _page(self, after: int) -> tuple[Message, int] | None:
        lines = self._records.log(self._run_id, self._node, after=after, limit=LINES)
        if not lines:
            return None
        last = lines[-1].id
        data = LogLines(log=self._name, lines=[LineDocument.of(line) for line in lines], last=last)
        return Message("log", data.model_dump_json(), str(last)), last


class StatusFeed(Feed):
    """The scaling status of some clusters or of all; the position is a counter.

    Args:
        status: Reads it.
        clusters: The clusters; all when None.
    """

    pause = 1.0

    def __init__(
        self, status: Callable[[Collection[str] | None], ScalingStatus], clusters: frozenset[str] | None
    ) -> None:
        super().__init__(("status", clusters))
        self._status = status
        self._clusters = clusters
        self._text = ""
        self._count = 0
        self._message = Message("status", "{}")

    def read(self) -> str:
        """Read all of it."""
        return json.dumps(self._status(self._clusters).as_json(), separators=(",", ":"))

    def take(self, found: str) -> bool:
        """Take what was read."""
        if found == self._text:
            return False
        self._text = found
        self._count += 1
        self._message = Message("status", found, str(self._count))
        return True

    async def since(self, position: int) -> tuple[list[Message], int]:
        """Return the whole status when it is another one."""
        return ([self._message] if position != self._count else []), self._count
