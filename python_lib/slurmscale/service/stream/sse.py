"""The stream as server-sent events: for scripts, and where a proxy breaks WebSockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from slurmscale.errors import Code
from slurmscale.service.access.authentication import Principal, requires
from slurmscale.service.access.permissions import Permission
from slurmscale.service.problems import ProblemError
from slurmscale.states import RUN_ACTIVE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from slurmscale.service.stream.feeds import Feed
    from slurmscale.service.stream.sessions import Sessions
    from slurmscale.service.stream.stream import Stream

router = APIRouter(prefix="/api/slurm", tags=["stream"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}},
    204: {"description": "The run has ended, and all was told."},
}
_LAST = ("end", "error")
_RUN = r"^[A-Za-z0-9-]+$"
_LOG = r"^[A-Za-z0-9-]+(:[A-Za-z0-9._-]+)?$"


@router.get("/events", response_class=StreamingResponse, responses=_ANSWERS)
async def events(  # noqa: PLR0913, PLR0917 - the parameters of the route
    request: Request,
    principal: Annotated[Principal, Depends(requires(Permission.READ))],
    run: Annotated[str | None, Query(max_length=64, pattern=_RUN)] = None,
    log: Annotated[str | None, Query(max_length=320, pattern=_LOG)] = None,
    after: Annotated[int, Query(ge=0)] = 0,
    last_event_id: Annotated[str | None, Header(max_length=400)] = None,
) -> Response:
    """Tell what happens to a run, to a log, or else to the scaling status, clusters and jobs; ends with the run.

    The events are those of the WebSocket. `Last-Event-ID`, or `after` with the part behind the colon, resumes where
    a stream was cut off.
    """
    stream: Stream = request.app.state.stream
    if run is not None and log is not None:
        raise ProblemError(422, Code.REQUEST_INVALID, "One stream tells of a run or of a log.", "Open two.")
    position = _position(last_event_id, after)
    if run is not None:
        found = await stream.find(run, principal)
        if found.status not in RUN_ACTIVE and position == found.revision:
            # a browser comes back after each end, and after this one no more
            return Response(status_code=204)
        feeds = [await stream.run(run, principal)]
    elif log is not None:
        feeds = [await stream.log(log, principal)]
    else:
        feeds, position = stream.common(principal), 0
    stream.sessions.require_room(principal)
    # a proxy is to pass on each event at once
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    body = _told(stream.sessions, principal, feeds, position)
    return StreamingResponse(body, media_type="text/event-stream", headers=headers)


def _position(last_event_id: str | None, after: int) -> int:
    number = (last_event_id or "").rpartition(":")[2]
    return int(number) if number.isascii() and number.isdecimal() else after


async def _told(sessions: Sessions, principal: Principal, feeds: list[Feed], after: int) -> AsyncIterator[bytes]:
    with sessions.enter(principal) as session:
        for feed in feeds:
            await session.viewer.watch(feed, after)
        async for message in session.viewer.messages():
            yield message.as_server_sent
            if message.event in _LAST:
                return
