"""After an upgrade: exactly the stated version, a foreign drain untouched. Then what is refused, and what stops it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from testing import GENERATION, SLURM, lab_host, revisions

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

NODES = ["rocky1", "ubuntu1", "ubuntu2"]


def drained(ctl1: Host) -> dict[str, str]:
    """Return the reasons of all nodes that are drained."""
    lines = ctl1.check_output("sinfo --noheader --Node --states drain --format '%%N %%E'").splitlines()
    return dict(line.split(maxsplit=1) for line in lines)


@pytest.mark.parametrize("node", NODES)
def test_a_node_has_the_stated_version_though_apphub_has_a_newer_one(node: str) -> None:
    assert revisions(lab_host(node)) == {f"{SLURM}-4+new1"}


@pytest.mark.parametrize("node", NODES)
def test_slurmd_runs_the_new_program(node: str) -> None:
    program = lab_host(node).check_output("readlink /proc/$(pgrep --oldest slurmd)/exe")
    assert program
    assert "deleted" not in program


@pytest.mark.parametrize("node", NODES)
def test_upgrade_of_the_system_does_not_move_slurm(node: str) -> None:
    if node.startswith("rocky"):
        answer = lab_host(node).check_output("dnf --assumeyes --refresh upgrade")
        assert "Nothing to do" in answer
        # There is something that it could be moved to.
        assert "+new2" in lab_host(node).check_output("dnf --disableexcludes=main repoquery slurm")
    else:
        lab_host(node).check_output("DEBIAN_FRONTEND=noninteractive apt-get --yes upgrade")
        assert "+new2" in lab_host(node).check_output("apt-cache madison slurmd")
    assert revisions(lab_host(node)) == {f"{SLURM}-4+new1"}


def test_apt_keeps_the_stated_version_as_its_candidate() -> None:
    assert f"Candidate: {SLURM}-4+new1" in lab_host("ubuntu1").check_output("apt-cache policy slurmd")


def test_the_controller_has_its_old_version(ctl1: Host) -> None:
    assert "new" not in ctl1.check_output("dpkg-query -W -f '${Version}' slurmctld")


def test_only_the_drain_of_somebody_else_is_left(ctl1: Host) -> None:
    assert drained(ctl1) == {"ubuntu2": "broken fan"}


def test_a_node_that_an_earlier_run_resumed_and_did_not_verify_gets_its_job(ctl1: Host, playbook: Playbook) -> None:
    # The run was killed in between; slurmctld keeps the blank reason until a job starts.
    ctl1.check_output("scontrol update NodeName=ubuntu1 Reason=' '; systemctl restart slurmctld")
    ctl1.check_output("until sinfo --noheader --nodes ubuntu1 --format %%T | grep -qx idle; do sleep 0.5; done")
    # That of 22.05 forgets it when it starts.
    assert ("Reason" in ctl1.check_output("scontrol show node ubuntu1")) == (GENERATION != "22.05")
    run = playbook("upgrade_nodes", "-e", f"slurm_version={SLURM}-4+new1")
    assert run.returncode == 0, run.stdout
    assert "Reason" not in ctl1.check_output("scontrol show node ubuntu1")
    assert drained(ctl1) == {"ubuntu2": "broken fan"}


def test_nodes_that_have_the_version_need_no_apphub(playbook: Playbook) -> None:
    apphub = lab_host("apphub")
    apphub.check_output("systemctl stop nginx")
    try:
        run = playbook("upgrade_nodes", "-e", f"slurm_version={SLURM}-4+new1")
    finally:
        apphub.check_output("systemctl start nginx")
    assert run.returncode == 0, run.stdout
    assert len(re.findall(rf"unchanged .*has {re.escape(SLURM)}-4\+new1\S* already", run.stdout)) == len(NODES)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("99.05", "is newer than slurmctld"),
        ("19.05.1", "and 19.05.1 would be a step back"),
        (f"{SLURM}-99", f"has no slurm.* {SLURM}-99; there are"),
        (SLURM, "State one of them"),
        ("newest", "slurm_version must be the version"),
    ],
)
def test_what_can_not_be_done_is_refused_before_anything_is_changed(
    ctl1: Host, playbook: Playbook, version: str, words: str
) -> None:
    run = playbook("upgrade_nodes", "-e", f"slurm_version={version}")
    assert run.returncode != 0
    assert re.search(words, run.stdout), run.stdout
    assert "Nothing was changed" in run.stdout
    assert not re.search(r"changed=[1-9]", run.stdout)
    assert drained(ctl1) == {"ubuntu2": "broken fan"}


def test_it_stops_at_the_first_failed_batch_and_tells_who_has_what(ctl1: Host, playbook: Playbook) -> None:
    job = ctl1.check_output(
        "cd / && sbatch --parsable --nodelist rocky1 --mem 10 --output /dev/null --wrap 'sleep 3600'"
    )
    try:
        ctl1.check_output(f"until [ $(squeue --noheader --format %%T --job {job}) = RUNNING ]; do sleep 1; done")
        run = playbook("upgrade_nodes", "-e", f"slurm_version={SLURM}-4+new2", "-e", "batch=1", "-e", "drain_timeout=4")
        assert run.returncode != 0
        assert re.search(rf"rocky1 +failed .*still runs jobs {job} after .*not upgraded", run.stdout), run.stdout
        for node in NODES[1:]:
            assert re.search(rf"{node} +failed .*not upgraded, has .*new1.*earlier batch", run.stdout), run.stdout
        assert all(revisions(lab_host(node)) == {f"{SLURM}-4+new1"} for node in NODES)
        assert drained(ctl1) == {"ubuntu2": "broken fan"}
        assert ctl1.check_output("squeue --noheader --format %%T --job %s", job) == "RUNNING"
    finally:
        ctl1.run("scancel %s; sleep 3", job)


def test_the_next_run_goes_on_from_there(ctl1: Host, playbook: Playbook) -> None:
    wanted = f"slurm_version={SLURM}-4+new2"
    submit = "cd / && sbatch --parsable --mem 10 --output /dev/null"
    waited = ctl1.check_output(f"{submit} --nodelist rocky1 --wrap 'sleep 20; echo whole > /var/tmp/whole'")
    beside = ctl1.check_output(f"{submit} --nodelist ubuntu1 --wrap 'sleep 3600'")
    for job in (waited, beside):
        state = f"squeue --noheader --states all --format %%T --job {job}"
        ctl1.check_output(f"until {state} | grep -qE 'RUNNING|COMPLET'; do sleep 1; done")
    run = playbook("upgrade_nodes", "-e", wanted, "-e", "batch=4", "-e", "nodes=rocky1,ubuntu2")
    assert run.returncode == 0, run.stdout
    assert re.search(r"rocky1 +done .*job \d+ COMPLETED", run.stdout), run.stdout
    assert re.search(r"ubuntu2 +done .*stays drained: broken fan", run.stdout), run.stdout
    assert revisions(lab_host("rocky1")) == revisions(lab_host("ubuntu2")) == {f"{SLURM}-4+new2"}
    assert drained(ctl1) == {"ubuntu2": "broken fan"}
    assert ctl1.check_output("squeue --noheader --format '%%T %%N' --job %s", beside) == "RUNNING ubuntu1"
    assert lab_host("rocky1").check_output("cat /var/tmp/whole") == "whole"


@pytest.mark.long
def test_a_node_that_slurm_gave_up_is_back_afterwards(ctl1: Host, playbook: Playbook) -> None:
    # With ReturnToService=0 only an administrator, or a run that has worked on the node, brings it back.
    ctl1.check_output("sed -i -E '/^(SlurmdTimeout|ReturnToService)=/d' /etc/slurm/slurm.conf")
    # A shorter timeout would take living nodes of a busy machine for dead.
    ctl1.check_output("printf 'SlurmdTimeout=60\\nReturnToService=0\\n' >> /etc/slurm/slurm.conf")
    ctl1.check_output("systemctl restart slurmctld && scancel --user root")
    state = "sinfo --noheader --nodes ubuntu1 --format %T"
    ctl1.check_output(f"for try in $(seq 60); do {state} | grep -q idle && exit; sleep 1; done; exit 1")
    lab_host("ubuntu1").check_output("systemctl stop slurmd")
    ctl1.check_output(f"for try in $(seq 240); do {state} | grep -q down && exit; sleep 1; done; exit 1")
    assert "Not responding" in ctl1.check_output("scontrol show node ubuntu1 | grep Reason")
    run = playbook("upgrade_nodes", "-e", f"slurm_version={SLURM}-4+new2", "-e", "nodes=ubuntu1")
    assert run.returncode == 0, run.stdout
    assert re.search(r"ubuntu1 +done .*job \d+ COMPLETED", run.stdout), run.stdout
    assert ctl1.check_output(state) == "idle"
    assert revisions(lab_host("ubuntu1")) == {f"{SLURM}-4+new2"}
