"""What counts as wrong with a cluster, what is fixed, and what is left to a person."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.cluster_findings import cluster_findings
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import RECONFIGURES_NODES

KEY = "/etc/munge/munge.key"
CACHE = "/var/spool/slurmd/conf-cache"
SERVICE = {"load": "loaded", "active": "active", "enabled": "enabled", "result": "success"}


def file(sha256: str = "aa", mode: str = "0400", owner: str = "munge", kind: str = "file") -> dict[str, Any]:
    return {"exists": True, "kind": kind, "sha256": sha256, "mode": mode, "owner": owner, "group": owner}


def machine(**changes: Any) -> dict[str, Any]:
    node = {
        "os": {"id": "rocky", "family": "RedHat"},
        "services": {"munge": SERVICE, "slurmd": SERVICE, "slurmctld": SERVICE},
        "files": {
            KEY: file(),
            "/etc/munge": file(mode="0700", kind="directory"),
            f"{CACHE}/slurm.conf": file("c1", "0644", "root"),
            f"{CACHE}/slurmscale-nodes.conf": file("c2", "0644", "root"),
        },
        "slurm_version": "24.11.5",
        "slurmd_args": ["/usr/sbin/slurmd", "--systemd", "--conf-server", "ctl1:6817"],
        "munge_credential": "MUNGE:x:",
        "steps": [],
        "time": 1000.0,
        "control_time": 1000.0,
        "users": {},
        "disks": {"/var": 5000},
    }
    return {**node, **changes}


def files(**changes: dict[str, Any] | None) -> dict[str, Any]:
    names = {"key": KEY, "directory": "/etc/munge", "conf": f"{CACHE}/slurm.conf"}
    found = dict(machine()["files"])
    found.update({names[name]: change or {"exists": False} for name, change in changes.items()})
    return found


def registered(state: str = "IDLE", **changes: Any) -> dict[str, Any]:
    node = {"state": state.split("+"), "reason": "", "reason_user": "", "partitions": ["batch"], "cpus": 2}
    return {
        **node,
        "real_memory": 1000,
        "defined_in": "/etc/slurm/slurmscale-nodes.conf line 3",
        "managed": True,
        **changes,
    }


def cluster(**changes: Any) -> dict[str, Any]:
    known = {
        "answering": True,
        "version": "24.11.5",
        "configless": True,
        "config": {"StateSaveLocation": "/var/spool/slurmctld", "HASH_VAL": "Match"},
        "slurm_user": "slurm",
        "nodes": {"n07": registered()},
        "partitions": {"batch": {"state": "UP"}},
        "files": {
            "slurm.conf": {"sha256": "c1"},
            "slurmscale-nodes.conf": {"sha256": "c2"},
            "cgroup.conf": {"sha256": "c3"},
        },
        "munge_key": {"sha256": "aa"},
        "users": {},
        "time": 1000.0,
        "control_time": 1000.0,
    }
    return {**known, **changes}


def found(
    node: dict[str, Any] | None = None,
    controller: dict[str, Any] | None = None,
    known: dict[str, Any] | None = None,
    **facts: Any,
) -> dict[str, dict[str, Any]]:
    hostvars = {
        "ctl1": {
            "preflight_node": machine() if controller is None else controller,
            "preflight_cluster": cluster() if known is None else known,
            "repair_jobs": ["12"],
            "repair_credentials": {"n07": {"ok": True, "message": "Success", "failure": None}},
            "repair_failure": {},
        },
        "n07": {
            "inventory_hostname": "n07",
            "preflight_node": machine() if node is None else node,
            "slurmd_node_name": "n07",
            "repair_conf_dir": CACHE,
            "repair_failure": {},
            "slurmd_options": "--conf-server ctl1:6817",
            "slurmd_outdated": [],
            "slurmd_plan": {"definition": {"name": "n07", "params": {"CPUs": 2, "RealMemory": 1000}}},
            **facts,
        },
    }
    return {f"{one['host']} {one['check']}": one for one in cluster_findings(["n07"], hostvars, "ctl1")}


def test_nothing_is_wrong_with_a_healthy_cluster() -> None:
    assert found() == {}


def test_nothing_is_told_of_a_machine_that_was_not_asked() -> None:
    assert found(node={}, controller={}) == {}
    assert found(node={"skipped": True}, controller={"skipped": True}) == {}


DOWN = {"services": {"munge": {**SERVICE, "active": "failed"}, "slurmd": SERVICE}}
NOT_ENABLED = {"services": {"munge": SERVICE, "slurmd": {**SERVICE, "enabled": "disabled"}}}
MISSING = {"services": {"munge": SERVICE, "slurmd": {"load": "not-found"}}}
WRITABLE = {"files": files(directory=file(mode="0770", kind="directory"))}
OWNED_BY_ROOT = {"files": files(directory=file(mode="0700", owner="root", kind="directory"))}
LEFT_OVER = {"steps": [{"pid": 4, "job": "99", "step": "batch", "seconds": 61}]}


@pytest.mark.parametrize(
    ("changes", "check", "code", "words", "fix"),
    [
        (DOWN, "service munge", "service-down", "failed", ["munge"]),
        (NOT_ENABLED, "slurmd at boot", "service-not-enabled", "disabled", ["slurmd"]),
        (MISSING, "service slurmd", "service-missing", "no such unit", []),
        ({"files": files(key=file("bb"))}, "munge key", "munge-key-differs", "fingerprint bb", ["munge-key"]),
        ({"files": files(key=None)}, "munge key", "munge-key-missing", "is missing", ["munge-key"]),
        (
            {"files": files(key=file(mode="0440"))},
            "munge key's permissions",
            "permissions-wrong",
            "0440 munge:munge",
            ["permissions"],
        ),
        (WRITABLE, "permissions of /etc/munge", "permissions-wrong", "0770", ["permissions"]),
        (OWNED_BY_ROOT, "permissions of /etc/munge", "permissions-wrong", "root:", ["permissions"]),
        (
            {"files": files(conf=file("old", "0644", "root"))},
            "configuration",
            "configuration-differs",
            "slurm.conf in",
            ["restart"],
        ),
        ({"files": files(conf=None)}, "configuration", "configuration-differs", "slurm.conf in", ["restart"]),
        ({"slurmd_args": ["slurmd", "-D"]}, "slurmd's arguments", "slurmd-options-differ", "-D", ["restart"]),
        (LEFT_OVER, "leftover slurmstepd", "step-left-over", "99.batch", ["leftover-step"]),
    ],
)
def test_what_is_wrong_with_a_node_is_found(
    changes: dict[str, Any], check: str, code: str, words: str, fix: list[str]
) -> None:
    problems = found(machine(**changes))
    assert list(problems) == [f"n07 {check}"]
    problem = problems[f"n07 {check}"]
    assert words in problem["found"]
    assert words in problem["reason"]
    assert (problem["code"], problem["fix"]) == (code, fix)
    assert problem["remedy"]


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"slurm_version": "25.05.0"}, "Slurm version", "25.05.0"),
        ({"time": 4600.0}, "clock", "+3600 s"),
        ({"disks": {"/var": 1}}, "space in /var", "1 MB"),
    ],
)
def test_what_only_a_person_can_correct_is_found_and_not_fixed(changes: dict[str, Any], check: str, words: str) -> None:
    (problem,) = found(machine(**changes)).values()
    assert problem["check"] == check
    assert words in problem["reason"]
    assert problem["fix"] == []
    assert problem["remedy"]


@pytest.mark.parametrize(
    "step", [{"pid": 4, "job": "12", "step": "0", "seconds": 9000}, {"pid": 4, "job": "99", "step": "0", "seconds": 5}]
)
def test_a_step_of_a_known_job_and_one_that_just_began_are_left_alone(step: dict[str, Any]) -> None:
    assert found(machine(steps=[step])) == {}


def test_a_node_with_its_own_files_is_compared_with_the_controllers() -> None:
    own = {
        f"/etc/slurm/{name}": file(sha, "0644", "root") for name, sha in [("slurm.conf", "c1"), ("cgroup.conf", "own")]
    }
    problems = found(machine(files={KEY: file(), **own}), known=cluster(configless=False), repair_conf_dir="/etc/slurm")
    assert problems["n07 configuration"]["found"] == "slurmscale-nodes.conf in /etc/slurm differ"
    assert problems["n07 configuration"]["fix"] == ["conf-files"]


LOW = {"reason": "Low RealMemory (x)"}
INVALID = "IDLE+DRAIN+INVALID_REG"
BY_ROOT = {"reason": "bad disk", "reason_user": "root"}
REDEFINE = ["definition", "restart", "undrain", "resume"]


@pytest.mark.parametrize(
    ("node", "code", "fix", "words"),
    [
        (registered("IDLE+DRAIN", **BY_ROOT), "node-held-by-others", [], "reason 'bad disk' by root"),
        (registered("DOWN", **BY_ROOT), "node-held-by-others", [], "bad disk"),
        (registered("IDLE+DRAIN", reason="slurmscale: upgrade"), "node-drained-by-slurmscale", ["resume"], "upgrade"),
        (registered("DOWN", reason="slurmscale: scale down"), "node-drained-by-slurmscale", ["resume"], "scale down"),
        (registered("DOWN+NOT_RESPONDING", reason="Not responding"), "node-not-responding", ["resume"], "Not resp"),
        (registered("UNKNOWN+NOT_RESPONDING"), "node-not-responding", ["resume"], "UNKNOWN"),
        (
            registered("IDLE+DRAIN", **LOW, reason_user="slurm"),
            "node-drained-by-slurm",
            ["undrain", "resume"],
            "Low",
        ),
        (registered("IDLE+DRAIN", **LOW, reason_user="root"), "node-held-by-others", [], "Low"),
        (registered(INVALID, real_memory=9000), "node-invalid", REDEFINE, "9000 > 1000"),
        (registered(INVALID), "node-invalid", REDEFINE[1:], "INVALID_REG"),
        (
            registered("INVAL", cpus=8, defined_in="/etc/slurm/slurm.conf line 9", managed=False),
            "node-invalid",
            [],
            "CPUs 8 > 2",
        ),
    ],
)
def test_slurms_own_view_of_a_node_is_told_with_its_reason(
    node: dict[str, Any], code: str, fix: list[str], words: str
) -> None:
    problem = found(known=cluster(nodes={"n07": node}))["n07 state"]
    assert (problem["code"], problem["fix"]) == (code, fix)
    assert problem["note"] == (code == "node-held-by-others")
    assert words in problem["reason"]
    if not fix:
        assert "n07" in problem["remedy"]


def test_a_node_that_was_not_selected_is_told_and_not_fixed() -> None:
    known = cluster(nodes={"n07": registered(), "old1": registered("DOWN", reason="Not responding")})
    problem = found(known=known)["old1 state"]
    assert problem["fix"] == []
    assert "name it in nodes" in problem["remedy"]


def test_a_node_that_is_not_registered_any_more_is_told_and_nothing_is_fixed_on_it() -> None:
    stopped = {"munge": {**SERVICE, "active": "inactive"}, "slurmd": {**SERVICE, "active": "inactive"}}
    left = machine(services=stopped, files=files(key=file("bb")))
    problems = found(left, known=cluster(nodes={}))
    assert [(key, one["fix"]) for key, one in problems.items()] == [
        ("n07 node", []), ("n07 service munge", []), ("n07 service slurmd", []), ("n07 munge key", []),
    ]  # fmt: skip
    assert problems["n07 node"]["code"] == "node-not-registered"
    assert all(one["remedy"] and "fix " not in one["remedy"] for one in problems.values())
    # of a controller that does not answer nobody knows whether it has the node
    silent = found(left, known=cluster(nodes={}, answering=False))
    assert silent["n07 service slurmd"]["fix"] == ["slurmd"]


def test_a_machine_that_does_not_answer_is_told_and_nothing_else_of_it() -> None:
    away = {"code": "host-unreachable", "reason": "10.0.0.7 does not answer.", "remedy": "Start it."}
    assert [(key, one["code"], one["fix"]) for key, one in found(repair_failure=away).items()] == [
        ("n07 reachable", "host-unreachable", [])
    ]
    wrong = {"code": "task-failed", "reason": "CPUs=65 is stated, but the node has 64", "remedy": ""}
    (problem,) = found(repair_failure=wrong).values()
    assert (problem["check"], problem["code"]) == ("facts", "task-failed")
    assert problem["remedy"]


def member(**changes: Any) -> dict[str, Any]:
    ours = {"slurmd_running": True, "cluster_name": "lab", "controllers": ["ctl1"], "jobs": [], "job_processes": 0}
    return {**ours, "munge_running": True, "munge_users": [], **changes}


CLUSTER = {"name": "lab", "controllers": [{"host": "ctl1"}], "addresses": {"hostname": "ctl1"}}


@pytest.mark.parametrize(
    ("membership", "code", "words"),
    [
        (
            member(cluster_name="other", controllers=["elsewhere"], jobs=["7"], job_processes=1),
            "node-of-other-cluster",
            "cluster other of controller elsewhere",
        ),
        (member(cluster_name=None, controllers=[]), "node-of-other-cluster", "unknown cluster"),
        (member(munge_users=["nfs.service"]), "munge-in-use", "nfs.service"),
    ],
)
def test_a_machine_that_serves_others_is_told_and_nothing_of_it_is_fixed(
    membership: dict[str, Any], code: str, words: str
) -> None:
    theirs = machine(membership=membership, files=files(key=file("bb")), slurmd_args=["slurmd", "-D"])
    drained = registered("DOWN+NOT_RESPONDING", reason="Not responding")
    problems = found(theirs, known=cluster(**CLUSTER, nodes={"n07": drained}))
    assert {one["code"] for one in problems.values()} == {code, "node-not-responding"}
    assert all(one["fix"] == [] for one in problems.values())
    (problem,) = (one for one in problems.values() if one["code"] == code)
    assert words in problem["reason"]
    assert "never changes it" in problem["remedy"]


def test_a_node_of_ours_with_a_wrong_key_is_fixed() -> None:
    drifted = machine(membership=member(), files=files(key=file("bb")))
    assert found(drifted, known=cluster(**CLUSTER))["n07 munge key"]["fix"] == ["munge-key"]


def test_a_bare_machine_is_no_fault_and_an_unregistered_node_is() -> None:
    assert found(machine(slurm_version=None), known=cluster(nodes={}))["n07 node"]["note"]
    assert not found(known=cluster(nodes={}))["n07 node"]["note"]


REFUSED = {"code": "munge-credential-refused", "reason": "Rewound credential", "remedy": "Compare the clocks."}


def test_a_credential_counts_only_while_the_controllers_munge_runs_and_the_key_is_right() -> None:
    hostvars: dict[str, Any] = {
        "ctl1": {
            "preflight_node": machine(),
            "preflight_cluster": cluster(),
            "repair_credentials": {"n07": {"ok": False, "message": "Rewound credential", "failure": REFUSED}},
        },
        "n07": {
            "inventory_hostname": "n07",
            "preflight_node": machine(),
            "slurmd_node_name": "n07",
            "repair_conf_dir": CACHE,
        },
    }
    assert [one["check"] for one in cluster_findings(["n07"], hostvars, "ctl1")] == ["munge credential"]
    hostvars["ctl1"]["preflight_node"] = machine(
        services={"munge": {**SERVICE, "active": "failed"}, "slurmctld": SERVICE}
    )
    assert [one["check"] for one in cluster_findings(["n07"], hostvars, "ctl1")] == ["service munge"]


@pytest.mark.parametrize(
    ("controller", "known", "check", "fix"),
    [
        (machine(files=files(key=None)), cluster(), "munge key", []),
        (machine(), cluster(answering=False, message="it hangs", nodes={}), "slurmctld", []),
        (machine(), cluster(config={"HASH_VAL": "Different Ours=1 Slurmctld=2"}), "configuration", []),
        (
            machine(files={**files(), "/var/spool/slurmctld": file(mode="0700", owner="root", kind="directory")}),
            cluster(),
            "permissions of /var/spool/slurmctld",
            ["permissions"],
        ),
    ],
)
def test_what_is_wrong_with_the_controller_is_found(
    controller: dict[str, Any], known: dict[str, Any], check: str, fix: list[str]
) -> None:
    problems = found(controller=controller, known=known)
    assert problems[f"ctl1 {check}"]["fix"] == fix


def test_a_slurm_conf_that_a_configless_node_has_besides_is_found() -> None:
    own = {**machine()["files"], "/etc/slurm/slurm.conf": file("old", "0644", "root")}
    problems = found(machine(files=own))
    assert problems["n07 slurm.conf of its own"]["fix"] == ["stray-conf"]
    assert problems["n07 slurm.conf of its own"]["stray"] == "/etc/slurm/slurm.conf"
    same = {**own, "/etc/slurm/slurm.conf": file("c1", "0644", "root")}
    assert found(machine(files=same)) == {}


def test_the_unit_of_the_controller_may_be_called_otherwise() -> None:
    running = {**SERVICE, "unit": "hpc-controller"}
    services = {"munge": SERVICE, "slurmctld": {"load": "not-found"}}
    assert found(controller=machine(services=services), known=cluster(daemon=running)) == {}
    down = {**running, "active": "inactive"}
    assert found(controller=machine(services=services), known=cluster(daemon=down))["ctl1 service slurmctld"]["fix"]


def test_who_edited_slurm_conf_is_told_from_which_version_on_a_reconfigure_is_enough() -> None:
    problems = found(controller=machine(), known=cluster(config={"HASH_VAL": "Different Ours=1 Slurmctld=2"}))
    version = ".".join(f"{part:02}" for part in RECONFIGURES_NODES)
    assert f"or before Slurm {version} a restart if nodes were changed." in problems["ctl1 configuration"]["remedy"]
