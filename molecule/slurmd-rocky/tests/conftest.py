"""Hosts and roles come from the lab, which has one node."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import GENERATION, ctl1, lab_host, nodes, run_roles, words

__all__ = ["GENERATION", "MACHINE", "ctl1", "lab_host", "run_roles", "words"]

(MACHINE,) = nodes()
