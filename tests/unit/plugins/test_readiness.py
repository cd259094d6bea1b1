"""What a machine is told that may become a compute node, about its network and in the report."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.readiness import readiness
from ansible_collections.ai_infra.slurm.plugins.filter.readiness_report import readiness_report

URL = "http://apphub:8081/healthz"
CLUSTER = {"version": "24.11.5", "users": {}, "addresses": {"hostname": "ctl1"}}
OPEN = {"state": "open", "message": "it answers"}
REFUSED = {"state": "refused", "message": "nothing listens"}
FILTERED = {"state": "filtered", "message": "no answer within 4 s"}


def machine(**network: Any) -> dict[str, Any]:
    return {
        "os": {"supported": True, "pretty": "Rocky Linux 9.4", "id": "rocky"},
        "uid": 0,
        "hostname": "n07.example.org",
        "hardware": {"cpus": 4, "real_memory": 8000},
        "python": "3.9.18",
        "slurm_version": None,
        "disks": {"/var": 5000},
        "services": {"slurmd": {"active": None}},
        "network": {
            "urls": {URL: {"ok": True, "message": "HTTP 200"}},
            "resolve": {"ctl1": ["10.0.0.2"]},
            "connect": {"ctl1:6817": OPEN},
            **network,
        },
    }


def seen(addresses: list[str], port: dict[str, str]) -> dict[str, Any]:
    return {"name": "n07", "network": {"resolve": {"n07": addresses}, "connect": {"n07:6818": port}}}


def failed(node: dict[str, Any], reach: dict[str, Any] | None = None) -> dict[str, str]:
    entries = readiness(node, CLUSTER, reach=reach or seen(["10.0.0.7"], REFUSED))
    return {entry["check"]: f"{entry['found']}; {entry['remedy']}" for entry in entries if not entry["ok"]}


def test_a_machine_that_is_found_and_reached_both_ways_is_ready() -> None:
    assert failed(machine()) == {}


@pytest.mark.parametrize(
    ("network", "check", "words"),
    [
        ({"urls": {URL: {"ok": False, "message": "timed out"}}}, "AppHub", "timed out; Open the way"),
        ({"resolve": {"ctl1": []}}, "name of ctl1", "none; Put ctl1"),
        ({"resolve": {"ctl1": ["127.0.1.1"]}}, "name of ctl1", "127.0.1.1; Put ctl1"),
        ({"connect": {"ctl1:6817": FILTERED}}, "port ctl1:6817", "filtered: no answer"),
    ],
)
def test_what_the_node_cannot_reach_is_named(network: dict[str, Any], check: str, words: str) -> None:
    found = failed(machine(**network))
    assert list(found) == [check]
    assert words in found[check]


@pytest.mark.parametrize(
    ("reach", "check"),
    [
        (seen([], REFUSED), "name on the controller"),
        (seen(["127.0.1.1"], REFUSED), "name on the controller"),
        (seen(["10.0.0.7"], FILTERED), "port n07:6818"),
    ],
)
def test_what_the_controller_cannot_reach_is_named(reach: dict[str, Any], check: str) -> None:
    assert list(failed(machine(), reach)) == [check]


def test_a_refused_port_is_a_fault_only_where_slurmd_runs() -> None:
    node = {**machine(), "services": {"slurmd": {"active": "active"}}}
    assert "journalctl -u slurmd" in failed(node)["port n07:6818"]
    assert failed(node, seen(["10.0.0.7"], OPEN)) == {}


def test_a_node_that_works_needs_no_look_from_the_controller() -> None:
    assert failed(machine(), {"name": "n07", "state": "IDLE", "network": {}}) == {}


def test_the_controller_may_be_a_node_itself() -> None:
    node = {**machine(resolve={"ctl1": ["127.0.1.1"]}), "hostname": "ctl1"}
    assert failed(node, {"name": "ctl1", "own": True, "network": {"resolve": {"ctl1": ["127.0.1.1"]}}}) == {}


def test_a_controller_that_cannot_be_asked_makes_no_machine_ready() -> None:
    found = failed(machine(), {"name": "n07", "network": {}, "problem": "Connection refused"})
    assert list(found) == ["seen by the controller"]
    assert "Connection refused" in found["seen by the controller"]


def test_a_machine_without_a_name_is_refused() -> None:
    assert "hostnamectl" in failed({**machine(), "hostname": "localhost"})["host name"]


def test_too_little_memory_and_no_cpus_are_refused() -> None:
    assert list(failed({**machine(), "hardware": {"cpus": None, "real_memory": 100}})) == ["CPUs", "memory"]


def test_the_report_has_a_reason_and_a_remedy_for_every_machine_that_is_not_ready() -> None:
    hostvars = {
        "n07": {"preflight_node": machine(), "preflight_readiness": readiness(machine(), CLUSTER)},
        "n08": {"check_failure": {"reason": "10.0.0.8 can't be reached: python of sshd is gone"}},
        "n09": {"check_failure": {"reason": "Task failed: Missing sudo password"}},
        "n10": {"check_failure": {"reason": "The module interpreter '/usr/bin/python3' was not found."}},
        "n11": {},
        "n12": {
            "preflight_node": machine(),
            "preflight_readiness": [],
            "check_failure": {"reason": "n12: CPUs=65 is stated"},
        },
    }
    report = readiness_report(list(hostvars), hostvars)
    assert not report["ready"]
    reasons = {name: node["reason"].split(":")[0] for name, node in report["nodes"].items()}
    assert reasons == {
        "n07": "",
        "n08": "reachable",
        "n09": "privileges",
        "n10": "Python",
        "n11": "reachable",
        "n12": "definition",
    }
    assert all(node["ready"] or node["remedy"] for node in report["nodes"].values())
    lines = report["table"].splitlines()
    assert lines[0].split() == ["NODE", "READY", "SYSTEM", "SLURM", "CPUS", "MEMORY", "FREE"]
    assert lines[1].split() == ["n07", "yes", "Rocky", "Linux", "9.4", "-", "4", "8000", "MB", "/var", "5000", "MB"]
    assert lines[-1] == "1 of 6 nodes are ready."


def test_what_concerns_all_machines_makes_none_of_them_ready() -> None:
    hostvars = {"n07": {"preflight_node": machine(), "preflight_readiness": []}}
    common = [{"check": "controller", "ok": False, "needed": "an answer", "found": "none", "remedy": "Start it."}]
    report = readiness_report(["n07"], hostvars, common)
    assert report["nodes"]["n07"]["reason"] == "controller: needed an answer, found none"
