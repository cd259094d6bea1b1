"""How many requests a caller may make: so many a second, and as many more at once when there were few before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_BURST_SECONDS = 2.0
_MOST_CALLERS = 10_000


class _Bucket(NamedTuple):
    left: float
    at: float


class RateLimit:
    """Counts the requests of callers.

    Args:
        per_second: Requests that a caller may make in a second; any number when 0.
        clock: Seconds that pass.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._most = per_second * _BURST_SECONDS
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, caller: str) -> float:
        """Count a request; returns the seconds to wait when it is one too many, else 0."""
        if not self._per_second:
            return 0.0
        now = self._clock()
        known = self._buckets.pop(caller, _Bucket(self._most, now))
        left = min(self._most, known.left + (now - known.at) * self._per_second)
        taken = left >= 1
        # the one that was heard of last stands last
        self._buckets[caller] = _Bucket(left - taken, now)
        if len(self._buckets) > _MOST_CALLERS:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if taken else (1 - left) / self._per_second
