"""The library with a data directory of its own, and the lab's hosts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import ROOT, ctl1

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ctl1"]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("slurmscale"), project_dir=ROOT)


@pytest.fixture
def scaling(settings: Settings) -> Iterator[Scaling]:
    with Scaling(settings) as scaling:
        yield scaling
