"""What viewers are told: the events of the stream, each encoded once for all who receive it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from slurmscale.documents import Document, Error, LineDocument, Moment
from slurmscale.service.api.schemas import CountsView, RunView  # noqa: TC001 - pydantic reads the annotations
from slurmscale.service.problems import problem_of

if TYPE_CHECKING:
    from slurmscale.errors import SlurmscaleError
    from slurmscale.models import Run, Task


class Message:
    """One event.

    Args:
        event: Its kind, such as scaling-progress.
        data: What it tells, as JSON on one line.
        event_id: Where to resume after it; None where there is nothing to resume.
    """

    __slots__ = ("as_server_sent", "as_text", "event")

    def __init__(self, event: str, data: str, event_id: str | None = None) -> None:
        self.event = event
        self.as_text = f'{{"event":"{event}","id":{json.dumps(event_id)},"data":{data}}}'
        """For a WebSocket."""
        number = "" if event_id is None else f"id: {event_id}\n"
        self.as_server_sent = f"event: {event}\n{number}data: {data}\n\n".encode()
        """For a stream of server-sent events."""


PING = Message("ping", "{}")
"""Nothing has happened for a while, and the connection is alive."""


def error(exc: SlurmscaleError, **about: str) -> Message:
    """Return the event that tells what could not be done.

    Args:
        exc: Why.
        about: What was asked for, such as the run.
    """
    status = problem_of(exc).status
    problem = {"type": f"/problems/{exc.code}", "status": status, "detail": exc.reason}
    return Message("error", json.dumps({**problem, **exc.as_dict(), **about}))


class NodeMessage(Document):
    """How one node of a run stands."""

    task_id: str
    node: str
    status: str
    """pending, running, completed or failed; other programs may write further ones."""
    progress: int
    """Whole percent; 100 only when the node is done."""
    phase: str
    step: str
    error: Error | None
    error_message: str | None
    started_at: Moment | None
    updated_at: Moment | None
    completed_at: Moment | None

    @classmethod
    def of(cls, task: Task) -> NodeMessage:
        """Make it of a record."""
        return cls.of_record(task)


class RunProgress(Document):
    """What changed of a run: the data of `scaling-progress`."""

    run_id: str
    status: str
    progress: int
    """Whole percent over all nodes."""
    remaining: int | None
    """Estimated seconds to the end, where earlier runs tell."""
    counts: CountsView
    started_at: Moment | None
    completed_at: Moment | None
    error: Error | None
    tasks: list[NodeMessage]
    """The nodes that changed."""

    @classmethod
    def of(cls, run: Run, tasks: list[NodeMessage]) -> RunProgress:
        """Make it of a record, and of the nodes that changed."""
        return cls.of_record(run, run_id=run.id, progress=run.counts.progress, tasks=tasks)


class Snapshot(Document):
    """A run and all its nodes: the data of `snapshot`."""

    run: RunView
    tasks: list[NodeMessage]


class RunEnd(Document):
    """A run that has ended: the data of `end`."""

    run: RunView


class Removed(Document):
    """A cluster that is known no more: the data of `cluster` then."""

    id: str
    removed: Literal[True] = True


class LogLines(Document):
    """Lines of a log that is watched: the data of `log`."""

    log: str
    """What is watched: a task, or a run for what belongs to none of its nodes."""
    lines: list[LineDocument]
    last: int
    """The number of the last line, to go on from."""
