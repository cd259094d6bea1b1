"""Calls a function again and again, in a thread of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import structlog

from slurmscale.errors import SlurmscaleError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

log = structlog.get_logger(__name__)


class PeriodicCall:
    """Calls a function at once and then at intervals, from `start` to `close`; what it raises is logged.

    Args:
        function: The function.
        seconds: From the end of a call to the next one.
        name: Of the thread.
        warning: What is logged when a call fails, once until one succeeds.
        join: Whether a call that is in progress is waited for when this is closed.
    """

    def __init__(
        self, function: Callable[[], None], seconds: float, name: str, warning: str, *, join: bool = True
    ) -> None:
        self._function = function
        self._seconds = seconds
        self._warning = warning
        self._join = join
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Call it no more."""
        self._closing = True
        self._wake.set()
        if self._join:
            self._thread.join()

    def wake(self) -> None:
        """Call it now; when a call is in progress, after that."""
        self._wake.set()

    def __enter__(self) -> Self:
        """Begin."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Call it no more."""
        self.close()

    def _work(self) -> None:
        failed = False
        while True:
            # before the look at what `close` sets first, so that none of the two is missed
            self._wake.clear()
            if self._closing:
                return
            try:
                self._function()
                failed = False
            except SlurmscaleError as exc:
                if not failed:
                    log.warning(self._warning, error=exc.reason)
                failed = True
            except Exception:
                log.exception(self._warning)
            self._wake.wait(self._seconds)
