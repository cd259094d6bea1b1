"""The recorded run of data/zoo.yml; data/README.md has the right answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def recorded() -> list[dict]:
    return json.loads((DATA / "events.json").read_text())


@pytest.fixture(scope="session")
def recorded_plan() -> list[dict]:
    return [json.loads(line) for line in (DATA / "plan.jsonl").read_text().splitlines()]
