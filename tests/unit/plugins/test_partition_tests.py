"""On which node a partition is tested, and what is told of the test jobs."""

from __future__ import annotations

from typing import Any

from ansible_collections.ai_infra.slurm.plugins.filter.partition_results import partition_results
from ansible_collections.ai_infra.slurm.plugins.filter.partition_tests import partition_tests


def registered(state: str, partitions: list[str]) -> dict[str, Any]:
    return {"state": state.split("+"), "partitions": partitions}


def test_a_test_job_goes_to_an_idle_node_and_a_partition_without_any_says_why() -> None:
    nodes = {
        "n07": registered("ALLOCATED", ["batch", "full"]),
        "n08": registered("IDLE+DRAIN", ["batch", "out"]),
        "n09": registered("IDLE", ["batch", "down"]),
    }
    partitions = {name: {"state": "UP"} for name in ("batch", "full", "out", "empty")} | {"down": {"state": "DOWN"}}
    tests = {one["partition"]: one for one in partition_tests({"nodes": nodes, "partitions": partitions})}
    assert (tests["batch"]["node"], tests["batch"]["busy"]) == ("n09", False)
    assert (tests["full"]["node"], tests["full"]["busy"]) == ("n07", True)
    assert "n08 IDLE+DRAIN" in tests["out"]["message"]
    assert "it has none" in tests["empty"]["message"]
    assert tests["down"]["message"] == "the partition is DOWN"


def test_what_test_jobs_said_is_shown() -> None:
    tests = [
        {"partition": "batch", "node": "n07", "busy": False, "message": ""},
        {"partition": "out", "node": "", "busy": False, "message": "no node of it takes jobs"},
    ]
    job = {"ok": True, "job_id": "5", "state": "COMPLETED", "message": "job 5 COMPLETED"}
    said = {"stdout": "JobId=5 JobName=x\n   Comment=n07, 2 CPUs \n   WorkDir=/\n"}
    result = partition_results(tests, [{"item": tests[0], "jobs": {"n07": job}}], [said])
    assert not result["ok"]
    assert [one["output"] for one in result["tests"]] == ["n07, 2 CPUs", ""]
    assert result["table"].splitlines()[1].split() == [
        "batch",
        "n07",
        "5",
        "job",
        "5",
        "COMPLETED",
        "n07,",
        "2",
        "CPUs",
    ]
