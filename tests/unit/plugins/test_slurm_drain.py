"""slurm_drain: decisions on recorded states of both versions, and whole runs against a fake controller."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm_commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import jobs as slurm_jobs
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import node_states as slurm_states
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import parsers
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.node_states import Action
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_drain

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakes.slurmctld import Clock, FakeSlurmctld

    Runner = Callable[..., dict[str, Any]]

DATA = Path(__file__).parents[1] / "data"
VERSIONS = ["22.05", "24.11"]


def recorded(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


def node(state: str, reason: str = "", user: str = "root") -> dict[str, Any]:
    return {"state": parsers.parse_state(state), "reason": reason, "reason_user": user}


@pytest.fixture
def drain(run_module: Runner, slurm: FakeSlurmctld, clock: Clock) -> Runner:
    del slurm, clock  # they only have to be in place

    def run(**options: Any) -> dict[str, Any]:
        return run_module(slurm_drain, **options)

    return run


# --- decisions ---


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_nodes_are_decided_alike_on_both_versions(version: str) -> None:
    nodes = parsers.parse_nodes(recorded(f"scontrol-node-held-{version}.txt"))
    available = {name: slurm_states.decide_available(one, resume_down=True).action for name, one in nodes.items()}
    assert available == {"n1": Action.DONE, "n2": Action.REFUSE, "n3": Action.RESUME, "n4": Action.UNLIKELY}
    drained = {name: slurm_states.decide_drained(one, [], "slurmscale: x").action for name, one in nodes.items()}
    assert drained == {"n1": Action.DRAIN, "n2": Action.WAIT, "n3": Action.WAIT, "n4": Action.DRAIN}


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_queue_tells_the_jobs_of_each_node(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "squeue": recorded(f"squeue-nodes-{version}.txt"),
        "n[2-3]": "n2\nn3\n",
        "n[1,3]": "n1\nn3\n",
    }

    def run(argv: list[str], **_options: object) -> slurm_commands.CommandResult:
        return slurm_commands.CommandResult(
            tuple(argv), 0, answers[argv[0] if argv[0] == "squeue" else argv[-1]], "", 0
        )

    monkeypatch.setattr(slurm_commands, "run", run)
    jobs = slurm_jobs.jobs_on(["n1", "n2", "n4"])
    assert {name: len(ids) for name, ids in jobs.items()} == {"n1": 1, "n2": 1, "n4": 0}


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_exit_codes_are_the_same_on_both_versions(version: str) -> None:
    jobs = slurm_jobs.parse_queue(recorded(f"squeue-all-{version}.txt"))
    failed = [job for job in jobs.values() if job.reason == "NonZeroExitCode"]
    assert [(job.state, job.exit_code, job.finished) for job in failed] == [("FAILED", "3:0", True)]
    assert {job.finished for job in jobs.values() if job.state in ("PENDING", "RUNNING")} == {False}


@pytest.mark.parametrize(
    ("state", "jobs", "action"),
    [
        ("IDLE+DRAIN", [], Action.DONE),
        ("DOWN+DRAIN+NOT_RESPONDING", [], Action.DONE),
        ("MIXED+DRAIN", ["7"], Action.WAIT),
        ("IDLE+DRAIN", ["7"], Action.WAIT),
        ("ALLOCATED+DRAIN", [], Action.WAIT),
        ("IDLE+COMPLETING+DRAIN", [], Action.WAIT),
        ("UNKNOWN+DRAIN+NOT_RESPONDING", [], Action.WAIT),
        ("FUTURE+DRAIN", [], Action.WAIT),
        ("INVAL+DRAIN", [], Action.DONE),
        ("UNKNOWN+DRAIN+INVALID_REG", [], Action.DONE),
        ("IDLE+DRAIN+INVALID_REG", [], Action.DONE),
        ("INVAL+DRAIN", ["7"], Action.WAIT),
        ("MIXED+DRAIN+INVALID_REG", [], Action.WAIT),
        ("INVAL+COMPLETING+DRAIN", [], Action.WAIT),
        ("IDLE", [], Action.DRAIN),
        ("DOWN", [], Action.DRAIN),
    ],
)
def test_only_a_node_known_to_be_free_counts_as_drained(state: str, jobs: list[str], action: Action) -> None:
    assert slurm_states.decide_drained(node(state, "slurmscale: x"), jobs, "slurmscale: x").action is action


@pytest.mark.parametrize(
    ("state", "reason", "plain", "resume_down"),
    [
        ("IDLE", "", Action.DONE, Action.DONE),
        ("MIXED", "", Action.DONE, Action.DONE),
        ("ALLOCATED+PLANNED", "", Action.DONE, Action.DONE),
        ("IDLE", "disk broken", Action.DONE, Action.DONE),
        ("UNKNOWN+NOT_RESPONDING", "", Action.WAIT, Action.WAIT),
        ("IDLE+NOT_RESPONDING", "", Action.WAIT, Action.WAIT),
        ("IDLE+REBOOT_ISSUED", "", Action.WAIT, Action.WAIT),
        ("DOWN+NOT_RESPONDING", "Not responding", Action.WAIT, Action.WAIT),
        ("DOWN", "Not responding", Action.UNLIKELY, Action.RESUME),
        ("DOWN", "Node unexpectedly rebooted", Action.UNLIKELY, Action.RESUME),
        ("DOWN", "", Action.UNLIKELY, Action.RESUME),
        ("DOWN", "slurmscale: upgrade : Not responding", Action.UNLIKELY, Action.RESUME),
        ("DOWN", "disk broken : Not responding", Action.UNLIKELY, Action.UNLIKELY),
        ("DOWN", "slurmscale: upgrade", Action.RESUME, Action.RESUME),
        ("DOWN", "disk broken", Action.UNLIKELY, Action.UNLIKELY),
        ("IDLE+DRAIN", "slurmscale: upgrade", Action.RESUME, Action.RESUME),
        ("IDLE+DRAIN", "disk broken", Action.REFUSE, Action.REFUSE),
        ("IDLE+DRAIN", "", Action.REFUSE, Action.REFUSE),
        ("DOWN+DRAIN+NOT_RESPONDING", "Not responding", Action.REFUSE, Action.REFUSE),
        ("IDLE+DRAIN", "Low RealMemory (reported:1 < 100.00% of configured:2)", Action.REFUSE, Action.REFUSE),
        ("IDLE+DRAIN", "gres/gpu count reported lower than configured (0 < 2)", Action.REFUSE, Action.RESUME),
        ("IDLE+DRAIN+INVALID_REG", "gres/gpu count reported lower than configured (0 < 2)", *[Action.UNLIKELY] * 2),
        ("UNKNOWN+DRAIN+INVALID_REG", "slurmscale: x", Action.UNLIKELY, Action.UNLIKELY),
        ("IDLE+INVALID_REG", "Low RealMemory", Action.UNLIKELY, Action.UNLIKELY),
    ],
)
def test_what_is_resumed_and_what_never(state: str, reason: str, plain: Action, resume_down: Action) -> None:
    assert slurm_states.decide_available(node(state, reason), resume_down=False).action is plain
    assert slurm_states.decide_available(node(state, reason), resume_down=True).action is resume_down


def test_every_reason_we_give_is_recognised_as_ours() -> None:
    assert slurm_states.prefixed_reason("scale\ndown") == "slurmscale: scale down"
    assert slurm_states.prefixed_reason("slurmscale: upgrade") == "slurmscale: upgrade"


# --- drained ---


def test_idle_nodes_are_drained_in_one_command(drain: Runner, slurm: FakeSlurmctld) -> None:
    for name in ("n1", "n2", "n3"):
        slurm.node(name)
    result = drain(nodes=["n[1-3]"], state="drained", reason="scale down")
    assert slurm.updates() == [["NodeName=n1,n2,n3", "State=DRAIN", "Reason=slurmscale: scale down"]]
    assert result["changed"] is True
    assert result["failed_nodes"] == []
    assert result["nodes"]["n1"] == {
        "ok": True,
        "known": True,
        "state": "IDLE+DRAIN",
        "reason": "slurmscale: scale down",
        "message": "drained",
        "changed": True,
        "jobs": [],
        "requested_by": [],
        "failure": None,
    }
    assert result["diff"]["before"] == "n1 IDLE\nn2 IDLE\nn3 IDLE\n"


def test_drained_node_stays_as_it_is(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "IDLE+DRAIN", "slurmscale: scale down")
    slurm.node("n2", "IDLE+DRAIN", "disk broken")
    result = drain(nodes=["n1", "n2"], state="drained")
    assert slurm.updates() == []
    assert result["changed"] is False
    assert result["failed_nodes"] == []
    assert "root with reason 'disk broken'" in result["nodes"]["n2"]["message"]


def test_job_is_waited_for(drain: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1", "MIXED")
    slurm.job("7", "RUNNING", "n1")
    slurm.job("8", "PENDING", "n1")

    def ended() -> None:
        del slurm.jobs["7"]
        slurm.nodes["n1"]["State"] = "IDLE+DRAIN"

    clock.at(50, ended)
    result = drain(nodes=["n1"], state="drained", timeout=60)
    assert result["nodes"]["n1"]["ok"] is True
    assert 50 <= clock.now <= 53


def test_busy_node_fails_after_the_timeout_with_its_jobs_and_stays_drained(
    drain: Runner, slurm: FakeSlurmctld, clock: Clock
) -> None:
    slurm.node("n1", "MIXED")
    slurm.node("n2")
    slurm.job("7", "RUNNING", "n1")
    slurm.job("9", "SUSPENDED", "n1")
    result = drain(nodes=["n1", "n2"], state="drained", timeout=30)
    assert result["failed_nodes"] == ["n1"]
    assert result["nodes"]["n1"]["jobs"] == ["7", "9"]
    assert result["nodes"]["n1"]["message"] == "after 30 s: still runs jobs 7,9"
    assert result["nodes"]["n1"]["failure"]["code"] == "node-runs-jobs"
    assert result["nodes"]["n1"]["failure"]["reason"] == "n1 still runs jobs 7,9 after 30 s."
    assert "n1" in result["nodes"]["n1"]["failure"]["remedy"]
    assert result["nodes"]["n1"]["changed"] is True
    assert slurm.nodes["n1"]["State"] == "MIXED+DRAIN"
    assert 30 <= clock.now < 31


def test_timeout_of_zero_drains_and_checks_once(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1")
    assert drain(nodes=["n1"], state="drained", timeout=0)["nodes"]["n1"]["ok"] is True


def test_reason_of_somebody_who_set_the_node_down_outlives_our_drain(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "DOWN", "disk broken")
    assert drain(nodes=["n1"], state="drained")["nodes"]["n1"]["ok"] is True
    assert slurm.nodes["n1"]["Reason"] == "disk broken"
    assert drain(nodes=["n1"], state="resumed")["nodes"]["n1"]["ok"] is False
    assert slurm.nodes["n1"]["State"] == "DOWN+DRAIN"


def test_unknown_node_is_told_apart(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1")
    result = drain(nodes=["n1", "nope"], state="drained")
    assert result["failed_nodes"] == ["nope"]
    assert result["nodes"]["nope"]["known"] is False
    assert result["nodes"]["nope"]["failure"]["code"] == "node-not-registered"
    assert result["nodes"]["n1"]["ok"] is True


def test_refused_update_is_reported_with_slurms_words(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1")
    slurm.refuse_updates = True
    result = drain(nodes=["n1"], state="drained", timeout=20)
    assert result["changed"] is False
    assert "Access/permission denied" in result["nodes"]["n1"]["message"]
    assert result["nodes"]["n1"]["failure"]["code"] == "slurm-update-refused"
    assert len(slurm.updates()) == 3


def test_an_invalid_node_that_runs_nothing_is_drained(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "INVAL", "Low RealMemory")
    assert drain(nodes=["n1"], state="drained", timeout=10)["nodes"]["n1"]["ok"] is True


# --- nodes that will be removed ---


def test_a_pending_job_that_asks_for_a_node_by_name_keeps_it(drain: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    slurm.node("n2")
    slurm.job("7", "PENDING", requested="n1")
    slurm.job("8", "PENDING")
    result = drain(nodes=["n1", "n2"], state="drained", removing=True, timeout=10)
    assert result["failed_nodes"] == ["n1"]
    assert (result["nodes"]["n1"]["requested_by"], result["nodes"]["n1"]["jobs"]) == (["7"], [])
    assert result["nodes"]["n1"]["failure"]["code"] == "node-requested-by-jobs"
    assert "pending jobs 7" in result["nodes"]["n1"]["failure"]["reason"]
    assert clock.now >= 10
    assert slurm.called("scancel") == []


def test_the_word_for_running_jobs_is_the_word_for_them(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1")
    slurm.job("7", "PENDING", requested="n1")
    reported = drain(nodes=["n1"], state="drained", removing=True, jobs="requeue", timeout=10)["nodes"]["n1"]
    assert (reported["ok"], reported["requested_by"], reported["failure"]) == (True, ["7"], None)
    assert "pending jobs 7" in reported["message"]
    assert slurm.jobs["7"]["state"] == "PENDING"
    cancelled = drain(nodes=["n1"], state="drained", removing=True, jobs="cancel", timeout=10)["nodes"]["n1"]
    assert (cancelled["ok"], cancelled["requested_by"]) == (True, [])
    assert slurm.jobs["7"]["state"] == "CANCELLED"


def test_pending_jobs_are_nobodys_business_when_the_node_comes_back(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1")
    slurm.job("7", "PENDING", requested="n1")
    assert drain(nodes=["n1"], state="drained", jobs="cancel", timeout=10)["nodes"]["n1"]["ok"] is True
    assert slurm.jobs["7"]["state"] == "PENDING"


# --- resumed and available ---


def test_our_reason_goes_with_our_drain_and_another_one_stays(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "IDLE+DRAIN", "slurmscale: scale down")
    slurm.node("n2", "DOWN", "Not responding")
    result = drain(nodes=["n1", "n2"], state="resumed", resume_down=["n2"])
    assert result["failed_nodes"] == []
    assert {name: node["Reason"] for name, node in slurm.nodes.items()} == {"n1": "", "n2": "Not responding"}


@pytest.mark.parametrize("state", ["resumed", "available"])
def test_a_blank_reason_that_an_earlier_run_left_is_ended_by_a_job_once_the_node_takes_one(
    drain: Runner, slurm: FakeSlurmctld, clock: Clock, state: str
) -> None:
    slurm.node("n1", "IDLE+NOT_RESPONDING", " ")
    slurm.node("n2", "IDLE", "disk is watched")
    slurm.node("n3")
    clock.at(2, lambda: slurm.nodes["n1"].update(State="IDLE"))
    assert drain(nodes=["n[1-3]"], state=state)["failed_nodes"] == []
    assert {name: node["Reason"] for name, node in slurm.nodes.items()} == {"n1": "", "n2": "disk is watched", "n3": ""}
    assert len(slurm.called("sbatch")) == 1


def test_a_cluster_that_accepts_no_job_of_ours_keeps_the_blank_reason(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "IDLE+DRAIN", "slurmscale: scale down")
    slurm.refuse_jobs = "Access denied"
    assert drain(nodes=["n1"], state="resumed")["failed_nodes"] == []
    assert slurm.nodes["n1"]["Reason"] == " "


def test_no_job_is_started_in_check_mode(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "IDLE", " ")
    drain(check=True, nodes=["n1"], state="resumed")
    assert slurm.called("sbatch") == []


def test_only_our_own_drain_is_taken_back(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "IDLE+DRAIN", "slurmscale: upgrade")
    slurm.node("n2", "IDLE+DRAIN", "disk broken")
    slurm.node("n3")
    result = drain(nodes=["n[1-3]"], state="resumed")
    assert slurm.updates() == [["NodeName=n1", "State=RESUME", "Reason= "]]
    assert {name: one["changed"] for name, one in result["nodes"].items()} == {"n1": True, "n2": False, "n3": False}
    assert result["failed_nodes"] == ["n2"]
    assert "scontrol update NodeName=n2 State=RESUME" in result["nodes"]["n2"]["message"]
    assert result["nodes"]["n2"]["failure"]["code"] == "node-held-by-others"


def test_registration_is_waited_for(drain: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1", "UNKNOWN+NOT_RESPONDING")
    clock.at(20, lambda: slurm.nodes["n1"].update(State="IDLE"))
    result = drain(nodes=["n1"], state="available", timeout=60)
    assert (result["nodes"]["n1"]["ok"], result["changed"]) == (True, False)
    assert 20 <= clock.now <= 22


@pytest.mark.parametrize(("state", "seconds"), [("available", 120), ("drained", 300)])
def test_how_long_a_node_may_take_by_default(drain: Runner, slurm: FakeSlurmctld, state: str, seconds: int) -> None:
    slurm.node("n1", "DOWN+NOT_RESPONDING" if state == "available" else "MIXED", "Not responding")
    slurm.job("7", "RUNNING", "n1")
    assert drain(nodes=["n1"], state=state)["nodes"]["n1"]["message"].startswith(f"after {seconds} s: ")


def test_dynamic_node_may_appear_later(drain: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1")
    clock.at(4, lambda: slurm.node("n2", "IDLE+DYNAMIC_NORM"))
    assert drain(nodes=["n1", "n2"], state="available")["failed_nodes"] == []


def test_node_that_never_registers_says_so(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "DOWN+NOT_RESPONDING", "Not responding")
    result = drain(nodes=["n1"], state="available", resume_down=["n1"], timeout=30)
    message = result["nodes"]["n1"]["message"]
    assert result["nodes"]["n1"]["failure"]["code"] == "node-not-responding"
    assert message == "after 30 s: is DOWN+NOT_RESPONDING: its slurmd has not registered"
    assert slurm.updates() == []


def test_down_node_that_is_back_is_resumed_only_when_told(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "DOWN", "Not responding")
    refused = drain(nodes=["n1"], state="available")
    assert refused["failed_nodes"] == ["n1"]
    assert "resume_down" in refused["nodes"]["n1"]["message"]
    resumed = drain(nodes=["n1"], state="available", resume_down=["n1"])
    assert (resumed["failed_nodes"], resumed["changed"]) == ([], True)


def test_invalid_node_fails_early_but_may_register_again(drain: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1", "IDLE+INVALID_REG", "Low RealMemory")
    slurm.node("n2", "IDLE+INVALID_REG", "Low RealMemory")
    clock.at(5, lambda: slurm.nodes["n2"].update(State="IDLE"))
    result = drain(nodes=["n1", "n2"], state="available", timeout=300)
    assert result["failed_nodes"] == ["n1"]
    assert "less than is configured" in result["nodes"]["n1"]["message"]
    assert result["nodes"]["n1"]["failure"]["code"] == "node-invalid"
    assert clock.now < 15


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("Low RealMemory", "Compare slurmd -C on n1"),
        ("gres/gpu count reported lower than configured (0 < 2)", "See what slurmd -G finds on n1"),
    ],
)
def test_what_an_invalid_node_lacks_is_looked_for_where_slurm_counts_it(
    drain: Runner, slurm: FakeSlurmctld, reason: str, remedy: str
) -> None:
    slurm.node("n1", "IDLE+INVALID_REG", reason)
    assert remedy in drain(nodes=["n1"], state="available", timeout=300)["nodes"]["n1"]["failure"]["remedy"]


def test_controller_that_restarts_meanwhile_is_waited_for(drain: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1", "UNKNOWN")
    clock.at(2, lambda: setattr(slurm, "up", False))
    clock.at(10, lambda: setattr(slurm, "up", True))
    clock.at(12, lambda: slurm.nodes["n1"].update(State="IDLE"))
    assert drain(nodes=["n1"], state="available", timeout=60)["failed_nodes"] == []


def test_controller_that_stays_away_is_the_reason(drain: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1", "UNKNOWN")
    clock.at(2, lambda: setattr(slurm, "up", False))
    node = drain(nodes=["n1"], state="available", timeout=20)["nodes"]["n1"]
    assert "Unable to contact slurm controller" in node["message"]
    assert node["failure"]["code"] == "controller-not-answering"


def test_no_controller_at_all_fails_the_module(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.up = False
    result = drain(nodes=["n1"], state="drained")
    assert result["failed"] is True
    assert result["failure"]["code"] == "controller-not-answering"


def test_empty_list_is_refused_before_slurm_is_asked(drain: Runner, slurm: FakeSlurmctld) -> None:
    assert "at least one node" in drain(nodes=[], state="drained")["msg"]
    assert not slurm.called("scontrol") + slurm.called("squeue")


# --- check mode ---


def test_check_mode_predicts_and_neither_changes_nor_waits(drain: Runner, slurm: FakeSlurmctld, clock: Clock) -> None:
    slurm.node("n1", "MIXED")
    slurm.job("7", "RUNNING", "n1")
    slurm.node("n2", "IDLE+DRAIN", "slurmscale: x")
    result = drain(check=True, nodes=["n1", "n2", "not-yet-made"], state="drained")
    assert {name: one["changed"] for name, one in result["nodes"].items()} == {
        "n1": True,
        "n2": False,
        "not-yet-made": False,
    }
    assert result["failed_nodes"] == []
    assert (slurm.updates(), clock.now) == ([], 0)


def test_check_mode_tells_what_could_not_be_resumed(drain: Runner, slurm: FakeSlurmctld) -> None:
    slurm.node("n1", "IDLE+DRAIN", "disk broken")
    slurm.node("n2", "IDLE+DRAIN", "slurmscale: x")
    result = drain(check=True, nodes=["n1", "n2"], state="available")
    assert result["failed_nodes"] == ["n1"]
    assert result["nodes"]["n2"]["changed"] is True
    assert slurm.updates() == []


# --- jobs that are sent away, and dead nodes ---


def test_jobs_are_cancelled_once_and_the_node_is_drained(slurm: FakeSlurmctld, drain: Runner) -> None:
    slurm.node("n1", "ALLOCATED")
    slurm.job("7", "RUNNING", "n1")
    slurm.on_cancel = lambda: (slurm.jobs.clear(), slurm.nodes["n1"].update(State="IDLE+DRAIN"))
    result = drain(nodes=["n1"], state="drained", jobs="cancel", timeout=60)
    assert result["nodes"]["n1"]["ok"]
    assert [call[-1] for call in slurm.called("scancel")] == ["7"]


def test_a_job_that_slurm_does_not_requeue_is_waited_for_and_named_with_the_reason(
    slurm: FakeSlurmctld, drain: Runner
) -> None:
    slurm.node("n1", "ALLOCATED")
    slurm.job("7", "RUNNING", "n1")
    slurm.refuse_requeue = "Requested operation is presently disabled for job 7"
    result = drain(nodes=["n1"], state="drained", jobs="requeue", timeout=10)
    assert result["failed_nodes"] == ["n1"]
    assert result["nodes"]["n1"]["message"] == (
        "after 10 s: still runs jobs 7; job 7: Requested operation is presently disabled for job 7"
    )
    assert len(slurm.called("scontrol", "requeue")) == 1


def test_jobs_are_left_alone_in_check_mode_and_by_default(slurm: FakeSlurmctld, drain: Runner) -> None:
    slurm.node("n1", "ALLOCATED")
    slurm.job("7", "RUNNING", "n1")
    drain(nodes=["n1"], state="drained", jobs="cancel", check=True)
    drain(nodes=["n1"], state="drained", timeout=10)
    assert slurm.called("scancel") == []


def test_a_dead_node_is_set_down_when_slurm_misses_it_too(slurm: FakeSlurmctld, drain: Runner, clock: Clock) -> None:
    slurm.node("n1", "ALLOCATED")
    slurm.job("7", "RUNNING", "n1")
    clock.at(30, lambda: slurm.nodes["n1"].update(State="ALLOCATED*+DRAIN"))
    slurm.on_down = slurm.jobs.clear
    result = drain(nodes=["n1"], state="drained", dead=["n1"], timeout=60)
    assert result["nodes"]["n1"]["ok"], result
    assert clock.now >= 30
    assert [update[1] for update in slurm.updates()] == ["State=DRAIN", "State=DOWN"]


@pytest.mark.parametrize(("dead", "action"), [(True, Action.DONE), (False, Action.WAIT)])
def test_a_state_that_is_not_known_counts_as_busy_unless_the_node_is_dead(dead: bool, action: Action) -> None:  # noqa: FBT001 - a case
    assert slurm_states.decide_drained(node("UNKNOWN*+DRAIN"), [], "slurmscale: x", dead=dead).action is action


def test_a_node_that_answers_is_not_treated_as_dead() -> None:
    decision = slurm_states.decide_drained(node("ALLOCATED+DRAIN"), ["7"], "slurmscale: x", dead=True)
    assert decision.action is Action.WAIT


@pytest.mark.parametrize("option", ["nodes", "dead", "resume_down"])
def test_a_truth_value_is_no_list_of_names(drain: Runner, option: str) -> None:
    result = drain(**{"nodes": ["n1"], "state": "available", option: True})
    assert result["failed"]
    assert result["failure"]["code"] == "request-invalid"
    assert option in result["msg"]
