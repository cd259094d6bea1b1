"""Jobs on clusters: what the playbook is given, what is remembered of its answers, and how jobs are named."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes.answering_job import AnsweringJob
from fakes.waiting import wait_for
from slurmscale.cli import job_commands
from slurmscale.cli.app import app as command_line
from slurmscale.documents import SCHEMAS
from slurmscale.errors import NotFoundError, RefusedError
from slurmscale.inventory import ansible_inventory
from slurmscale.inventory.ansible_inventory import Inventory
from slurmscale.inventory.extra_vars import unsafe
from slurmscale.models import Cluster, JobSpec, RunOptions
from slurmscale.operations import Operation
from slurmscale.runs.handle import RunHandle
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from slurmscale.states import RunStatus
from typer.testing import CliRunner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.models import Run
    from slurmscale.runner.protocol import Launch

ROOT = Path(__file__).resolve().parents[3]
RUNNING = {
    "job_id": "7", "state": "RUNNING", "reason": "None", "exit_code": "0:0", "nodes": "n1", "user": "alice",
    "partition": "main", "batch_host": "n1", "name": "train", "output": "/srv/alice/slurm-7.out",
}  # fmt: skip
REFUSED = {"code": "job-not-submitted", "reason": "Slurm did not take it: token-1234567890.", "remedy": "Change it."}


class Answering:
    """A cluster whose playbook answers as it is told, and keeps what it was given."""

    def __init__(self, folder: Path) -> None:
        self.launches: list[Launch] = []
        self.report: dict[str, Any] = {}
        self.failure: dict[str, str] | None = None
        self.endless = False
        self.inventory = folder / "hosts.yml"
        self.inventory.touch()
        self.settings = Settings(data_dir=folder / "data", project_dir=ROOT)
        self.scaling = Scaling(self.settings, make_job=self.job)
        self.scaling.add_cluster(Cluster("lab", str(self.inventory), variables={"job_user": "alice"}))

    def job(self, launch: Launch) -> AnsweringJob:
        self.launches.append(launch)
        return AnsweringJob(self.report, failure=self.failure, endless=self.endless)

    def says(self, *jobs: dict[str, Any], accounting: str = "", job_id: str = "", **more: Any) -> None:
        self.report = {"jobs": {job["job_id"]: job for job in jobs}, "accounting": accounting, "job_id": job_id, **more}

    def script(self) -> str:
        """Return the text of the script that reaches Ansible through memory."""
        secret: dict[str, Any] = self.launches[-1].added["all"]["vars"]["slurmscale_secrets"]
        return str(secret["job_script"]["__ansible_unsafe"])

    def variables(self) -> dict[str, Any]:
        return self.launches[-1].extra_vars


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    # ansible-inventory takes a second
    known = Inventory({"slurm_controllers": ["ctl"], "slurm_nodes": ["n1"]}, {"ctl": {}, "n1": {}})
    monkeypatch.setattr(ansible_inventory, "read", lambda *_: known)
    lab = Answering(tmp_path)
    yield lab
    lab.scaling.close()


@pytest.fixture
def job(lab: Answering) -> str:
    """Return our id of a job that was submitted."""
    lab.says(RUNNING, job_id="7")
    return lab.scaling.jobs.submit("lab", JobSpec("#!/bin/sh\ntrue\n", name="train")).id


def test_a_submitted_job_is_remembered_as_slurm_describes_it(lab: Answering) -> None:
    lab.says(RUNNING, job_id="7")
    spec = JobSpec("#!/bin/sh\n{{ x }}\n", name="train", nodes="2-4", time="1-12:00:00", chdir="/a b", output="o.%j")
    job = lab.scaling.jobs.submit("lab", spec)
    wanted = {"job_name": "train", "job_nodes": "2-4", "job_time": "1-12:00:00", "job_chdir": "/a b",
              "job_output": "o.%j"}  # fmt: skip
    script = "{{ slurmscale_secrets['job_script'] }}"
    assert lab.variables() == {**unsafe(wanted), "action": "submit", "job_script": script}
    assert lab.launches[-1].playbook.name == "run_jobs.yml"
    assert lab.script() == spec.script
    assert lab.launches[-1].added["all"]["vars"]["job_user"] == unsafe("alice")
    assert (job.job_id, job.state, job.user, job.ended) == ("7", "RUNNING", "alice", False)
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", job.id)
    assert lab.scaling.jobs.newest() == [job]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a b"), ("name", "-x"), ("partition", "a b"), ("partition", "--uid=0"), ("nodes", "0"),
        ("nodes", "-1"), ("time", "soon"), ("chdir", "relative"), ("chdir", "/a\nb"), ("output", "a\nb"),
        ("script", "a" * 1_048_577),
    ],
)  # fmt: skip
def test_options_have_a_form(field: str, value: str, lab: Answering) -> None:
    spec = JobSpec(**{"script": "#!/bin/sh\n", field: value})
    with pytest.raises(RefusedError, match=f"job_{field}"):
        lab.scaling.jobs.submit("lab", spec)
    assert lab.launches == []


def test_why_slurm_refused_a_job_is_told_without_secrets_and_nothing_is_remembered(lab: Answering) -> None:
    lab.failure = REFUSED
    options = RunOptions(extra_vars={"api_token": "token-1234567890"})
    with pytest.raises(RefusedError, match="did not take it") as refused:
        lab.scaling.jobs.submit("lab", JobSpec("#!/bin/sh\n"), options)
    assert refused.value.code == "job-not-submitted"
    assert "1234567890" not in str(refused.value)
    assert lab.scaling.jobs.newest() == []
    (run,) = lab.scaling.runs()
    (task,) = lab.scaling.tasks(run.id)
    assert (run.status, task.node, task.error_code) == (RunStatus.FAILED, "ctl", "job-not-submitted")
    assert set(run.secret_names) == {"job_script", "api_token"}


def test_whose_a_job_is_has_to_be_said_once(lab: Answering) -> None:
    lab.says({**RUNNING, "user": "bob"}, job_id="7")
    bob = RunOptions(extra_vars={"job_user": "bob"})
    job = lab.scaling.jobs.submit("lab", JobSpec("#!/bin/sh\n"), bob)
    lab.scaling.jobs.refresh("lab")
    assert lab.variables()["job_user"] == unsafe("bob")
    lab.scaling.jobs.cancel(job.id)
    assert lab.variables()["job_user"] == unsafe("bob")
    lab.says({**RUNNING, "job_id": "8"}, job_id="8")
    lab.scaling.jobs.submit("lab", JobSpec("#!/bin/sh\n"))
    asked = len(lab.launches)
    # Slurm may keep the jobs of a user from others
    lab.says({**RUNNING, "user": "bob"}, {**RUNNING, "job_id": "8"})
    lab.scaling.jobs.refresh("lab")
    assert {launch.extra_vars["job_user"]["__ansible_unsafe"] for launch in lab.launches[asked:]} == {"alice", "bob"}
    lab.scaling.jobs.refresh("lab", RunOptions(extra_vars={"job_user": "carol"}))
    assert lab.variables()["job_user"] == unsafe("carol")


def test_to_submit_and_to_cancel_is_a_run_and_to_ask_is_none(lab: Answering, job: str) -> None:
    lab.says(RUNNING)
    lab.scaling.jobs.show(job)
    lab.scaling.jobs.refresh("lab")
    lab.scaling.jobs.cancel(job)
    lab.report = {"found": True, "text": "hello\n", "size": 6, "host": "n1", "problem": ""}
    lab.scaling.jobs.output(job)
    cancelled, submitted = lab.scaling.runs()
    assert (submitted.operation, cancelled.operation) == (Operation.SUBMIT_JOB, Operation.CANCEL_JOB)
    for run in (submitted, cancelled):
        assert (run.status, run.nodes, run.counts.success) == (RunStatus.COMPLETED, ("ctl",), 1)
        assert [line.text for line in lab.scaling.log("ctl", run.id)]
    report = lab.scaling.report(submitted.id)
    assert report
    assert report["job_id"] == "7"
    # the controller is no node, and a hundred jobs would leave nothing else to be seen of the last day
    status = lab.scaling.status()
    assert (status.success_nodes, status.failed_nodes, status.recent_operations) == (0, 0, [])


def test_a_script_is_in_no_record(lab: Answering) -> None:
    lab.says(RUNNING, job_id="7")
    script = "#!/bin/sh\nexport LICENCE=abc-123-def\n"
    lab.scaling.jobs.submit("lab", JobSpec(script, name="train"))
    (run,) = lab.scaling.runs()
    assert (run.variables, run.secret_names) == ({"job_name": "train"}, ("job_script",))
    lab.scaling.store.close()
    for path in lab.settings.data_dir.rglob("*"):
        assert path.is_dir() or b"abc-123-def" not in path.read_bytes(), path


def test_many_may_give_a_controller_jobs_at_the_same_time_and_a_run_of_it_is_cancelled(lab: Answering) -> None:
    lab.says(RUNNING, job_id="7")
    lab.endless = True
    refused: list[RefusedError] = []

    def submit() -> None:
        with pytest.raises(RefusedError) as cancelled:
            lab.scaling.jobs.submit("lab", JobSpec("#!/bin/sh\n"))
        refused.append(cancelled.value)

    threads = [threading.Thread(target=submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len([run for run in lab.scaling.runs() if run.status is RunStatus.RUNNING]) == 2)
    status = lab.scaling.status()
    assert (len(status.active_operations), status.active_tasks) == (2, 0)
    for run in lab.scaling.runs():
        assert lab.scaling.cancel(run.id).status is RunStatus.CANCELLED
    for thread in threads:
        thread.join(60)
    assert [one.code for one in refused] == ["run-cancelled"] * 2
    assert lab.scaling.jobs.newest() == []


def test_who_stops_waiting_cancels_the_run(lab: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.endless = True
    wait = RunHandle.wait

    def interrupted(handle: RunHandle, timeout: float | None = None) -> Run:
        if timeout is None:
            raise KeyboardInterrupt
        return wait(handle, timeout)

    monkeypatch.setattr(RunHandle, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.scaling.jobs.submit("lab", JobSpec("#!/bin/sh\n"))
    (run,) = lab.scaling.runs()
    assert run.status is RunStatus.CANCELLED


def test_a_run_that_submitted_a_job_is_not_repeated_for_nobody_would_remember_the_job(lab: Answering) -> None:
    lab.failure = REFUSED
    with pytest.raises(RefusedError):
        lab.scaling.jobs.submit("lab", JobSpec("#!/bin/sh\n"))
    with pytest.raises(RefusedError, match="submit-job is not repeated") as refused:
        lab.scaling.retry(lab.scaling.runs()[0].id, RunOptions(extra_vars={"job_script": "#!/bin/sh\n"}))
    assert "slurmscale job" in refused.value.remedy


def test_one_query_serves_all_jobs_of_a_cluster_that_have_not_ended(lab: Answering, job: str) -> None:
    lab.says({**RUNNING, "job_id": "8", "state": "COMPLETED"}, job_id="8")
    lab.scaling.jobs.submit("lab", JobSpec("#!/bin/sh\n"))
    lab.says({**RUNNING, "job_id": "9", "state": "PENDING"}, job_id="9")
    other = lab.scaling.jobs.submit("lab", JobSpec("#!/bin/sh\n")).id
    asked = len(lab.launches)
    lab.says({**RUNNING, "state": "FAILED", "exit_code": "3:0"}, {**RUNNING, "job_id": "9"})
    found = lab.scaling.jobs.refresh("lab")
    assert len(lab.launches) == asked + 1
    assert set(lab.variables()["job_ids"]["__ansible_unsafe"].split(",")) == {"7", "9"}
    assert abs(time.time() - 3600 - lab.variables()["job_since"]) < 300
    assert {one.id: (one.state, one.exit_code) for one in found} == {job: ("FAILED", "3:0"), other: ("RUNNING", "0:0")}
    lab.scaling.jobs.refresh("lab")
    assert lab.variables()["job_ids"] == unsafe("9")


def test_no_question_is_asked_when_all_have_ended(lab: Answering, job: str) -> None:
    lab.says({**RUNNING, "state": "COMPLETED"})
    assert lab.scaling.jobs.show(job).ended
    asked = len(lab.launches)
    assert lab.scaling.jobs.refresh("lab") == []
    assert lab.scaling.jobs.show(job).state == "COMPLETED"
    assert len(lab.launches) == asked


def test_without_accounting_the_last_state_is_kept_and_said_to_be_that(lab: Answering, job: str) -> None:
    lab.says(accounting="none")
    found = lab.scaling.jobs.show(job)
    assert (found.state, found.lost, found.ended) == ("RUNNING", True, True)
    assert "no accounting" in found.note
    assert lab.scaling.jobs.refresh("lab") == []


def test_an_accounting_that_is_silent_or_late_proves_nothing(lab: Answering, job: str) -> None:
    for accounting in ("failed", "kept"):
        lab.says(accounting=accounting)
        found = lab.scaling.jobs.show(job)
        assert not found.ended
        assert "the accounting has not told its end yet" in found.note
    lab.says({"job_id": "7", "state": "TIMEOUT", "reason": "", "exit_code": "0:15", "nodes": "n1", "user": "",
              "partition": "", "batch_host": "", "name": "", "output": ""}, accounting="kept")  # fmt: skip
    found = lab.scaling.jobs.show(job)
    assert found.note == ""
    assert (found.state, found.exit_code, found.reason, found.output) == (
        "TIMEOUT", "0:15", "", "/srv/alice/slurm-7.out",
    )  # fmt: skip


def test_a_job_is_named_by_our_id_slurms_or_the_cluster_and_slurms(lab: Answering, job: str) -> None:
    jobs = lab.scaling.jobs
    for text in (job, job[:17], job[-6:], "7", "lab:7"):
        if not text.isdigit() or text == "7":
            assert jobs.find(text).id == job, text
    lab.scaling.add_cluster(Cluster("far", str(lab.inventory)))
    jobs.submit("far", JobSpec("#!/bin/sh\n"))
    with pytest.raises(NotFoundError, match=r"far:7, lab:7\. Write one"):
        jobs.find("7")
    assert jobs.find("far:7").cluster == "far"
    for text in ("8", "x", "nowhere:x", ":7"):
        with pytest.raises(NotFoundError):
            jobs.find(text)


def test_a_job_of_somebody_else_is_found_by_the_cluster_and_its_id(lab: Answering) -> None:
    lab.says({**RUNNING, "job_id": "99"})
    job = lab.scaling.jobs.show("lab:99")
    assert (job.id, job.name, job.state) == ("lab:99", "train", "RUNNING")
    assert lab.scaling.jobs.newest() == []
    lab.says(accounting="none")
    with pytest.raises(NotFoundError, match="knows no job 98"):
        lab.scaling.jobs.show("lab:98")


def test_a_cancel_tells_what_follows_and_is_refused_for_what_has_ended(lab: Answering, job: str) -> None:
    lab.says({**RUNNING, "state": "CANCELLED", "exit_code": "0:15"})
    with pytest.raises(RefusedError, match="ended already: CANCELLED"):
        # it ended before the cancel was asked for
        lab.scaling.jobs.cancel(job)
    assert lab.variables()["action"] == "query"
    lab.says({**RUNNING, "job_id": "8", "state": "COMPLETING"}, job_id="8")
    other = lab.scaling.jobs.submit("lab", JobSpec("#!/bin/sh\n"))
    assert lab.scaling.jobs.cancel(other.id).state == "COMPLETING"
    assert (lab.variables()["action"], lab.variables()["job_ids"]) == ("cancel", unsafe("8"))


def test_an_output_is_read_where_the_job_ran(lab: Answering, job: str) -> None:
    lab.report = {"found": True, "text": "hello\n", "size": 6, "host": "n1", "problem": ""}
    output = lab.scaling.jobs.output(job, limit=100)
    assert (output.text, output.host, output.path, output.size) == ("hello\n", "n1", "/srv/alice/slurm-7.out", 6)
    assert lab.variables() == {
        "action": "read", "job_limit": 100,
        **unsafe({"job_user": "alice", "job_host": "n1", "job_path": "/srv/alice/slurm-7.out"}),
    }  # fmt: skip
    lab.report = {"found": False, "text": "", "size": 0, "host": "ctl", "problem": "No such file"}
    with pytest.raises(RefusedError, match="No such file") as refused:
        lab.scaling.jobs.output(job)
    assert refused.value.code == "job-output-missing"


def test_a_query_is_no_run(lab: Answering) -> None:
    with pytest.raises(RefusedError, match="no run"):
        lab.scaling.run(Operation.QUERY_JOBS, "lab")


def test_the_command(lab: Answering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(job_commands, "Scaling", lambda: Scaling(lab.settings, make_job=lab.job))
    runner = CliRunner()

    def job(*arguments: str, **more: Any) -> Any:
        return runner.invoke(command_line, ["job", *arguments], **more)

    lab.says({**RUNNING, "state": "PENDING", "reason": "Resources"}, job_id="7")
    done = job("submit", "--command", "srun hostname", "--cluster", "lab", "--nodes", "2")
    our_id = done.stdout.strip()
    assert "Job 7 on cluster lab: PENDING (Resources)" in done.stderr
    assert lab.script() == "#!/bin/sh\nsrun hostname\n"
    assert job("submit", "-", "--cluster", "lab", input="#!/bin/sh\n").exit_code == 0
    (tmp_path / "script").write_bytes(b"#!/bin/sh\n\xff")
    for wrong in (
        ("submit", "--cluster", "lab"), ("submit", "x", "--command", "y", "--cluster", "lab"),
        ("submit", "/nowhere", "--cluster", "lab"), ("submit", str(tmp_path / "script"), "--cluster", "lab"),
    ):  # fmt: skip
        assert isinstance(job(*wrong).exception, RefusedError)
    lab.says({**RUNNING, "state": "COMPLETED"})
    shown = json.loads(job("show", our_id, "--json").stdout)
    assert set(shown) == set(SCHEMAS["job"].model_fields)
    assert (shown["state"], shown["ended"], shown["submitted_at"][-6:]) == ("COMPLETED", True, "+00:00")
    assert "state: COMPLETED" in job("show", our_id[-6:] if not our_id[-6:].isdigit() else our_id).stdout
    lab.says(accounting="none")
    assert [one["lost"] for one in json.loads(job("list", "--json").stdout)] == [True, False]
    lab.report = {"found": True, "text": "a\x1b[2J\nb\n", "size": 9, "host": "n1", "problem": ""}
    assert job("output", our_id, "--limit", "4").stdout == "a\nb\n"


def test_a_list_tells_what_it_knows_when_a_cluster_is_silent(
    lab: Answering, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_commands, "Scaling", lambda: Scaling(lab.settings, make_job=lab.job))
    lab.report = {}
    done = CliRunner().invoke(command_line, ["job", "list"])
    assert job in done.stdout
    assert "lab gave no answer" in done.stderr
    lab.says(accounting="none")
    assert "RUNNING when last seen" in CliRunner().invoke(command_line, ["job", "list"]).stdout
