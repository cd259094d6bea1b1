"""How the upgrade of a node ended."""

from __future__ import annotations

from ansible_collections.ai_infra.slurm.plugins.filter.upgrade_result import upgrade_result

PLAN = {"before": {"slurmd": "24.05.2-1", "slurm-client": "24.05.2-1"}, "version": "24.11.5-4"}
JOB = {"ok": True, "message": "job 7 COMPLETED"}
AVAILABLE = {"ok": True, "message": "available"}


def test_versions_and_job_are_told_once() -> None:
    result = upgrade_result(PLAN, available=AVAILABLE, job=JOB)
    assert result == {"message": "24.05.2-1 -> 24.11.5-4, job 7 COMPLETED", "failure": None}


def test_the_drain_of_somebody_else_stays() -> None:
    result = upgrade_result(PLAN, "broken fan")
    assert result == {"message": "24.05.2-1 -> 24.11.5-4, stays drained: broken fan", "failure": None}


def test_a_node_that_is_not_available_failed_and_is_drained() -> None:
    failure = upgrade_result(PLAN, available={"ok": False, "message": "is DOWN."})["failure"]
    assert failure["code"] == "node-not-verified"
    assert failure["reason"] == "is DOWN. It has the new version and is drained."
    assert failure["remedy"]


def test_what_the_job_reports_is_passed_on() -> None:
    reported = {"code": "node-not-responding", "reason": "It is silent.", "remedy": "See slurmd."}
    failure = upgrade_result(PLAN, available=AVAILABLE, job={"ok": False, "message": "m", "failure": reported})[
        "failure"
    ]
    assert failure["code"] == "node-not-responding"
    assert failure["reason"].startswith("It is silent. ")
    assert failure["remedy"] == "See slurmd."


def test_without_an_answer_of_the_controller_the_node_is_not_verified() -> None:
    assert "did not answer" in upgrade_result(PLAN)["failure"]["reason"]
