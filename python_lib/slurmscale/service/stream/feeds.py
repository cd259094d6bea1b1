"""What can be watched: a run, a log, the scaling status, the clusters and the jobs; each once for all its viewers.

What is told with a notice is not read: the database is asked when something is watched for the first time, and when a
notice told too little, or none came.

A viewer has a position in a feed, a revision or the number of a line. What it is told next is everything that came
after, however long ago it looked: a slow viewer costs nothing, and one that comes back goes on where it was.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from anyio import to_thread

from slurmscale.documents import LineDocument
from slurmscale.errors import SlurmscaleError
from slurmscale.service.api.schemas import RunView
from slurmscale.service.stream.messages import (
    LogLines,
    Message,
    NodeMessage,
    Removed,
    RunEnd,
    RunProgress,
    Snapshot,
)
from slurmscale.states import RUN_ACTIVE
from slurmscale.store.notices import Kind
from slurmscale.store.tables import changed_run, changed_task

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping

    from slurmscale.documents import Document
    from slurmscale.models import LogLine, Run, Task
    from slurmscale.scaling_status import StalledTask, StatusRecords
    from slurmscale.store.notices import Change

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


class StatusSource(Protocol):
    """Where the scaling status comes from; the library's entry is one."""

    def read_status(self, clusters: Collection[str] | None = None) -> StatusRecords:
        """Read what the status of some clusters, or of all, is made of."""

    def read_stalled(self, clusters: Collection[str] | None = None) -> tuple[StalledTask, ...]:
        """Read which nodes are without recent activity."""


