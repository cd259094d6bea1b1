"""The dashboard is what Grafana's own model of one says, key by key; the model drops what it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

DASHBOARD = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboard.json"


def read(dashboard):
    """Let the model read a dashboard, and write it again."""
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def differences(given, back, path=""):
    """Yield where something that was given is missing or other than it was."""
    if isinstance(given, dict) and isinstance(back, dict):
        for name, value in given.items():
            yield from differences(value, back.get(name), f"{path}/{name}")
    elif isinstance(given, list) and isinstance(back, list) and len(given) == len(back):
        for number, (one, other) in enumerate(zip(given, back, strict=True)):
            yield from differences(one, other, f"{path}/{number}")
    elif given != back:
        yield path


def test_the_dashboard_has_nothing_that_grafana_does_not_know():
    given = json.loads(DASHBOARD.read_text())
    assert list(differences(given, read(given))) == []


@pytest.mark.parametrize("where", [(), ("time",), ("panels", 0, "gridPos"), ("panels", 0, "targets", 0)])
def test_what_it_does_not_know_is_found(where):
    given = json.loads(DASHBOARD.read_text())
    part = given
    for name in where:
        part = part[name]
    part["unknown"] = 1
    assert list(differences(given, read(given))) == ["/".join(map(str, ("", *where, "unknown")))]
