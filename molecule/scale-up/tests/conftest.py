"""What the preparation wrote down; hosts and playbooks come from the lab."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import ctl1, lab_host, playbook, words

if TYPE_CHECKING:
    from testinfra.host import Host

__all__ = ["ctl1", "lab_host", "playbook", "words"]


@pytest.fixture(scope="session")
def before(ctl1: Host) -> dict[str, Any]:
    """Return what prepare.yml wrote down."""
    content: dict[str, Any] = json.loads(ctl1.check_output("cat /var/tmp/before.json"))
    return content
