"""Jobs of users: submitted by an ordinary user only, described in Slurm's words, and followed into the accounting."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import slurmctld_service
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import batch_jobs, commands
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_batch_jobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCRIPT = "#!/bin/sh\n#SBATCH --time=5\nhostname\n"
QUEUE = "7|RUNNING|None|0:0|n[1-2]|alice|main|n1|a|b|/srv/alice/slurm-7.out|\n"


class Answers:
    """What Slurm's programs answer, and what they were asked."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.options: list[dict[str, Any]] = []
        self.by_program: dict[str, tuple[int, str, str]] = {
            "scontrol": (0, "SlurmUser               = slurm(64030)\n", ""),
            "sbatch": (0, "7\n", ""),
            "squeue": (0, QUEUE, ""),
            "sacct": (1, "", "Slurm accounting storage is disabled"),
            "scancel": (0, "", ""),
            "systemctl": (1, "", ""),
        }

    def run(self, argv: list[str], **options: Any) -> commands.CommandResult:
        # systemctl tells where those of Slurm are
        if argv[0] != "systemctl":
            self.calls.append(list(argv))
            self.options.append(options)
        return commands.CommandResult(tuple(argv), *self.by_program[argv[0]], 0.0)

    def call(self, program: str) -> list[str]:
        return next(call for call in self.calls if call[0] == program)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Answers:
    answers = Answers()
    monkeypatch.setattr(commands, "run", answers.run)
    monkeypatch.setattr(slurmctld_service, "find_process", lambda _name: 0)
    return answers


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Let the module take itself for another user's; alice at first."""
    monkeypatch.setattr(os, "chdir", lambda _path: None)

    def become(name: str, uid: int) -> None:
        user = pwd.struct_passwd((name, "x", uid, uid, "", str(tmp_path), "/bin/bash"))
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(os, "getuid", lambda: uid)
        monkeypatch.setattr(pwd, "getpwuid", lambda _uid: user)

    become("alice", 1000)
    return become


@pytest.fixture
def run(
    run_module: Callable[..., Any],
    as_user: Callable[..., None],  # noqa: ARG001 - in place of the real ones, as the following one
    slurm: Answers,  # noqa: ARG001 - as the one before
) -> Callable[..., dict[str, Any]]:
    return lambda action, **options: run_module(slurm_batch_jobs, action=action, **{"user": "alice", **options})


def test_a_script_goes_to_sbatch_by_standard_input_and_inherits_nothing(
    run: Callable[..., Any], slurm: Answers, tmp_path: Path
) -> None:
    result = run("submit", script=SCRIPT, name="x; id", partition="main", nodes="2", time="5", output="o-%j")
    assert (result["job_id"], result["changed"]) == ("7", True)
    wanted = ["--job-name=x; id", "--partition=main", "--nodes=2", "--time=5", "--output=o-%j"]
    assert slurm.call("sbatch") == ["sbatch", "--parsable", "--ignore-pbs", *wanted]
    options = slurm.options[slurm.calls.index(slurm.call("sbatch"))]
    environment = {"HOME": str(tmp_path), "USER": "alice", "LOGNAME": "alice", "SHELL": "/bin/bash"}
    assert options == {"conf": None, "stdin": SCRIPT, "environment": environment}
    assert result["jobs"]["7"] == {
        "job_id": "7", "state": "RUNNING", "reason": "None", "exit_code": "0:0", "nodes": "n[1-2]", "user": "alice",
        "partition": "main", "batch_host": "n1", "name": "a|b", "output": "/srv/alice/slurm-7.out",
    }  # fmt: skip


def test_commands_and_file_are_those_of_the_slurmctld_of_the_host(run: Callable[..., Any], slurm: Answers) -> None:
    started = "ExecStart={ path=/opt/sbin/slurmctld ; argv[]=/opt/sbin/slurmctld -D -f /opt/hpc/slurm.conf ; pid=7 }"
    slurm.by_program["systemctl"] = (0, f"Id=hpc.service\n{started}\n", "")
    slurm.by_program["squeue"] = (0, "", "")
    run("submit", script=SCRIPT)
    run("cancel", jobs=["7"])
    asked = {call[0]: options.get("conf") for call, options in zip(slurm.calls, slurm.options, strict=True)}
    assert asked == dict.fromkeys(("scontrol", "sbatch", "squeue", "sacct", "scancel"), "/opt/hpc/slurm.conf")


@pytest.mark.parametrize(("name", "uid"), [("root", 0), ("bob", 1001), ("slurm", 64030)])
def test_another_user_than_the_one_that_is_configured_is_refused(
    name: str, uid: int, run: Callable[..., Any], as_user: Callable[..., None], slurm: Answers
) -> None:
    as_user(name, uid)
    result = run("submit", script=SCRIPT, user="alice" if name == "bob" else name)
    assert result["failure"]["code"] == "job-user-unsuitable"
    assert [call for call in slurm.calls if call[0] == "sbatch"] == []


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("--uid=0", "--uid"), ("  --uid 0", "--uid"), ("-J x --uid=root", "--uid"), ('"--uid"=0', "--uid"),
        (r"--u\id=0", "--uid"), ("--ui=0", "--uid"), ("--gid 4", "--gid"), ("--gi=4", "--gid"),
        ("--array=1-9", "--array"), ("-a1-9", "--array"), ("-Ha 1", "--array"), ("-M other", "--clusters"),
        ("--wait", "--wait"), ("-W", "--wait"),
    ],
)  # fmt: skip
def test_options_that_a_script_may_not_have(line: str, option: str, run: Callable[..., Any], slurm: Answers) -> None:
    for script in (f"#!/bin/sh\n#SBATCH {line}\ntrue\n", f"#!/bin/sh\n#SBATCH{line}\n"):
        result = run("submit", script=script)
        assert result["failure"]["code"] == "job-script-refused"
        assert option in result["failure"]["reason"]
    assert slurm.calls == [call for call in slurm.calls if call[0] == "scontrol"]


