"""Wait for what other processes and threads do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")


def wait_for(condition: Callable[[], Found], seconds: float = 60) -> Found:
    """Return what the condition returns as soon as that is true, and fail when it does not become so in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.02)
    return found
