"""Whether a cluster takes a node as it is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.plugin_utils import registration

CONFIG = {"SelectType": "select/cons_tres", "MaxNodeCount": "3"}
CLUSTER = {"version": "24.11.5", "config": CONFIG, "nodes": {"n1": {"dynamic": False}, "d1": {"dynamic": True}}}


def failed(cluster: dict[str, Any], name: str = "n9", way: str = "static", *, joining: int = 3) -> list[str]:
    found = registration.suitable(name, cluster, way, dynamic=way == "dynamic", joining=joining)
    return [entry["check"] for entry in found if not entry["ok"]]


@pytest.mark.parametrize("version", ["24.11.5", "24.11.5-4", "24.11", "24.05", "23.02.7"])
def test_a_version_that_works_with_the_controller_is_taken(version: str) -> None:
    assert [entry["ok"] for entry in registration.wanted_version(version, CLUSTER)] == [True]


@pytest.mark.parametrize("version", ["25.05", "24.11.6", "22.05.8", "latest", "24.11x"])
def test_a_version_that_does_not_is_refused(version: str) -> None:
    (found,) = registration.wanted_version(version, CLUSTER)
    assert (found["ok"], found["check"], found["code"]) == (
        False,
        "Slurm version to install",
        "slurm-version-unsuitable",
    )


def test_a_node_keeps_the_way_in_which_it_was_registered() -> None:
    assert failed(CLUSTER, "n1") == []
    assert failed(CLUSTER, "n1", "dynamic") == ["registration"]
    assert failed(CLUSTER, "d1") == ["registration"]
    assert failed(CLUSTER, "d1", "dynamic") == []
    assert failed(CLUSTER, way="sometimes") == ["slurm_node_registration"]


@pytest.mark.parametrize(
    ("changes", "joining", "checks"),
    [
        ({}, 3, []),
        ({}, 4, ["MaxNodeCount for dynamic nodes"]),
        ({"config": {**CONFIG, "MaxNodeCount": None}}, 3, ["MaxNodeCount for dynamic nodes"]),
        ({"config": {**CONFIG, "SelectType": "select/linear"}}, 3, ["SelectType for dynamic nodes"]),
        ({"version": "21.08.8"}, 3, ["Slurm version for dynamic nodes"]),
    ],
)
def test_what_dynamic_nodes_need_is_named(changes: dict[str, Any], joining: int, checks: list[str]) -> None:
    assert failed({**CLUSTER, **changes}, way="dynamic", joining=joining) == checks