@pytest.mark.parametrize(
    "line", ["--time=5 --nodes=2", "-JMyarray", "-N2 -n 4", "--gres=gpu:1", "--account=a", "--mem=1G",
             "--use-min-nodes", "--get-user-env", "--cluster-constraint=x"],
)  # fmt: skip
def test_other_options_of_a_script_are_left_to_slurm(line: str) -> None:
    assert batch_jobs.refused_option(f"#!/bin/sh\n#SBATCH {line}\necho --uid=0\n# --uid\n") == ""


def test_a_job_that_slurm_refuses_says_why(run: Callable[..., Any], slurm: Answers) -> None:
    slurm.by_program["sbatch"] = (1, "", "sbatch: error: invalid partition specified: x")
    failure = run("submit", script=SCRIPT)["failure"]
    assert failure["code"] == "job-not-submitted"
    assert "invalid partition specified: x" in failure["reason"]


def test_a_submitted_job_is_told_also_when_the_controller_is_silent_after_that(
    run: Callable[..., Any], slurm: Answers
) -> None:
    slurm.by_program["squeue"] = (1, "", "Unable to contact slurm controller")
    result = run("submit", script=SCRIPT)
    assert (result["job_id"], result["jobs"], result["accounting"]) == ("7", {}, "failed")


def test_what_left_the_queue_is_asked_for_in_the_accounting_from_its_submission_on(
    run: Callable[..., Any], slurm: Answers
) -> None:
    slurm.by_program["sacct"] = (0, "8|CANCELLED by 1000|0:15|n3\n", "")
    result = run("query", jobs=["7", "8", "9"], since=1_800_000_000.0)
    assert [job["state"] for job in result["jobs"].values()] == ["RUNNING", "CANCELLED"]
    assert (result["accounting"], result["changed"]) == ("kept", False)
    call = slurm.call("sacct")
    assert "--jobs=8,9" in call
    assert any(one.startswith("--starttime=2027-01-1") for one in call)


def test_without_accounting_a_job_that_left_the_queue_is_not_known(run: Callable[..., Any], slurm: Answers) -> None:
    slurm.by_program["squeue"] = (1, "", "slurm_load_jobs error: Invalid job id specified")
    result = run("query", jobs=["7"])
    assert (result["jobs"], result["accounting"], result["problem"]) == ({}, "none", "")
    slurm.by_program["sacct"] = (1, "", "sacct: error: Connection refused")
    result = run("query", jobs=["7"])
    assert (result["accounting"], result["problem"]) == ("failed", "sacct: error: Connection refused")


def test_a_controller_that_is_silent_is_no_empty_queue(run: Callable[..., Any], slurm: Answers) -> None:
    slurm.by_program["squeue"] = (1, "", "Unable to contact slurm controller")
    assert run("query", jobs=["7"])["failure"]["code"] == "controller-not-answering"


def test_a_cancel_tells_the_state_that_follows_or_why_not(run: Callable[..., Any], slurm: Answers) -> None:
    slurm.by_program["squeue"] = (0, QUEUE.replace("RUNNING", "CANCELLED"), "")
    result = run("cancel", jobs=["7"])
    assert (result["changed"], result["jobs"]["7"]["state"]) == (True, "CANCELLED")
    slurm.by_program["scancel"] = (1, "", "scancel: error: Kill job error on job id 7: Access/permission denied")
    assert run("cancel", jobs=["7"])["failure"]["code"] == "job-not-cancelled"


def test_check_mode_submits_and_cancels_nothing(run: Callable[..., Any], slurm: Answers) -> None:
    assert run("submit", script=SCRIPT, check=True)["skipped"]
    assert run("cancel", jobs=["7"], check=True)["skipped"]
    assert slurm.calls == []


def test_the_end_of_an_output_is_read_and_nothing_but_a_file(run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("first\nlast\n")
    result = run("read", path=str(path), limit=5)
    assert (result["found"], result["text"], result["size"]) == (True, "last\n", 11)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for other, problem in ((pipe, "not a regular file"), (tmp_path, ""), (tmp_path / "none", "No such file")):
        result = run("read", path=str(other))
        assert not result["found"]
        assert problem in result["problem"]


def test_a_command_may_be_given_a_whole_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "secret")
    monkeypatch.setenv("PATH", os.environ["PATH"])
    printed = commands.run(["env"], environment={"HOME": "/x"}).stdout.split()
    assert sorted(line.partition("=")[0] for line in printed) == ["HOME", "PATH"]
