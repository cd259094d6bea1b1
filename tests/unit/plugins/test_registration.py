"""Whether a cluster takes a node as it is asked for, and how a run ends for it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.node_outcome import node_outcome
from ansible_collections.ai_infra.slurm.plugins.filter.registration_findings import registration_findings
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.steps import RESULTS

CONFIG = {"SelectType": "select/cons_tres", "MaxNodeCount": "3"}
CLUSTER = {"version": "24.11.5", "config": CONFIG, "nodes": {"n1": {"dynamic": False}, "d1": {"dynamic": True}}}


def failed(cluster: dict[str, Any], name: str = "n9", version: str = "24.11", **way: Any) -> list[str]:
    found = registration_findings(cluster, name, version, **way)
    return [entry["check"] for entry in found if not entry["ok"]]


@pytest.mark.parametrize("version", ["24.11.5", "24.11.5-4", "24.11", "24.05", "23.02.7"])
def test_a_version_that_works_with_the_controller_is_taken(version: str) -> None:
    assert failed(CLUSTER, version=version) == []


@pytest.mark.parametrize("version", ["25.05", "24.11.6", "22.05.8", "latest", "24.11x"])
def test_a_version_that_does_not_is_refused(version: str) -> None:
    assert failed(CLUSTER, version=version) == ["Slurm version to install"]


DYNAMIC = {"registration": "dynamic", "dynamic": True}


def test_a_node_keeps_the_way_in_which_it_was_registered() -> None:
    assert failed(CLUSTER, "n1") == []
    assert failed(CLUSTER, "n1", **DYNAMIC) == ["registration"]
    assert failed(CLUSTER, "d1") == ["registration"]
    assert failed(CLUSTER, "d1", **DYNAMIC) == []
    assert failed(CLUSTER, registration="sometimes") == ["slurm_node_registration"]


@pytest.mark.parametrize(
    ("changes", "nodes", "checks"),
    [
        ({}, ["n9"], []),
        ({}, ["n8", "n9"], ["MaxNodeCount for dynamic nodes"]),
        ({"config": {**CONFIG, "MaxNodeCount": None}}, ["n9"], ["MaxNodeCount for dynamic nodes"]),
        ({"config": {**CONFIG, "SelectType": "select/linear"}}, ["n9"], ["SelectType for dynamic nodes"]),
        ({"version": "21.08.8"}, ["n9"], ["Slurm version for dynamic nodes"]),
    ],
)
def test_what_dynamic_nodes_need_is_named(changes: dict[str, Any], nodes: list[str], checks: list[str]) -> None:
    cluster = {**CLUSTER, **changes}
    assert failed(cluster, version=cluster["version"], nodes=nodes, **DYNAMIC) == checks


NODE = {"slurmd_definition": {"name": "n7"}}
JOB = {"scale_jobs": {"jobs": {"n7": {"ok": True, "message": "job 12 ran"}}}}
REGISTERED = {"slurmctld_reconfigure_changed": True, "slurmctld_reconfigure_result": {"added": ["n7"], "updated": []}}


def test_a_verified_node_tells_of_its_job() -> None:
    assert node_outcome(NODE, JOB) == {
        "proof": {"ok": True, "message": "job 12 ran"},
        "failure": None,
        "changed": False,
    }
    assert node_outcome(NODE, {}, stage="prepared")["proof"]["message"] == "prepared"


@pytest.mark.parametrize("result", RESULTS)
def test_what_a_role_changed_is_a_change_of_the_node(result: str) -> None:
    assert node_outcome({**NODE, result: {"changed": True}}, JOB)["changed"]
    assert not node_outcome({**NODE, result: {"changed": False, "skipped": True}}, JOB)["changed"]


def test_a_registration_is_a_change_of_the_nodes_that_were_registered() -> None:
    assert node_outcome(NODE, {**JOB, **REGISTERED})["changed"]
    assert not node_outcome({"slurmd_definition": {"name": "n8"}}, REGISTERED, stage="registered")["changed"]


@pytest.mark.parametrize(
    ("controller", "reason"),
    [
        ({"scale_available": {"nodes": {"n7": {"ok": False, "message": "it is DOWN"}}}}, "it is DOWN"),
        ({"scale_verify_failure": {"code": "task-failed", "reason": "no controller"}}, "no controller"),
        ({}, "The controller did not get as far as this node."),
    ],
)
def test_a_node_that_is_not_verified_has_a_reason(controller: dict[str, Any], reason: str) -> None:
    failure = node_outcome(NODE, controller, journal="bind failed")["failure"]
    assert failure["reason"] == f"{reason} The last lines of slurmd's journal: bind failed"
    assert failure["code"] in {"node-not-verified", "task-failed"}
