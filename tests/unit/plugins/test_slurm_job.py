"""slurm_job: whole runs against a fake controller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import verify_jobs
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.verify_connections import choose_pairs
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import jobs
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakes.slurmctld import Clock, FakeSlurmctld

    Runner = Callable[..., dict[str, Any]]


@pytest.fixture
def verify(run_module: Runner, slurm: FakeSlurmctld, clock: Clock) -> Runner:
    del slurm, clock  # they only have to be in place

    def run(**options: Any) -> dict[str, Any]:
        return run_module(slurm_job, **options)

    return run


def end_jobs(slurm: FakeSlurmctld, state: str = "COMPLETED", exit_code: str = "0:0", reason: str = "None") -> None:
    for job in slurm.jobs.values():
        if job["state"] == "RUNNING":
            job.update(state=state, exit_code=exit_code, reason=reason)


def test_one_job_per_node_followed_in_one_call_per_check(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    for name in ("n1", "n2", "n3"):
        slurm.node(name)
    clock.at(3, lambda: end_jobs(slurm))
    result = verify(nodes=["n[1-3]"], interval=1)
    assert result["jobs"]["n1"] == {
        "ok": True,
        "job_id": "101",
        "state": "COMPLETED",
        "exit_code": "0:0",
        "message": "job 101 COMPLETED",
        "failure": None,
        "seconds": 3.1,
    }
    assert (result["failed_nodes"], result["changed"]) == ([], False)
    assert len(slurm.called("sbatch")) == 3
    calls = [call for call in slurm.called("squeue") if "--jobs=101,102,103" in call]
    # At 0, 0.1, 0.25, 0.5, 0.8, 1.3, 2.1 and 3.1 s.
    assert len(calls) == 8
    assert slurm.called("scancel") == []


def test_the_job_leaves_no_file_and_goes_to_its_node(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    clock.at(1, lambda: end_jobs(slurm))
    verify(nodes=["n1"], user="alice", account="physics", qos="high", time_limit=5, command="true", timeout=60)
    call = slurm.called("sbatch")[0]
    for argument in (
        *("--parsable", "--chdir=/", "--output=/dev/null", "--error=/dev/null", "--no-requeue", "--mem=64"),
        *("--nodelist=n1", "--nodes=1", "--ntasks=1", "--partition=main", "--time=5", "--deadline=now+420"),
        *("--uid=alice", "--account=physics", "--qos=high", "--wrap=true"),
    ):
        assert argument in call


def test_node_without_stated_memory_is_asked_for_none(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1", RealMemory="1")
    clock.at(1, lambda: end_jobs(slurm))
    verify(nodes=["n1"])
    assert not any(argument.startswith("--mem") for argument in slurm.called("sbatch")[0])


def test_one_job_over_all_nodes(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1", RealMemory="4000")
    slurm.node("n2")
    clock.at(1, lambda: end_jobs(slurm))
    result = verify(nodes=["n1", "n2"], per_node=False, command="echo 'a b'")
    [call] = slurm.called("sbatch")
    assert {"--nodelist=n1,n2", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"} <= set(call)
    assert call[-1] == "--wrap=srun --mpi=none sh -c 'echo '\\''a b'\\'''"
    assert {one["job_id"] for one in result["jobs"].values()} == {"101"}
    assert result["failed_nodes"] == []


def test_no_job_over_all_nodes_when_one_is_drained(verify: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1")
    slurm.node("n2", "IDLE+DRAIN", "disk broken")
    result = verify(nodes=["n1", "n2"], per_node=False)
    assert result["failed_nodes"] == ["n1", "n2"]
    assert result["jobs"]["n2"]["message"] == "takes no jobs: IDLE+DRAIN (disk broken)"
    assert result["jobs"]["n1"]["message"] == "no job over all nodes is possible: see n2"
    assert slurm.called("sbatch") == []


def test_bad_nodes_do_not_stop_the_others(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    slurm.node("n2", "DOWN", "Not responding")
    clock.at(1, lambda: end_jobs(slurm))
    result = verify(nodes=["n1", "n2", "nope"])
    assert result["failed_nodes"] == ["n2", "nope"]
    assert result["jobs"]["n1"]["ok"] is True


def test_failed_job_tells_its_exit_code(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    clock.at(1, lambda: end_jobs(slurm, "FAILED", "7:0", "NonZeroExitCode"))
    job = verify(nodes=["n1"])["jobs"]["n1"]
    assert (job["ok"], job["state"], job["exit_code"]) == (False, "FAILED", "7:0")
    assert job["message"].startswith("job 101 FAILED (NonZeroExitCode) with exit code 7:0")
    assert job["failure"]["code"] == "job-failed"


@pytest.mark.parametrize("state", sorted(jobs.FAILURES))
def test_every_other_end_is_a_failure(state: str, verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    clock.at(1, lambda: end_jobs(slurm, state))
    assert verify(nodes=["n1"])["failed_nodes"] == ["n1"]


def send_twice(slurm: FakeSlurmctld, node: str) -> None:
    end_jobs(slurm, "CANCELLED")
    slurm.nodes[node].update(State="IDLE+DRAIN", Reason="Duplicate jobid")


def test_a_node_that_was_sent_the_job_twice_is_resumed_and_gets_another_one(
    verify: Runner, slurm: FakeSlurmctld, clock: Clock
) -> None:
    slurm.node("n1")
    slurm.node("n2", "IDLE+DRAIN", "Duplicate jobid")
    clock.at(1, lambda: send_twice(slurm, "n1"))
    clock.at(5, lambda: end_jobs(slurm))
    result = verify(nodes=["n1", "n2"], interval=1)
    assert result["jobs"]["n1"]["message"] == "job 102 COMPLETED"
    # What was drained before our job is somebody's matter.
    assert result["failed_nodes"] == ["n2"]
    assert [call for call in slurm.called("scontrol") if "update" in call] == [
        ["scontrol", "update", "NodeName=n1", "State=RESUME"]
    ]


def test_a_node_that_is_sent_each_job_twice_fails(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    clock.at(1, lambda: send_twice(slurm, "n1"))
    clock.at(5, lambda: send_twice(slurm, "n1"))
    result = verify(nodes=["n1"], interval=1)
    assert result["jobs"]["n1"]["message"] == "job 102 CANCELLED with exit code 0:0 on n1"
    assert len(slurm.called("sbatch")) == 2


def test_job_in_completing_has_not_ended(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    clock.at(1, lambda: slurm.jobs["101"].update(state="COMPLETING"))
    clock.at(5, lambda: slurm.jobs["101"].update(state="COMPLETED"))
    job = verify(nodes=["n1"])["jobs"]["n1"]
    assert (job["ok"], job["seconds"]) == (True, 5.3)


def test_waiting_job_is_cancelled_after_the_timeout_with_slurms_reason(
    verify: Runner, slurm: FakeSlurmctld, clock: Clock
) -> None:
    slurm.node("n1")
    slurm.start_jobs = False
    job = verify(nodes=["n1"], timeout=10)["jobs"]["n1"]
    assert job["message"] == "job 101 has not ended after 10 s and was cancelled: PENDING, reason Resources"
    assert (job["ok"], job["state"], job["exit_code"]) == (False, "PENDING", None)
    assert job["failure"]["code"] == "job-timed-out"
    assert slurm.called("scancel") == [["scancel", "--quiet", "101"]]
    assert clock.now == 10


# --- busy nodes ---


def test_node_that_runs_a_job_is_verified_by_it(verify: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "ALLOCATED")
    slurm.job("7", "RUNNING", "n1")
    job = verify(nodes=["n1"])["jobs"]["n1"]
    assert job["ok"] is True
    assert job["message"] == "runs jobs 7 already, so no job of ours had to run"
    assert slurm.called("sbatch") == []


def test_suspended_job_verifies_nothing(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    slurm.job("7", "SUSPENDED", "n1")
    clock.at(1, lambda: end_jobs(slurm))
    assert verify(nodes=["n1"])["jobs"]["n1"]["job_id"] == "101"


def test_busy_node_gets_a_job_all_the_same_when_told(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1", "MIXED")
    slurm.job("7", "RUNNING", "n1")
    clock.at(1, lambda: slurm.jobs["101"].update(state="COMPLETED"))
    assert verify(nodes=["n1"], accept_busy=False)["jobs"]["n1"]["job_id"] == "101"


def test_job_that_is_overtaken_by_somebody_elses_is_cancelled_and_the_node_verified(
    verify: Runner, slurm: FakeSlurmctld, clock: Clock
) -> None:
    slurm.node("n1")
    slurm.start_jobs = False
    clock.at(3, lambda: slurm.job("7", "RUNNING", "n1"))
    job = verify(nodes=["n1"])["jobs"]["n1"]
    assert job["ok"]
    assert 3 <= clock.now < 3.5
    assert slurm.jobs["101"]["state"] == "CANCELLED"


# --- Slurm away, job gone ---


def test_job_that_left_the_queue_is_found_in_the_accounting(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")

    def leave() -> None:
        slurm.jobs.clear()
        slurm.accounting = "101|CANCELLED by 0|0:15|n1\n"

    clock.at(2, leave)
    job = verify(nodes=["n1"])["jobs"]["n1"]
    assert (job["ok"], job["state"], job["exit_code"]) == (False, "CANCELLED", "0:15")


def test_job_that_is_nowhere_is_a_failure(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    clock.at(2, slurm.jobs.clear)
    job = verify(nodes=["n1"])["jobs"]["n1"]
    assert job["message"] == "job 101 left the queue and no accounting tells how it ended"
    assert job["failure"]["code"] == "job-lost"
    assert clock.now < 20


def test_restart_of_the_controller_does_not_disturb(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    clock.at(2, lambda: setattr(slurm, "up", False))
    clock.at(30, lambda: setattr(slurm, "up", True))
    clock.at(31, lambda: end_jobs(slurm))
    assert verify(nodes=["n1"])["jobs"]["n1"]["ok"] is True


def test_no_controller_at_all_fails_the_module(verify: Runner, slurm: FakeSlurmctld) -> None:
    slurm.up = False
    result = verify(nodes=["n1"])
    assert (result["failed"], result["failure"]["code"]) == (True, "controller-not-answering")


def test_refusal_is_reported_in_slurms_words(verify: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1")
    slurm.refuse_jobs = "Invalid account or account/partition combination specified"
    job = verify(nodes=["n1"])["jobs"]["n1"]
    assert job["failure"]["code"] == "job-not-submitted"
    assert job["message"] == "sbatch: error: Batch job submission failed: " + slurm.refuse_jobs


def test_empty_list_and_check_mode_submit_nothing(verify: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1")
    assert verify(nodes=[])["jobs"] == {}
    result = verify(check=True, nodes=["n1"])
    assert result["skipped"] is True
    assert result["jobs"]["n1"]["ok"] is True
    assert slurm.called("sbatch") == []


# --- partition ---


def partition(state: str = "UP", *, default: bool = False) -> dict[str, Any]:
    return {"state": state, "default": default, "nodes": "ALL", "total_nodes": 1}


def test_default_partition_is_preferred_to_others() -> None:
    partitions = {"all": partition(), "batch": partition(default=True)}
    assert verify_jobs.choose_partition([{"partitions": ["all", "batch"]}], partitions) == "batch"


def test_partition_must_be_up_and_have_all_nodes() -> None:
    partitions = {"down": partition("DOWN", default=True), "gpu": partition(), "all": partition()}
    nodes = [{"partitions": ["down", "gpu", "all"]}, {"partitions": ["down", "all"]}]
    assert verify_jobs.choose_partition(nodes, partitions) == "all"


def test_no_partition_that_is_up_names_what_there_is() -> None:
    with pytest.raises(verify_jobs.PartitionError, match=r"only in: drained \(DRAIN\)"):
        verify_jobs.choose_partition([{"partitions": ["drained"]}], {"drained": partition("DRAIN")})


def test_node_without_partition_fails_alone(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1", Partitions="")
    slurm.node("n2")
    clock.at(1, lambda: end_jobs(slurm))
    result = verify(nodes=["n1", "n2"])
    assert result["failed_nodes"] == ["n1"]
    assert "in no partition that is UP" in result["jobs"]["n1"]["message"]
    assert result["jobs"]["n1"]["failure"]["code"] == "partition-unavailable"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", ""),
        ("allocation failure: Requested node configuration is not available", ""),
        ("allocation failure: Invalid account or account/partition combination specified", "Invalid account or"),
        ("allocation failure: User's group not permitted to use this partition", "not permitted"),
    ],
)
def test_rules_are_asked_for_without_a_job(verify: Runner, slurm: FakeSlurmctld, said: str, reason: str) -> None:
    slurm.refuse_jobs = said
    result = verify(nodes=[], test_only=True, account="ops", check=True)
    assert slurm.called("sbatch")[0][1:] == [
        "--test-only", "--chdir=/", "--account=ops", "--partition=main", "--time=2", "--wrap=true",
    ]  # fmt: skip
    assert bool(result.get("failed")) == bool(reason)
    assert reason in (result["failure"]["reason"] if reason else "")
    assert not slurm.jobs


@pytest.mark.parametrize(
    ("rules", "options", "reason"),
    [
        ("AllowAccounts=physics", {}, "main does not take the account root (AllowAccounts=physics)"),
        ("AllowAccounts=physics", {"user": "alice"}, ""),
        ("AllowAccounts=physics", {"account": "Optics"}, ""),
        ("AllowAccounts=physics,root DenyAccounts=root", {}, ""),
        ("DenyAccounts=physics", {"user": "alice", "account": "physics"}, "(DenyAccounts=physics)"),
        ("DenyAccounts=physics", {}, ""),
        ("AllowQos=high", {}, ""),
        ("AllowQos=high,low", {"qos": "normal"}, "main does not take the QOS normal (AllowQos=high,low)"),
        ("AllowQos=high,low", {"qos": "high", "partition": "main"}, ""),
        ("AllowAccounts=ALL AllowQos=ALL", {"qos": "normal"}, ""),
    ],
)
def test_jobs_that_a_partition_would_let_wait_for_ever_are_refused(
    verify: Runner, slurm: FakeSlurmctld, rules: str, options: dict[str, str], reason: str
) -> None:
    slurm.enforced = "associations,limits,qos"
    slurm.partitions["main"]["rules"] = rules
    result = verify(nodes=[], test_only=True, **options)
    assert bool(result.get("failed")) == bool(reason), result
    assert reason in (result["failure"]["reason"] if reason else "")
    slurm.enforced = "none"
    assert not verify(nodes=[], test_only=True, **options).get("failed")


def test_root_is_asked_for_by_the_configuration(verify: Runner, slurm: FakeSlurmctld) -> None:
    slurm.disable_root_jobs = True
    assert "DisableRootJobs" in verify(nodes=[], test_only=True)["failure"]["reason"]
    assert "failed" not in verify(nodes=[], test_only=True, user="ops")


def test_new_nodes_and_an_old_one_run_a_job_together(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    for name in ("busy", "n1", "n2", "n3", "old"):
        slurm.node(name, "MIXED" if name == "busy" else "IDLE")
    clock.at(1, lambda: end_jobs(slurm))
    clock.at(3, lambda: end_jobs(slurm))
    result = verify(nodes=["n[1-3]"], connect=["n1", "n2", "n3"])
    assert [one["nodes"] for one in result["connections"]] == [["n1", "old"], ["n2", "n3"]]
    assert all(one["ok"] for one in result["connections"])
    assert [call[-1] for call in slurm.called("sbatch")[3:]] == ["--wrap=srun --mpi=none sh -c 'uname -n'"] * 2
    assert (result["failed_nodes"], result["jobs"]["n1"]["message"]) == ([], "job 101 COMPLETED")


def test_they_are_submitted_at_once_with_the_jobs_of_single_nodes(
    verify: Runner, slurm: FakeSlurmctld, clock: Clock
) -> None:
    for name in ("n1", "n2", "n3"):
        slurm.node(name)
    clock.at(1, lambda: end_jobs(slurm))
    result = verify(nodes=["n[1-3]"], connect=["n1", "n2", "n3"])
    assert [(one["nodes"], one["ok"]) for one in result["connections"]] == [(["n1", "n2", "n3"], True)]
    assert clock.now < 2


def test_they_are_no_jobs_of_others_while_a_node_waits_for_its_own(
    verify: Runner, slurm: FakeSlurmctld, clock: Clock
) -> None:
    for name in ("n1", "n2"):
        slurm.node(name)
    clock.at(0.2, lambda: slurm.jobs["101"].update(state="PENDING"))
    clock.at(1, lambda: end_jobs(slurm))
    clock.at(2, lambda: slurm.jobs["101"].update(state="RUNNING"))
    clock.at(3, lambda: end_jobs(slurm))
    result = verify(nodes=["n[1-2]"], connect=["n1", "n2"])
    assert result["jobs"]["n1"]["message"] == "job 101 COMPLETED"


def test_a_node_that_fails_by_itself_is_not_counted_against_those_of_its_joint_job(
    verify: Runner, slurm: FakeSlurmctld, clock: Clock
) -> None:
    for name in ("n1", "n2", "n3", "old"):
        slurm.node(name)

    def end_and_fail_n2() -> None:
        slurm.jobs["102"].update(state="FAILED", exit_code="1:0")
        slurm.jobs["101"].update(state="COMPLETED")
        slurm.jobs["103"].update(state="COMPLETED")

    clock.at(1, end_and_fail_n2)
    clock.at(3, lambda: end_jobs(slurm))
    clock.at(5, lambda: end_jobs(slurm))
    result = verify(nodes=["n[1-3]"], connect=["n1", "n2", "n3"])
    assert result["failed_nodes"] == ["n2"]
    assert result["jobs"]["n2"]["failure"]["code"] == "job-failed"
    # n1 with old, n2 with n3; then n3, whose partner failed, with the one that is idle.
    assert [(one["nodes"], one["ok"]) for one in result["connections"]] == [(["n1", "old"], True), (["n3", "n1"], True)]
    assert slurm.called("scancel") == [["scancel", "--quiet", "105"]]


def test_nodes_that_do_not_reach_each_other_fail(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    for name in ("n1", "n2", "old"):
        slurm.node(name)

    def end_and_fail_what_is_joint() -> None:
        slurm.jobs["103"].update(state="FAILED", exit_code="1:0")
        end_jobs(slurm)

    clock.at(1, end_and_fail_what_is_joint)
    result = verify(nodes=["n1", "n2"], connect=["n1"])
    assert result["failed_nodes"] == ["n1"]
    assert result["jobs"]["n1"]["failure"]["code"] == "nodes-not-connected"
    assert result["jobs"]["n1"]["failure"]["reason"].startswith("An srun over n1 and n2 failed: job 103 FAILED")


def test_a_job_over_nodes_that_finds_no_room_blames_nobody(verify: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    for name in ("n1", "n2"):
        slurm.node(name)

    clock.at(0.05, lambda: slurm.jobs["103"].update(state="PENDING", reason="Resources"))
    clock.at(1, lambda: end_jobs(slurm))
    result = verify(nodes=["n1", "n2"], connect=["n1", "n2"])
    assert [(one["nodes"], one["ok"]) for one in result["connections"]] == [(["n1", "n2"], None)]
    assert result["failed_nodes"] == []
    assert slurm.called("scancel")


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (["n1"], [], []),
        (["n1"], ["a"], [["n1", "a"]]),
        (["n1", "n2"], [], [["n1", "n2"]]),
        (["n1", "n2"], ["a"], [["n1", "a", "n2"]]),
        (["n1", "n2", "n3"], [], [["n1", "n2", "n3"]]),
        (["n1", "n2", "n3"], ["a"], [["n1", "a"], ["n2", "n3"]]),
        (["n1", "x1"], ["x2"], [["x1", "x2"]]),
    ],
)
def test_each_node_is_in_one_job_with_nodes_of_its_partition(
    new: list[str], old: list[str], expected: list[list[str]]
) -> None:
    nodes = {name: {"state": ["IDLE"], "partitions": ["x" if name[0] == "x" else "main"]} for name in [*new, *old]}
    partitions = {name: {"state": "UP", "default": False} for name in ("x", "main")}
    assert choose_pairs(new, nodes, partitions) == expected
