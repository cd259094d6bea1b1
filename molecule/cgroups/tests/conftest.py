"""Hosts and playbooks come from the lab."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import ctl1

__all__ = ["ctl1"]
