"""The stream as a WebSocket, the subprotocol `slurmscale.v1`: what concerns all, and the runs and logs asked for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Annotated, Self

from anyio import to_thread
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field, ValidationError, model_validator

from slurmscale.errors import RefusedError, SlurmscaleError, StoreError
from slurmscale.service.access.authentication import principal_of
from slurmscale.service.access.permissions import Permission
from slurmscale.service.api.schemas import Body
from slurmscale.service.problems import ProblemError
from slurmscale.service.stream.messages import error
from slurmscale.service.stream.sessions import NOT_ALLOWED

if TYPE_CHECKING:
    from slurmscale.service.stream.feeds import Feed
    from slurmscale.service.stream.sessions import Session
    from slurmscale.service.stream.stream import Stream

router = APIRouter()

PROTOCOL = "slurmscale.v1"
MOST_BYTES = 4096
_MOST_A_SECOND = 20
_MOST_WATCHES = 50
_LONGEST_REASON = 120
"""Bytes; the protocol has room for 123."""
_CLOSING_SECONDS = 5.0
_TOO_MUCH = (1008, f"At most {_MOST_A_SECOND} messages a second, of at most {MOST_BYTES} bytes each.")
_TRY_LATER = (1013, "The database does not answer; try again later.")


class Target(Body):
    """What is watched: a run or a log."""

    run: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9-]+$")] | None = None
    log: Annotated[str, Field(max_length=320, pattern=r"^[A-Za-z0-9-]+(:[A-Za-z0-9._-]+)?$")] | None = None
    """A task, or a run for what belongs to none of its nodes."""
    after: Annotated[int, Field(ge=0)] = 0
    """The revision of the run, or the number of the line, that is known."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.run is None) == (self.log is None):
            raise ValueError("Name a run or a log.")
        return self


class ClientMessage(Body):
    """What a client may send."""

    watch: Target | None = None
    unwatch: Target | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.watch is None) == (self.unwatch is None):
            raise ValueError("Send watch or unwatch.")
        return self


@router.websocket("/api/slurm/ws")
async def socket(websocket: WebSocket) -> None:
    """Tell the scaling status, changes of clusters and jobs, and of the runs and logs that are asked for."""
    state = websocket.app.state
    stream: Stream = state.stream
    # a browser is told the code and the reason only of a socket that was accepted
    await websocket.accept(PROTOCOL if PROTOCOL in websocket.scope.get("subprotocols", ()) else None)
    try:
        principal = await to_thread.run_sync(principal_of, websocket, state.accounts)
        if not principal.may(Permission.READ):
            await _close(websocket, *NOT_ALLOWED)
            return
        with stream.sessions.enter(principal) as session:
            code, reason = await _serve(websocket, stream, session)
    except ProblemError as exc:
        code, reason = 4000 + exc.status, exc.detail
    except StoreError:
        code, reason = _TRY_LATER
    await _close(websocket, code, reason)


async def _serve(websocket: WebSocket, stream: Stream, session: Session) -> tuple[int, str]:
    """Send and receive until one side ends it, and say why."""
    for feed in stream.common(session.principal):
        await session.viewer.watch(feed)
    receiving = asyncio.create_task(_receive(websocket, stream, session))
    ended = asyncio.create_task(session.ended.wait())
    tasks = {asyncio.create_task(_send(websocket, session)), receiving, ended}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if session.ended.is_set() or receiving.cancelled():
        return session.why
    return receiving.result()


async def _send(websocket: WebSocket, session: Session) -> None:
    async for message in session.viewer.messages():
        await websocket.send_text(message.as_text)


async def _receive(websocket: WebSocket, stream: Stream, session: Session) -> tuple[int, str]:
    times: deque[float] = deque(maxlen=_MOST_A_SECOND)
    while True:
        try:
            message = await websocket.receive()
        except WebSocketDisconnect:
            return 1000, ""
        if message["type"] == "websocket.disconnect":
            return 1000, ""
        text = message.get("text") or ""
        now = time.monotonic()
        if len(text) > MOST_BYTES or (len(times) == _MOST_A_SECOND and now - times[0] < 1.0):
            return _TOO_MUCH
        times.append(now)
        try:
            wish = ClientMessage.model_validate_json(text)
        except ValidationError:
            # what was sent is not repeated: it may be a secret in the wrong place
            reason = "This is not understood."
            session.viewer.tell(error(RefusedError(reason, 'Send {"watch": {"run": ID, "after": REVISION}}.')))
            continue
        await _grant(wish, stream, session)


async def _grant(wish: ClientMessage, stream: Stream, session: Session) -> None:
    target = wish.watch or wish.unwatch
    assert target is not None  # noqa: S101 - the model has checked it
    about = {"run": target.run} if target.run is not None else {"log": target.log or ""}
    try:
        feed = await _feed(target, stream, session)
        if wish.unwatch is not None:
            session.viewer.unwatch(feed)
            return
        # beside what everybody watches
        most = _MOST_WATCHES + len(stream.common(session.principal))
        if len(session.viewer) >= most and feed not in session.viewer:
            raise RefusedError(f"One socket watches {_MOST_WATCHES} runs and logs at most.", "Watch fewer.")
        await session.viewer.watch(feed, target.after)
    except SlurmscaleError as exc:
        session.viewer.tell(error(exc, **about))


async def _feed(target: Target, stream: Stream, session: Session) -> Feed:
    if target.run is not None:
        return await stream.run(target.run, session.principal)
    return await stream.log(target.log or "", session.principal)


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close the socket, unless the other side has, or does not read."""
    short = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
    with contextlib.suppress(RuntimeError, TimeoutError, WebSocketDisconnect):
        async with asyncio.timeout(_CLOSING_SECONDS):
            await websocket.close(code, short)
