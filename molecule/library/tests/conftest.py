"""The library, entered anew by each test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from slurmscale.scaling import Scaling

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from library_fixtures import settings
from testing import ctl1

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.settings import Settings

__all__ = ["ctl1", "settings"]


@pytest.fixture
def scaling(settings: Settings) -> Iterator[Scaling]:
    with Scaling(settings) as scaling:
        yield scaling
