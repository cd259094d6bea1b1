"""Hosts and playbooks come from the lab."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import ctl1, lab_host, playbook

if TYPE_CHECKING:
    from testinfra.host import Host

__all__ = ["ctl1", "playbook"]


@pytest.fixture(scope="session")
def other() -> Host:
    """Return the controller of the other cluster."""
    return lab_host("ubuntu2")


@pytest.fixture(scope="session")
def job(other: Host) -> str:
    """Return the other cluster's job."""
    return str(json.loads(other.check_output("cat /var/tmp/before.json"))["job"])
