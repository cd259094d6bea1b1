"""What a machine is asked for, by what is known of its cluster."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.probe_request import probe_request


def cluster(*state: str) -> dict[str, Any]:
    controllers = [
        {"host": "ctl1", "up": True, "addresses": ["10.0.0.1"]},
        {"host": "ctl2", "up": False, "addresses": ["10.0.0.2"]},
    ]
    return {"controllers": controllers, "port": 7000, "nodes": {"n1": {"state": list(state)}}}


def test_nothing_is_asked_while_the_controller_is_being_made() -> None:
    assert probe_request({}, "n1") == {"resolve": [], "connect": [], "state": ""}


def test_a_new_machine_resolves_all_controllers_and_tries_those_that_are_up() -> None:
    found = probe_request(cluster(), "n7", names=["n1"])
    assert found == {"resolve": ["ctl1", "ctl2"], "connect": ["ctl1:7000"], "state": ""}


def test_a_node_that_works_makes_no_attempt() -> None:
    found = probe_request(cluster("IDLE", "PLANNED"), "n1", write_hosts=True)
    assert (found["connect"], found["state"]) == ([], "IDLE+PLANNED")


@pytest.mark.parametrize("state", [["DOWN"], ["IDLE", "NOT_RESPONDING"], []])
def test_a_node_that_does_not_work_is_asked_like_a_new_one(state: list[str]) -> None:
    found = probe_request(cluster(*state), "n1")
    assert (found["connect"], found["state"]) == (["ctl1:7000"], "")


def test_where_etc_hosts_may_be_written_names_of_nodes_and_addresses_count_too() -> None:
    found = probe_request(cluster(), "n7", names=["n1", "ctl1", "n7"], write_hosts=True)
    assert found["resolve"] == ["ctl1", "ctl2", "n1", "n7"]
    assert found["connect"] == ["ctl1:7000", "10.0.0.1:7000"]
