"""The lab's hosts, and jobs of an ordinary user."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from library_fixtures import jobs, scaling, settings
from testing import ctl1

__all__ = ["ctl1", "jobs", "scaling", "settings"]
