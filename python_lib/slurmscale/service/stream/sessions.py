"""Those who watch: how many they may be, and whether they still may."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from anyio import to_thread

from slurmscale.errors import Code, SlurmscaleError
from slurmscale.service.access.permissions import Permission
from slurmscale.service.problems import ProblemError
from slurmscale.service.stream.viewer import Viewer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from slurmscale.service.access.authentication import Principal
    from slurmscale.service.stream.hub import Hub

MOST_OF_USER = 20
MOST = 1000
_LOOK_SECONDS = 10.0

SIGN_IN_AGAIN = (4401, "Sign in again.")
NOT_ALLOWED = (4403, f"This needs the permission {Permission.READ.value}.")
CONNECT_AGAIN = (1012, "Connect again.")

log = structlog.get_logger(__name__)


class Session:
    """One connection of somebody who watches.

    Attributes:
        principal: Who it is.
        viewer: What he watches.
        ended: Set when he may not watch any more.
        why: Then the code and the reason to close a socket with.
    """

    def __init__(self, principal: Principal, viewer: Viewer) -> None:
        self.principal = principal
        self.viewer = viewer
        self.ended = asyncio.Event()
        self.why = CONNECT_AGAIN

    def end(self, code: int, reason: str) -> None:
        """End it from this side."""
        self.why = (code, reason)
        self.ended.set()
        self.viewer.close()


class Sessions:
    """All connections of one service.

    Args:
        hub: What can be watched.
        holders: Says of tokens, by their ids, who holds those that are still valid.
        look: Seconds between two looks at whether they are.
    """

    def __init__(
        self, hub: Hub, holders: Callable[[Collection[str]], Mapping[str, Principal]], look: float = _LOOK_SECONDS
    ) -> None:
        self._hub = hub
        self._holders = holders
        self._interval = look
        self._sessions: set[Session] = set()
        self._closing = False

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._sessions)

    def require_room(self, principal: Principal) -> None:
        """Refuse who has too many connections already.

        Raises:
            ProblemError: He has, or all together have.
        """
        of_user = Counter(session.principal.user_id for session in self._sessions)[principal.user_id]
        if of_user < MOST_OF_USER and len(self._sessions) < MOST and not self._closing:
            return
        detail = f"{principal.name} watches {of_user} times already." if of_user else "Too many watch already."
        remedy = "Close what is not needed, and try again."
        raise ProblemError(429, Code.TOO_MANY_REQUESTS, detail, remedy, headers={"Retry-After": "5"})

    @contextmanager
    def enter(self, principal: Principal) -> Iterator[Session]:
        """Let somebody watch until the block is left.

        Raises:
            ProblemError: There is no room.
        """
        self.require_room(principal)
        session = Session(principal, Viewer(self._hub))
        self._sessions.add(session)
        try:
            yield session
        finally:
            self._sessions.discard(session)
            session.viewer.close()

    async def run(self) -> None:
        """Look now and then, and after each change, whether those who watch still may, with one query for all."""
        changed = self._hub.accounts_changed
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await changed.wait()
            changed.clear()
            # what can't be read now is read the next time
            with contextlib.suppress(SlurmscaleError):
                await self._check_tokens()

    async def _check_tokens(self) -> None:
        sessions = tuple(self._sessions)
        if not sessions:
            return
        held = await to_thread.run_sync(self._holders, {session.principal.token_id for session in sessions})
        for session in sessions:
            now = held.get(session.principal.token_id)
            if now is None:
                session.end(*SIGN_IN_AGAIN)
            elif not now.may(Permission.READ):
                session.end(*NOT_ALLOWED)
            elif now.clusters != session.principal.clusters:
                session.end(*CONNECT_AGAIN)

    def close(self) -> None:
        """End all, and take no more: the service stops."""
        self._closing = True
        for session in tuple(self._sessions):
            session.end(*CONNECT_AGAIN)
