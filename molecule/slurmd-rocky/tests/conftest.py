"""Hosts and roles come from the lab, which has one node."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import ctl1, node_names

__all__ = ["ctl1"]

(MACHINE,) = node_names()
