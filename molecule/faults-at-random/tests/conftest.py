"""Hosts come from the lab, each through its container: connections of ssh would not outlive a boot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import before, cluster_is_unharmed, host_in_container

if TYPE_CHECKING:
    from testinfra.host import Host

__all__ = ["before", "cluster_is_unharmed"]


@pytest.fixture(scope="session")
def ctl1() -> Host:
    return host_in_container("ctl1")
