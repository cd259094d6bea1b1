"""Hosts and playbooks come from the lab."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import before, ctl1, lab_host, playbook

if TYPE_CHECKING:
    from testinfra.host import Host

__all__ = ["before", "ctl1", "playbook"]


@pytest.fixture(scope="session")
def ctl2() -> Host:
    return lab_host("ctl2")
