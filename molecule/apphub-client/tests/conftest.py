"""Hosts and roles come from the lab."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import lab_host


@pytest.fixture(scope="session")
def apphub_url() -> str:
    """Return the address of the lab's AppHub."""
    return f"http://{lab_host('apphub').backend.hostname}:8081"
