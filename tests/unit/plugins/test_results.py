"""How a run ends for its nodes, from what its plays recorded."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.node_outcomes import outcomes
from ansible_collections.ai_infra.slurm.plugins.filter.prepared_nodes import prepared_nodes
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import continuing

NODE = {"slurmd_plan": {"definition": {"name": "n7", "params": {}}}}
JOB = {"scale_jobs": {"jobs": {"n7": {"ok": True, "message": "job 12 ran"}}}}
REGISTERED = {"slurmctld_reconfigure_changed": True, "slurmctld_reconfigure_result": {"added": ["n7"], "updated": []}}
FAILURE = {"code": "task-failed", "reason": "no way", "remedy": ""}
REFUSED = {"slurmctld_reconfigure_result": {"refused": {"n7": {**FAILURE, "reason": "Gres with a quote"}}}}
PLAN_REFUSED = {"scale_registration": REFUSED["slurmctld_reconfigure_result"], "slurmctld_reconfigure_result": {}}
UNKNOWN_KEY = {"scale_credentials": {"h7": {"failure": {**FAILURE, "reason": "Invalid credential"}}}}


def outcome(node: dict[str, Any], controller: dict[str, Any], **options: Any) -> dict[str, Any]:
    return outcomes(["h7"], {"h7": node, "ctl1": controller}, "ctl1", **options)["h7"]


def test_a_verified_node_tells_of_its_job() -> None:
    found = outcome(NODE, JOB, ended=5.0)
    assert found["scale_success"] == {"ok": True, "message": "job 12 ran"}
    assert (found["scale_failure"], found["scale_changed"], found["scale_ended"]) == (None, False, 5.0)
    assert outcome(NODE, {}, stage="prepared")["scale_success"]["message"] == "prepared"


@pytest.mark.parametrize("result", ["apphub_client_installed", "munge_written", "slurmd_service", "scale_written"])
def test_what_a_role_changed_is_a_change_of_the_node(result: str) -> None:
    assert outcome({**NODE, result: {"changed": True}}, JOB)["scale_changed"]
    assert not outcome({**NODE, result: {"changed": False, "skipped": True}}, JOB)["scale_changed"]


def test_a_registration_is_a_change_of_the_nodes_that_were_registered() -> None:
    assert outcome(NODE, {**JOB, **REGISTERED})["scale_changed"]
    other = {"slurmd_plan": {"definition": {"name": "n8"}}}
    assert not outcome(other, REGISTERED, stage="registered")["scale_changed"]


@pytest.mark.parametrize(
    ("controller", "reason"),
    [
        ({"scale_available": {"nodes": {"n7": {"ok": False, "message": "it is DOWN"}}}}, "it is DOWN"),
        ({"scale_verify_failure": {"code": "task-failed", "reason": "no controller"}}, "no controller"),
        (
            {
                "scale_available": {"nodes": {"n7": {"ok": True, "message": "it is IDLE"}}},
                "scale_verify_failure": {"code": "task-failed", "reason": "ctl1 is lost before the job"},
            },
            "ctl1 is lost before the job",
        ),
        ({}, "The controller did not get as far as this node."),
    ],
)
def test_a_node_that_is_not_verified_has_a_reason(controller: dict[str, Any], reason: str) -> None:
    assert outcome(NODE, controller)["scale_unverified"]
    failure = outcome({**NODE, "scale_journal": {"stdout": "bind failed"}}, controller)["scale_failure"]
    assert failure["reason"] == f"{reason}\nThe last lines of slurmd's journal:\nbind failed"
    assert failure["code"] in {"node-not-verified", "task-failed"}


@pytest.mark.parametrize(
    ("node", "controller", "reason"),
    [
        ({"scale_failure": FAILURE}, {}, "no way"),
        ({}, {"scale_register_failure": FAILURE}, "no way"),
        ({}, REFUSED, "Gres with a quote"),
        ({}, PLAN_REFUSED, "Gres with a quote"),
        ({"slurmd_service": {"unreachable": True, "msg": "no route"}}, {}, "The connection was lost"),
        ({}, UNKNOWN_KEY, "Invalid credential"),
        ({"scale_failure": FAILURE}, {"scale_register_failure": {**FAILURE, "reason": "later"}}, "no way"),
    ],
)
def test_a_node_on_which_something_failed_leaves_the_run(
    node: dict[str, Any], controller: dict[str, Any], reason: str
) -> None:
    hostvars = {"h7": {**NODE, **node}, "ctl1": {**JOB, **controller}}
    assert continuing(["h7"], hostvars, "ctl1") == []
    for check_mode in (False, True):
        found = outcome(hostvars["h7"], hostvars["ctl1"], check_mode=check_mode)
        assert reason in found["scale_failure"]["reason"]
        assert not found["scale_unverified"]


def test_the_others_go_on() -> None:
    dynamic = {
        "slurmd_plan": {"definition": {"name": "n8"}, "dynamic": True, "steps": ["key"]},
        "slurmd_service": {"changed": True},
    }
    hostvars = {"h7": NODE, "h8": dynamic, "ctl1": {}}
    assert continuing(["h7", "h8"], hostvars, "ctl1") == [
        {"host": "h7", "definition": {"name": "n7", "params": {}}, "dynamic": False, "steps": [], "started": False},
        {"host": "h8", "definition": {"name": "n8"}, "dynamic": True, "steps": ["key"], "started": True},
    ]


def test_nothing_is_verified_in_check_mode() -> None:
    found = outcome(NODE, {}, check_mode=True)
    assert (found["scale_success"], found["scale_failure"], found["scale_unverified"]) == (None, None, False)


def test_what_was_prepared_is_what_registers_and_starts_the_nodes_later() -> None:
    failed = {"slurmd_plan": {"definition": {"name": "n9"}}, "scale_failure": FAILURE}
    untouched = {"slurmd_plan": {"definition": {"name": "n8"}, "dynamic": True, "steps": []}}
    hostvars = {"ctl1": {}, "h7": {**NODE, "scale_restart": True}, "h8": untouched, "h9": failed}
    assert prepared_nodes(["h7", "h8", "h9"], hostvars, "ctl1", ["h7", "h9"]) == {
        "h7": {**NODE["slurmd_plan"], "dynamic": False, "steps": [], "acted": True, "restart": True},
        "h8": {**untouched["slurmd_plan"], "acted": False, "restart": False},
    }
