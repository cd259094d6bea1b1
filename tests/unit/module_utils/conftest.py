from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakes.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine of which nothing is there yet."""
    return Machine(tmp_path)
