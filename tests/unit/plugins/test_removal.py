"""Which nodes may leave a cluster, how they leave, and what is told of them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.removal_failure import removal_failure
from ansible_collections.ai_infra.slurm.plugins.filter.removal_plan import removal_plan
from ansible_collections.ai_infra.slurm.plugins.filter.removal_refusals import removal_refusals
from ansible_collections.ai_infra.slurm.plugins.filter.removal_result import removal_result

KEY = {"path": "/etc/munge/munge.key", "sha256": "ours"}
AWAY = {"code": "host-unreachable", "reason": "n1 does not answer.", "remedy": "Check that it is up."}


def cluster(state: str = "IDLE", reserved: str = "", **node: Any) -> dict[str, Any]:
    held = {"upkeep": {"nodes": [reserved], "state": "INACTIVE", "start": "a", "end": "b"}} if reserved else {}
    known = {"state": state.split("+"), "defined_in": "/etc/slurm/slurmscale-nodes.conf line 3", "managed": True}
    return {"nodes": {"n1": {**known, **node}}, "reservations": held, "munge_key": KEY}


def serving(key: str = "ours", **active: str) -> dict[str, Any]:
    services = {name: {"active": state} for name, state in active.items()}
    return {"services": services, "files": {KEY["path"]: {"sha256": key}}}


@pytest.mark.parametrize(
    ("known", "options", "code", "words"),
    [
        (cluster(reserved="n1"), {}, "node-reserved", "belongs to the reservation upkeep"),
        (cluster(reserved="n1"), {"force": True}, "node-reserved", "belongs to the reservation upkeep"),
        (
            cluster(defined_in="/etc/slurm/slurm.conf line 40", managed=False),
            {},
            "node-not-managed",
            "in /etc/slurm/slurm.conf line 40, which slurmscale",
        ),
        (cluster(), {"unreachable": AWAY}, "host-unreachable", "counts as busy"),
        (cluster("IDLE+NOT_RESPONDING"), {}, "node-not-responding", "(IDLE+NOT_RESPONDING)"),
        (cluster("UNKNOWN"), {}, "node-not-responding", "counts as busy"),
        (
            cluster(),
            {"uninstall": True, "node": serving(slurmctld="active")},
            "host-runs-slurmctld",
            "runs slurmctld",
        ),
    ],
)
def test_what_keeps_a_node_in_the_cluster_is_named(
    known: dict[str, Any], options: dict[str, Any], code: str, words: str
) -> None:
    (failure,) = removal_refusals("n1", known, **options)
    assert failure["code"] == code
    assert words in failure["reason"]
    assert failure["remedy"]


def test_a_silent_node_names_the_way_for_a_dead_one() -> None:
    (failure,) = removal_refusals("n1", cluster(), unreachable=AWAY)
    assert failure["remedy"] == "Check that it is up. When the machine is dead: -e force=true."


@pytest.mark.parametrize(
    ("known", "options"),
    [
        (cluster(), {}),
        (cluster("ALLOCATED+DRAIN"), {}),
        (cluster("INVAL"), {}),
        (cluster(reserved="n2"), {}),
        (cluster("DOWN+NOT_RESPONDING"), {"force": True, "unreachable": AWAY}),
        (cluster(), {"node": serving(slurmctld="active")}),
        (cluster(defined_in="", managed=False, dynamic=True), {}),
    ],
)
def test_a_node_may_leave(known: dict[str, Any], options: dict[str, Any]) -> None:
    assert removal_refusals("n1", known, **options) == []


def test_a_machine_of_another_cluster_is_left_alone_and_one_that_was_ours_is_not() -> None:
    (failure,) = removal_refusals("n9", cluster(), serving("theirs", slurmd="active"))
    assert failure["code"] == "node-of-other-cluster"
    assert removal_refusals("n9", cluster(), serving("ours", slurmd="active")) == []
    assert removal_refusals("n9", cluster(), serving("theirs", slurmd="inactive")) == []


def belonging(key: str, **found: Any) -> dict[str, Any]:
    """Return a machine without a running slurmd, and what it tells of the cluster that it belongs to."""
    nothing = {"cluster_name": "", "controllers": [], "slurmd_running": False, "jobs": [], "job_processes": 0}
    return serving(key, slurmd="inactive") | {"membership": nothing | {"munge_users": []} | found}


@pytest.mark.parametrize(
    ("node", "code", "words"),
    [
        (belonging("theirs", cluster_name="far", controllers=["ctl9"]), "node-of-other-cluster", "cluster far of"),
        (belonging("theirs", munge_users=["sackd"]), "munge-in-use", "another key, used by sackd"),
    ],
)
def test_nothing_is_uninstalled_of_what_another_cluster_needs(node: dict[str, Any], code: str, words: str) -> None:
    ours = cluster() | {"name": "near", "controllers": [{"host": "ctl1"}]}
    (failure,) = removal_refusals("n9", ours, node, uninstall=True)
    assert failure["code"] == code
    assert words in failure["reason"]
    assert failure["remedy"] == "Run scale_down with that cluster's controller, or without uninstall."
    assert removal_refusals("n9", ours, node) == []


@pytest.mark.parametrize(
    "node",
    [
        belonging("ours", cluster_name="near", controllers=["ctl1"], munge_users=["slurmd"]),
        # it left before the key was changed
        belonging("theirs", controllers=["ctl1"]),
        belonging("theirs"),
        serving("theirs", slurmd="inactive"),
    ],
)
def test_what_was_ours_or_nobodys_is_uninstalled(node: dict[str, Any]) -> None:
    ours = cluster() | {"name": "near", "controllers": [{"host": "ctl1"}]}
    assert removal_refusals("n9", ours, node, uninstall=True) == []


def drain(*, ok: bool = True, changed: bool = True, **more: Any) -> dict[str, Any]:
    found = {"ok": ok, "changed": changed, "jobs": [], "message": "drained", "reason": "slurmscale: scale down"}
    return {**found, **more}


RUNS = {"code": "node-runs-jobs", "reason": "n1 still runs jobs 7 after 3 s.", "remedy": "squeue"}
BUSY = drain(ok=False, jobs=["7"], message="after 3 s: still runs jobs 7", failure=RUNS)


def test_a_drained_node_is_no_failure() -> None:
    assert removal_failure(drain()) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "n1 still runs jobs 7 after 3 s. The drain of this run was taken back."),
        ({"keep_drained": True}, "It stays drained: slurmscale: scale down."),
        ({"check_mode": True}, "It stays drained: slurmscale: scale down."),
    ],
)
def test_a_busy_node_is_kept_and_told_whether_it_stays_drained(options: dict[str, bool], words: str) -> None:
    failure = removal_failure(BUSY, **options)
    assert failure is not None
    assert failure["code"] == "node-runs-jobs"
    assert words in failure["reason"]
    assert "jobs=requeue" in failure["remedy"]


def test_the_drain_of_somebody_else_stays_and_is_told() -> None:
    failure = removal_failure({**BUSY, "changed": False, "reason": "disk is failing"})
    assert failure is not None
    assert failure["reason"].endswith("It stays drained: disk is failing.")


def test_what_the_drain_itself_reports_is_passed_on() -> None:
    reported = {"code": "node-not-responding", "reason": "n1 is silent.", "remedy": "See why."}
    failure = removal_failure({**BUSY, "failure": reported})
    assert failure is not None
    assert failure["code"] == "node-not-responding"
    assert failure["reason"] == "n1 is silent. The drain of this run was taken back."
    assert failure["remedy"] == "See why."


def test_pending_jobs_that_ask_for_a_node_keep_it_and_the_remedy_names_our_options() -> None:
    asked = {"code": "node-requested-by-jobs", "reason": "n1 is asked for by the pending jobs 8.", "remedy": "scontrol"}
    failure = removal_failure({**BUSY, "failure": asked})
    assert failure is not None
    assert failure["code"] == "node-requested-by-jobs"
    assert "jobs=cancel" in failure["remedy"]


def test_static_nodes_leave_in_one_step_and_kept_ones_are_resumed() -> None:
    hosts: list[dict[str, Any]] = [
        {"inventory_hostname": f"{name}.example", "slurmd_node_name": name} for name in ("n1", "n2", "n3", "n4", "n5")
    ]
    failed = {"code": "node-runs-jobs", "reason": "r", "remedy": ""}
    hosts[2]["scale_failure"] = hosts[3]["scale_failure"] = failed
    known = {host["slurmd_node_name"]: {"dynamic": host["slurmd_node_name"] == "n2"} for host in hosts}
    drained = {"n1": drain(), "n2": drain(), "n3": BUSY, "n4": {**BUSY, "changed": False}, "n5": drain(jobs=["9"])}
    assert removal_plan(hosts, drained, known) == {
        "static": [{"name": "n1", "params": {}}],
        "hosts": ["n1.example"],
        "drained": ["n3"],
    }


def test_without_a_drain_nothing_is_resumed() -> None:
    hosts = [{"inventory_hostname": "n1", "slurmd_node_name": "n1", "scale_failure": {"code": "task-failed"}}]
    assert removal_plan(hosts, {}, {"n1": {"dynamic": False}}) == {"static": [], "hosts": [], "drained": []}


@pytest.mark.parametrize(
    ("host", "arguments", "result", "message"),
    [
        ({}, {"left": True}, "removed", "is out of the cluster; slurmd is stopped"),
        ({}, {"left": True, "uninstall": True}, "removed", "is out of the cluster; nothing of Slurm is left there"),
        (
            {"scale_unreachable": AWAY},
            {"left": True},
            "removed",
            "is out of the cluster; can not be reached, so nothing was stopped or uninstalled there",
        ),
        ({}, {"left": False}, "unchanged", "is not in the cluster"),
        ({"slurmd_stopped": {"changed": True}}, {"left": False}, "done", "is not in the cluster; slurmd is stopped"),
        ({}, {"left": True, "check_mode": True}, "planned", "would be removed; drained"),
    ],
)
def test_the_result_of_a_node_that_left(
    host: dict[str, Any], arguments: dict[str, bool], result: str, message: str
) -> None:
    assert removal_result("n1", {"n1": host}, drain(), **arguments) == {"result": result, "message": message}


def test_jobs_and_drains_of_others_are_told_with_the_result() -> None:
    planned = removal_result("n1", {}, drain(jobs=["7", "8"]), left=True, check_mode=True)
    assert planned["message"] == "would be removed; runs jobs 7,8 now"
    foreign = drain(reason="disk is failing", message="was IDLE+DRAIN by root with reason 'disk is failing'")
    assert "with reason 'disk is failing'" in removal_result("n1", {}, foreign, left=True)["message"]


def test_pending_jobs_that_asked_for_a_removed_node_are_told() -> None:
    message = removal_result("n1", {}, drain(requested_by=["8", "9"]), left=True)["message"]
    assert message.endswith("the pending jobs 8,9 asked for it by name and fail")