class Feed(ABC):
    """Something that is watched.

    Args:
        key: What it is: of one thing there is one feed.

    Attributes:
        pause: Seconds between two reads at least.
        ages: Whether it may change without a notice of which the hub learns.
        dirty: Set when it has to be read.
        loaded: Set when it has been read once.
        lost: Why it can't be read any more.
        wake: What its viewers want to be called with when it has changed.
    """

    pause = 0.1
    ages = False

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.dirty = asyncio.Event()
        self.loaded = asyncio.Event()
        self.lost: SlurmscaleError | None = None
        self.wake: set[Callable[[Feed], None]] = set()

    @property
    def run_id(self) -> str | None:
        """The run that it is of."""
        return None

    @property
    def start(self) -> int:
        """The position of a viewer that knows nothing."""
        return 0

    @abstractmethod
    def note(self, change: Change) -> bool:
        """Take what a notice tells, or let it be read; returns whether viewers are to be woken at once."""

    def look_again(self) -> None:
        """Read it after some time, where the clock or another process may change it without a notice."""
        if self.ages:
            self.dirty.set()

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
        self._tasks: dict[int, tuple[Task, NodeMessage]] = {}
        self._messages: dict[int, Message] = {}

    @property
    def run(self) -> Run:
        """The run as it is known."""
        if self._run is None:
            raise RuntimeError("It has not been read yet.")
        return self._run

    @property
    def run_id(self) -> str:
        """The run."""
        return self._run_id

    def note(self, change: Change) -> bool:
        """Take the changes of the run that come next after what is known."""
        if change.kind is not Kind.ANYTHING and (change.kind is not Kind.RUN or change.run_id != self._run_id):
            return False
        run = self._run
        if run is not None and 0 < change.revision <= run.revision:
            return False
        next_one = run is not None and change.revision == run.revision + 1
        if run is None or not next_one or change.values is None or not change.tasks.keys() <= self._tasks.keys():
            self.dirty.set()
            return False
        changed = [
            changed_task(self._tasks[number][0], change.revision, columns) for number, columns in change.tasks.items()
        ]
        self._know(changed_run(run, change.revision, change.values), [(task, NodeMessage.of(task)) for task in changed])
        return True

    def read(self) -> tuple[Run, list[tuple[Task, NodeMessage]]]:
        """Read what changed since what is known."""
        run, tasks = self._records.run_changes(self._run_id, self._run.revision if self._run else 0)
        return run, [(task, NodeMessage.of(task)) for task in tasks]

    def take(self, found: tuple[Run, Iterable[tuple[Task, NodeMessage]]]) -> bool:
        """Take what was read, unless notices have told more meanwhile."""
        run, changed = found
        if self._run is not None and run.revision <= self._run.revision:
            return False
        self._know(run, changed)
        return True

    def _know(self, run: Run, changed: Iterable[tuple[Task, NodeMessage]]) -> None:
        self._run = run
        self._tasks.update((task.id, (task, progress)) for task, progress in changed)
        self._messages.clear()

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
        tasks = [progress for _, progress in self._tasks.values()]
        run = RunView.of(self.run, self._base)
        return Snapshot(run=run, tasks=tasks).model_dump_json()

    def _after(self, position: int) -> str:
        tasks = [progress for task, progress in self._tasks.values() if task.revision > position]
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

    def note(self, change: Change) -> bool:
        """Read the log when it may have more lines."""
        if change.kind is Kind.ANYTHING or (change.kind is Kind.RUN and change.run_id == self._run_id and change.lines):
            self.dirty.set()
        return False

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
        source: Where it comes from.
        clusters: The clusters; all when None.
    """

    pause = 1.0

    def __init__(self, source: StatusSource, clusters: frozenset[str] | None) -> None:
        super().__init__(("status", clusters))
        self._source = source
        self._clusters = clusters
        self._known: StatusRecords | None = None
        self._whole = True
        self._aged = False
        self._text = ""
        self._count = 0
        self._message = Message("status", "{}")

    def note(self, change: Change) -> bool:
        """Take the progress of a run that is known, and let all else be read."""
        if change.kind is Kind.RUN:
            if self._clusters is not None and change.cluster and change.cluster not in self._clusters:
                return False
            after = None if self._known is None else self._known.after(change)
            if after is not None and after is self._known:
                return False
            self._known = after or self._known
            self._whole |= after is None
        elif change.kind is Kind.ANYTHING:
            self._whole = True
        else:
            return False
        self.dirty.set()
        return False

    def look_again(self) -> None:
        """Look whether nodes are without activity for too long, which the clock alone changes."""
        self._aged = True
        self.dirty.set()

    def read(self) -> tuple[StatusRecords | None, StatusRecords, str]:
        """Read what is not known, and make the status; returns also what was known before."""
        known = self._known
        whole, aged = self._whole or known is None, self._aged
        self._whole = self._aged = False
        try:
            if known is None or whole:
                found = self._source.read_status(self._clusters)
            else:
                found = replace(known, stalled=self._source.read_stalled(self._clusters)) if aged else known
        except SlurmscaleError:
            self._whole = True
            raise
        return known, found, json.dumps(found.status().as_json(), separators=(",", ":"))

    def take(self, found: tuple[StatusRecords | None, StatusRecords, str]) -> bool:
        """Take what was read, and read again what was told meanwhile."""
        known, records, text = found
        if self._known is known:
            self._known = records
        elif records is not known:
            self._whole = True
            self.dirty.set()
        if text == self._text:
            return False
        self._text = text
        self._count += 1
        self._message = Message("status", text, str(self._count))
        return True

    async def since(self, position: int) -> tuple[list[Message], int]:
        """Return the whole status when it is another one."""
        return ([self._message] if position != self._count else []), self._count


class ListFeed(Feed):
    """Things of a kind, of which each is told when it has changed since it is watched; the position is a counter.

    Args:
        key: What it is.
        kind: The notices that tell of changes.
        event: The event that tells of one.
        items: Reads the things by their ids.
        whole: Whether it reads all there are, so that what it misses is gone.
        unless: A field whose change alone is not told.
    """

    pause = 1.0
    # where processes share a file, no notice tells of what the others do
    ages = True

    def __init__(  # noqa: PLR0913 - what it is, each by its name
        self,
        key: Hashable,
        *,
        kind: Kind,
        event: str,
        items: Callable[[], Mapping[str, Document]],
        whole: bool = True,
        unless: str = "",
    ) -> None:
        super().__init__(key)
        self._kind = kind
        self._event = event
        self._items = items
        self._whole = whole
        self._unless = {unless}
        self._known: dict[str, str] = {}
        self._changed: dict[str, tuple[int, Message]] = {}
        self._count = 1

    @property
    def start(self) -> int:
        """Where it is: what is there already is told by other routes."""
        return self._count

    def note(self, change: Change) -> bool:
        """Read them when some have changed."""
        if change.kind in {self._kind, Kind.ANYTHING}:
            self.dirty.set()
        return False

    def read(self) -> dict[str, tuple[str, str]]:
        """Read all: by their ids what is compared, and what is told."""
        return {
            name: (item.model_dump_json(exclude=self._unless), item.model_dump_json())
            for name, item in self._items().items()
        }

    def take(self, found: dict[str, tuple[str, str]]) -> bool:
        """Take what was read."""
        changed = {
            name: Message(self._event, text)
            for name, (compared, text) in found.items()
            if compared != self._known.get(name)
        }
        if self._whole:
            gone = self._known.keys() - found.keys()
            changed |= {name: Message(self._event, Removed(id=name).model_dump_json()) for name in gone}
        self._known = {name: compared for name, (compared, _) in found.items()}
        if not changed or not self.loaded.is_set():
            return False
        self._count += 1
        self._changed |= {name: (self._count, message) for name, message in changed.items()}
        if not self._whole:
            self._changed = {name: one for name, one in self._changed.items() if name in found}
        return True

    async def since(self, position: int) -> tuple[list[Message], int]:
        """Return those that changed after a position, each as it is now."""
        return [message for count, message in self._changed.values() if count > position], self._count
