"""A fixture for tests that run the command within their own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """Forget the stream that the command logs to: it is the one of this test, and closed afterwards."""
    yield
    structlog.reset_defaults()
