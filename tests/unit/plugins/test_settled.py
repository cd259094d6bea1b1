"""When the facts of a cluster prove that a controller need not be asked again."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.nodes_in_doubt import nodes_in_doubt
from ansible_collections.ai_infra.slurm.plugins.filter.unregistered_nodes import unregistered_nodes
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.settled import in_doubt, registered

NOW = 1000.0
GRES = "NodeName=n7 Name=gpu File=/dev/nvidia0"
WANTED: dict[str, Any] = {
    "name": "n7",
    "params": {"CPUs": 4, "RealMemory": 7800, "Features": "rocky"},
    "gres_lines": [],
}
WRITTEN = {"CPUs": "4", "RealMemory": "7800", "Feature": "rocky", "Weight": "3", "State": "UNKNOWN"}
NODE = {"state": ["IDLE"], "managed": True, "dynamic": False}


def cluster(**changes: Any) -> dict[str, Any]:
    return {
        "answering": True,
        "interrupted": False,
        "control_time": NOW - 5,
        "controllers": [{"host": "ctl1", "up": True}],
        "config": {"HASH_VAL": "Match", "TopologyPlugin": "topology/default"},
        "nodes": {"n7": NODE},
        "registered": {"n7": {"params": WRITTEN, "gres_lines": []}},
        **changes,
    }


def test_a_node_that_stands_there_as_it_is_wanted_is_not_registered_again() -> None:
    """What the administrator added to its line, and how it is spelled, does not count."""
    assert registered([WANTED], cluster(), NOW)
    assert registered([{**WANTED, "gres_lines": None}], cluster(), NOW)
    written = {"n7": {"params": WRITTEN, "gres_lines": [GRES]}}
    assert registered([{**WANTED, "gres_lines": ["Name=gpu File=/dev/nvidia0"]}], cluster(registered=written), NOW)


@pytest.mark.parametrize(
    "wanted",
    [
        {"params": {"CPUs": 8}},
        {"params": {"Gres": "gpu:1"}},
        {"params": {"Weight": ""}},
        {"params": {"Reason": 'a "quote"'}},
        {"gres_lines": [GRES]},
        {"switch": "s1"},
        {"name": "n8"},
    ],
)
def test_a_node_that_is_wanted_otherwise_is_registered(wanted: dict[str, Any]) -> None:
    assert not registered([{**WANTED, **wanted}], cluster(), NOW)


def test_the_same_node_twice_is_left_to_the_controller() -> None:
    assert not registered([WANTED, WANTED], cluster(), NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"answering": False},
        {"interrupted": True},
        {"interrupted": None},
        {"control_time": NOW - 61},
        {"control_time": NOW + 5},
        {"control_time": None},
        {"controllers": []},
        {"controllers": [{"host": "ctl1", "up": True}, {"host": "ctl2", "up": True}]},
        {"config": {}},
        {"config": {"HASH_VAL": "Different Ours=0x1 Slurmctld=0x2"}},
        {"config": {"HASH_VAL": "Match", "TopologyPlugin": "topology/tree"}},
        {"registered": {}},
        {"registered": {"n7": {"params": WRITTEN, "gres_lines": [GRES]}}},
        {"nodes": {}},
        {"nodes": {"n7": {**NODE, "managed": False}}},
        {"nodes": {"n7": {**NODE, "dynamic": True}}},
        {"nodes": {"n7": {**NODE, "state": ["IDLE", "NOT_RESPONDING"]}}},
        {"nodes": {"n7": {**NODE, "state": ["DOWN"]}}},
    ],
)
def test_in_doubt_it_is_registered(changes: dict[str, Any]) -> None:
    assert not registered([WANTED], cluster(**changes), NOW)


@pytest.mark.parametrize(
    ("states", "now", "doubt"),
    [(["MIXED"], NOW, []), (["MIXED", "DRAIN"], NOW, ["n7"]), (["MIXED"], NOW + 60, ["n7"]), ([], NOW, ["n7"])],
)
def test_old_facts_and_other_states_are_in_doubt(states: list[str], now: float, doubt: list[str]) -> None:
    assert in_doubt(["n7"], cluster(nodes={"n7": {**NODE, "state": states}}), now) == doubt


def test_the_age_of_the_facts_is_taken_when_it_is_asked_for() -> None:
    assert nodes_in_doubt(["n7"], cluster(control_time=time.time() - 5)) == []
    assert nodes_in_doubt(["n7"], cluster(control_time=time.time() - 61)) == ["n7"]


def found(controller: dict[str, Any] | None = None, node: dict[str, Any] | None = None, **options: Any) -> list[Any]:
    hostvars = {
        "h7": {"slurmd_plan": {"definition": WANTED}, **(node or {})},
        "ctl1": {"preflight_cluster": cluster(control_time=time.time() - 5), **(controller or {})},
    }
    return unregistered_nodes(["h7"], hostvars, "ctl1", **options)


def test_only_what_is_not_proven_is_to_be_registered() -> None:
    assert found() == []
    assert found(acted=["h7"]) == [WANTED]
    assert found({"preflight_cluster": {}}) == [WANTED]
    assert found({"preflight_cluster": cluster(control_time=time.time() - 61)}) == [WANTED]
    assert found({"preflight_cluster": cluster(interrupted=True)}, {"scale_failure": {"code": "x"}}) == []


@pytest.mark.parametrize(
    "stated",
    [
        {"slurmctld_reconfigure_partitions": ["batch"]},
        {"slurmctld_reconfigure_partitions": "{{ batch }}"},
        {"slurmctld_reconfigure_conf": "/etc/slurm/slurm.conf"},
        {"slurmctld_reconfigure_state": "absent"},
        {"slurmctld_reconfigure_renew_addresses": ["n7"]},
    ],
)
def test_where_more_is_stated_the_controller_is_asked(stated: dict[str, Any]) -> None:
    assert found(stated) == [WANTED]
