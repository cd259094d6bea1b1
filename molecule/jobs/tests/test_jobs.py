"""Jobs as a user has them: submitted, followed, read, cancelled, and forgotten by the controller."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from slurmscale.errors import RefusedError
from slurmscale.models import JobSpec, RunOptions, SlurmJob
from slurmscale.operations import Operation
from slurmscale.states import RunStatus
from testing import SLURM, lab_host, node_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmscale.runs.jobs import Jobs
    from slurmscale.scaling import Scaling
    from testinfra.host import Host

LIMIT = 180
SCRIPT = """#!/bin/bash
#SBATCH --job-name=from-script
echo "$(id -un) in $PWD on $(uname -n)"
env | cut -d= -f1 | grep -v '^SLURM' | sort | tr '\\n' ' '
exit 3
"""


def until(jobs: Jobs, job: SlurmJob, wanted: Callable[[SlurmJob], bool]) -> SlurmJob:
    deadline = time.monotonic() + LIMIT
    while not wanted(job := jobs.show(job.id)):
        assert time.monotonic() < deadline, job
    return job


def test_a_job_runs_as_the_user_and_inherits_nothing(jobs: Jobs, ctl1: Host) -> None:
    job = jobs.submit("lab", JobSpec(SCRIPT, nodes="1", time="5"))
    assert job.job_id.isdigit()
    assert job.user == "alice"
    job = until(jobs, job, lambda job: job.ended)
    assert (job.state, job.reason, job.exit_code, job.name) == ("FAILED", "NonZeroExitCode", "3:0", "from-script")
    assert job.nodes == job.batch_host
    output = jobs.output(f"lab:{job.job_id}")
    assert output.host == job.batch_host
    assert output.path.endswith(f"slurm-{job.job_id}.out")
    who, variables = output.text.splitlines()
    assert who == f"alice in {ctl1.user('alice').home} on {job.batch_host}"
    assert not {"SUDO_USER", "SUDO_COMMAND", "LC_ALL", "SLURM_TIME_FORMAT"} & set(variables.split())
    assert lab_host(output.host).file(output.path).user == "alice"


def test_a_job_is_a_run_with_a_log_and_without_its_script(jobs: Jobs, scaling: Scaling) -> None:
    job = jobs.submit("lab", JobSpec("#!/bin/sh\n# planted-in-a-script\ntrue\n"))
    run = scaling.runs(1)[0]
    assert (run.operation, run.status, run.variables) == (Operation.SUBMIT_JOB, RunStatus.COMPLETED, {})
    report = scaling.report(run.id)
    assert report
    assert report["job_id"] == job.job_id
    lines = [line.text for line in (*scaling.log("ctl1", run.id), *scaling.log(None, run.id))]
    assert any("Start the job" in line for line in lines)
    assert not any("[ERROR]" in line or "planted" in line for line in lines)
    until(jobs, job, lambda job: job.ended)


@pytest.mark.usefixtures("jobs")
def test_a_configless_cluster_is_told_as_that_and_nothing_is_changed(scaling: Scaling, ctl1: Host) -> None:
    files = "find /etc /usr /opt /var/lib/munge -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum"
    traces = (f"{files} | sha256sum", "systemctl show --property InvocationID --value slurmctld munge ssh")
    before = [ctl1.check_output(command) for command in traces]
    found = scaling.clusters.test(scaling.find_cluster("lab"))
    assert found.info, found
    assert [ctl1.check_output(command) for command in traces] == before
    assert (found.info["configless"], found.info["version"], found.info["munge_key"]) == (True, SLURM, True)
    assert set(found.info["nodes"]) == set(node_names())
    release = ctl1.file("/etc/os-release").content_string
    assert f"\nID={found.info['os']['id']}\n" in release
    assert f'VERSION_ID="{found.info["os"]["version_id"]}"' in release
    run = scaling.find_run(found.run_id or "")
    (task,) = scaling.tasks(run.id)
    assert (run.operation, task.node, task.progress) == (Operation.DISCOVER_CLUSTER, "ctl1", 100)


def test_a_pending_job_says_why_and_is_cancelled(jobs: Jobs) -> None:
    running = jobs.submit(
        "lab", JobSpec("#!/bin/sh\n#SBATCH --exclusive\nsleep 600\n", name="long", nodes="2", time="15")
    )
    until(jobs, running, lambda job: job.state == "RUNNING")
    waiting = jobs.submit("lab", JobSpec("#!/bin/sh\ntrue\n", nodes="2"))
    waiting = until(jobs, waiting, lambda job: job.reason in {"Resources", "Priority"})
    assert waiting.state == "PENDING"
    asked = time.time()
    assert {job.id: job.state for job in jobs.refresh("lab")} == {running.id: "RUNNING", waiting.id: "PENDING"}
    assert all(job.asked_at >= asked for job in jobs.newest(2))
    for job in (waiting, running):
        jobs.cancel(job.id)
    for job in (waiting, running):
        assert until(jobs, job, lambda job: job.ended).state == "CANCELLED"
    with pytest.raises(RefusedError, match="ended already: CANCELLED"):
        jobs.cancel(running.id)


def test_what_the_controller_forgot_is_said_to_be_that(jobs: Jobs, ctl1: Host) -> None:
    job = jobs.submit("lab", JobSpec("#!/bin/sh\nsleep 1\n"))
    assert not job.ended
    # Slurm keeps ended jobs for five minutes otherwise, and clears its queue twice a minute.
    ctl1.check_output("echo MinJobAge=2 >> /etc/slurm/slurm.conf && scontrol reconfigure")
    deadline = time.monotonic() + LIMIT
    # nobody looks until it has gone
    while ctl1.run("squeue --noheader --states=all --jobs=%s,999999 | grep .", job.job_id).rc == 0:
        assert time.monotonic() < deadline
        time.sleep(1)
    found = jobs.show(job.id)
    assert (found.state, found.lost, found.ended) == (job.state, True, True)
    assert "no accounting" in found.note


@pytest.mark.parametrize("user", ["root", "slurm", "nobody-at-all"])
def test_others_than_ordinary_users_are_refused(user: str, jobs: Jobs, ctl1: Host) -> None:
    before = ctl1.check_output("squeue --noheader --states=all --format %i")
    with pytest.raises(RefusedError) as refused:
        jobs.submit("lab", JobSpec("#!/bin/sh\ntrue\n"), RunOptions(extra_vars={"job_user": user}))
    if user != "nobody-at-all":
        assert refused.value.code == "job-user-unsuitable"
    assert ctl1.check_output("squeue --noheader --states=all --format %i") == before


def test_a_script_may_not_choose_its_user_and_slurms_own_words_are_told(jobs: Jobs) -> None:
    with pytest.raises(RefusedError, match="--uid") as refused:
        jobs.submit("lab", JobSpec("#!/bin/sh\n#SBATCH --uid=0\ntrue\n"))
    assert refused.value.code == "job-script-refused"
    with pytest.raises(RefusedError, match="invalid partition specified: nowhere") as refused:
        jobs.submit("lab", JobSpec("#!/bin/sh\ntrue\n", partition="nowhere"))
    assert refused.value.code == "job-not-submitted"
