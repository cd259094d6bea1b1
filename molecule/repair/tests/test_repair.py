"""What a repair finds in a broken cluster, what it fixes, what it leaves and why, and that jobs run afterwards."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from testing import INVENTORY, lab_host, run_playbook, run_slurmscale, set_down, unwrap

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from testinfra.host import Host

NODES = ["rocky1", "ubuntu1", "ubuntu2"]
KEY = "/etc/munge/munge.key"
STEP = "slurmstepd: [99999.batch]"
# How each thing is broken: host, command, the check that finds it there, and words of what is found. Without a check it
# is found on another host. The leftover step is there from the beginning, as it counts only after a minute.
FAULTS = [
    ("ctl1", f"chmod 0444 {KEY}", "munge key's permissions", "0444 munge:munge"),
    ("ctl1", "chown root /var/spool/slurmctld", "permissions of /var/spool/slurmctld", "root:"),
    ("ctl1", "systemctl disable --quiet slurmctld", "slurmctld at boot", "disabled"),
    ("rocky1", "systemctl stop munge", "service munge", "inactive"),
    ("rocky1", "echo '# old' >> /var/spool/slurmd/conf-cache/slurm.conf", "configuration", "slurm.conf in"),
    ("rocky1", "true", "leftover slurmstepd", "of job 99999.batch"),
    ("ctl1", "scontrol update NodeName=ubuntu1 State=DRAIN Reason='slurmscale: upgrade'", "", ""),
    ("ubuntu1", "systemctl stop slurmd", "service slurmd", "inactive"),
    ("ubuntu1", "true", "state", "slurmscale: upgrade"),
    ("ubuntu1", "echo SLURMD_OPTIONS= > /etc/default/slurmd", "slurmd's options", "/etc/default/slurmd differ"),
    ("ubuntu1", "chmod 0777 /var/log/munge", "permissions of /var/log/munge", "0777"),
    (
        "ubuntu2",
        f"dd if=/dev/urandom of={KEY} bs=1024 count=1 status=none; systemctl restart munge",
        "munge key",
        "fingerprint",
    ),
]
FAULTED = [fault for fault in FAULTS if fault[2]]


@pytest.fixture(scope="module", autouse=True)
def leftover() -> float:
    """Start a process that looks like a step of a job that nobody knows, and return when."""
    command = (
        "install $(command -v sleep) /opt/slurmstepd;"
        f" setsid bash -c 'exec -a \"{STEP}\" /opt/slurmstepd 6000' <&- >&- 2>&- &"
    )
    lab_host("rocky1").check_output(command)
    return time.monotonic()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report") / "repair.json"


def repair(action: str, report: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    report.unlink(missing_ok=True)
    return run_playbook("repair_cluster", "-e", f"action={action}", "-e", f"report={report}", *arguments, timeout=400)


def results(report: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["host"], one["check"]): one for one in json.loads(report.read_text())["findings"]}


def states(ctl1: Host) -> dict[str, str]:
    lines = ctl1.check_output("sinfo --noheader --partition batch --Node --format '%%N %%T'").splitlines()
    return dict(line.split() for line in lines)


def wait_for(ctl1: Host, node: str, state: str) -> None:
    for _ in range(40):
        if states(ctl1)[node] == state:
            return
        time.sleep(1)
    pytest.fail(f"{node} is {states(ctl1)[node]}, not {state}")


@pytest.mark.parametrize("action", [[], ["-e", "action=improve"]])
def test_without_one_of_the_three_actions_nothing_happens_and_they_are_explained(action: list[str]) -> None:
    run = run_playbook("repair_cluster", *action)
    assert run.returncode == 2
    said = unwrap(run.stdout)
    for part in ("check lists what is wrong", "fix fixes what is safe", "test submits a job", "Nothing was changed"):
        assert part in said
    assert "Check the controller" not in run.stdout


def test_a_job_runs_in_each_partition_and_its_output_is_shown(report: Path) -> None:
    run = repair("test", report)
    assert run.returncode == 0, run.stdout
    tests = {one["partition"]: one for one in json.loads(report.read_text())["tests"]}
    assert set(tests) == {"batch", "rocks"}
    assert tests["rocks"]["node"] == "rocky1"
    for one in tests.values():
        assert (one["ok"], one["state"]) == (True, "COMPLETED")
        assert re.match(rf"{one['node']}, \d+ CPUs, root, slurm", one["output"])
        assert one["output"] in run.stdout


def test_every_fault_is_found_then_fixed_and_the_nodes_are_back(ctl1: Host, report: Path, leftover: float) -> None:
    for host, command, _, _ in FAULTS:
        lab_host(host).check_output(command.replace("%", "%%"))
    time.sleep(max(0.0, leftover + 61 - time.monotonic()))  # a younger step may still be about to start

    run = repair("check", report)
    assert run.returncode == 2
    found = results(report)
    for host, _, check, part in FAULTED:
        assert (host, check) in found, run.stdout
        assert found[host, check]["result"] == "found"
        assert part in found[host, check]["found"]
        assert found[host, check]["remedy"]
    assert lab_host("ubuntu1").service("slurmd").is_running is False

    run = repair("fix", report)
    assert run.returncode == 0, run.stdout
    fixed = results(report)
    for host, _, check, _ in FAULTED:
        assert fixed[host, check]["result"] == "fixed"
    assert re.search(r"^\s+\d+ fixed, 1 note\.$", run.stdout, re.MULTILINE)

    assert states(ctl1) == dict.fromkeys(NODES, "idle")
    assert ctl1.file(KEY).mode == 0o400
    assert ctl1.file("/var/spool/slurmctld").user == "slurm"
    assert ctl1.service("slurmctld").is_enabled
    assert lab_host("ubuntu2").file(KEY).sha256sum == ctl1.file(KEY).sha256sum
    assert "--conf-server" in lab_host("ubuntu1").file("/etc/default/slurmd").content_string
    assert not lab_host("rocky1").process.filter(comm="slurmstepd")

    assert repair("check", report).returncode == 0
    assert {(one["host"], one["result"]) for one in results(report).values()} == {("rocky2", "note")}


def test_what_slurm_holds_back_is_resumed_but_never_a_drain_of_somebody_else(ctl1: Host, report: Path) -> None:
    ctl1.check_output("scontrol update NodeName=rocky1 State=DRAIN Reason='disk is to be replaced'")
    own = "/etc/slurm/slurmscale-nodes.conf"
    ctl1.check_output("sed -i '/NodeName=ubuntu2/s/RealMemory=[0-9]*/RealMemory=9000000/' %s", own)
    # No change of the set of nodes, so this is safe on every generation.
    ctl1.check_output("scontrol reconfigure")
    lab_host("ubuntu2").check_output("systemctl restart slurmd")
    wait_for(ctl1, "ubuntu2", "inval")
    set_down(ctl1, "ubuntu1", "Node unexpectedly rebooted")
    try:
        run = repair("fix", report)
        assert run.returncode == 0, run.stdout
        found = results(report)
        assert found["rocky1", "state"]["result"] == "note"
        assert "disk is to be replaced" in found["rocky1", "state"]["found"]
        assert "scontrol update NodeName=rocky1 State=RESUME" in found["rocky1", "state"]["remedy"]
        assert found["ubuntu1", "state"]["result"] == "fixed"
        assert found["ubuntu2", "state"]["result"] == "fixed"
        assert "RealMemory 9000000 >" in found["ubuntu2", "state"]["found"]
        assert states(ctl1) == {"rocky1": "drained", "ubuntu1": "idle", "ubuntu2": "idle"}

        run = repair("test", report)
        assert run.returncode == 2
        tests = {one["partition"]: one for one in json.loads(report.read_text())["tests"]}
        assert tests["batch"]["ok"]
        assert "no node of it takes jobs: rocky1 IDLE+DRAIN" in tests["rocks"]["message"]
    finally:
        ctl1.check_output("scontrol update NodeName=rocky1 State=RESUME")


def test_a_node_that_an_administrator_set_down_stays_down(ctl1: Host, report: Path) -> None:
    set_down(ctl1, "rocky1", "board is to be replaced")
    try:
        # Each of them makes slurmd register.
        ctl1.check_output("scontrol reconfigure")
        lab_host("rocky1").check_output("systemctl restart slurmd")
        time.sleep(10)
        assert states(ctl1)["rocky1"] == "down"

        assert repair("fix", report).returncode == 0
        assert results(report)["rocky1", "state"]["result"] == "note"
        assert states(ctl1)["rocky1"] == "down"
    finally:
        ctl1.check_output("scontrol update NodeName=rocky1 State=RESUME")


def test_a_controller_that_is_down_is_started(ctl1: Host, report: Path) -> None:
    ctl1.check_output("systemctl stop slurmctld munge")
    run = repair("fix", report)
    assert run.returncode == 0, run.stdout
    found = results(report)
    assert found["ctl1", "service slurmctld"]["result"] == "fixed"
    assert found["ctl1", "service munge"]["result"] == "fixed"
    assert states(ctl1) == dict.fromkeys(NODES, "idle")


def test_what_is_left_is_left_with_its_reason(ctl1: Host, report: Path) -> None:
    """A clock that is ahead, a disk with less than is asked for, and a machine that does not answer."""
    host = lab_host("ubuntu1")
    host.check_output("mkdir -p /opt/ahead")
    host.check_output(
        "printf 'import time\\n_now = time.time\\ntime.time = lambda: _now() + 3600\\n' > /opt/ahead/sitecustomize.py"
    )
    host.check_output(
        "printf '#!/bin/sh\\nPYTHONPATH=/opt/ahead exec /usr/bin/python3 \"$@\"\\n' > /opt/ahead/python3"
        " && chmod 0755 /opt/ahead/python3"
    )
    inventory = report.parent / "further.yml"
    inventory.write_text(
        "all: {hosts: {ubuntu1: {ansible_python_interpreter: /opt/ahead/python3},"
        " ubuntu2: {ansible_host: 127.0.0.1, ansible_port: 1}, rocky1: {preflight_min_free_mb: 100000000}}}\n"
    )
    run = repair("fix", report, "-i", str(inventory))
    assert run.returncode == 2
    found = results(report)
    assert found["ubuntu1", "clock"]["result"] == "left"
    assert "chrony" in found["ubuntu1", "clock"]["remedy"]
    assert found["rocky1", "space in /var"]["result"] == "left"
    assert found["ubuntu2", "reachable"]["result"] == "left"
    assert states(ctl1) == dict.fromkeys(NODES, "idle")


OTHER_CONF = """\
ClusterName=other
SlurmctldHost=elsewhere(192.0.2.1)
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
NodeName=ubuntu2 CPUs=1
PartitionName=all Nodes=ALL
"""


def test_a_node_that_serves_another_cluster_is_left_alone(ctl1: Host, report: Path) -> None:
    host = lab_host("ubuntu2")
    ours = host.file("/etc/default/slurmd").content_string
    host.check_output("mkdir -p /etc/other && printf %%s %s > /etc/other/slurm.conf", OTHER_CONF)
    host.check_output("printf %%s %s > /etc/default/slurmd", 'SLURMD_OPTIONS="-f /etc/other/slurm.conf"\n')
    host.check_output(f"dd if=/dev/urandom of={KEY} bs=1024 count=1 status=none; systemctl restart munge slurmd")
    theirs = [host.file(path).sha256sum for path in (KEY, "/etc/default/slurmd")]
    started = host.check_output("systemctl show --property InvocationID --value slurmd munge")
    try:
        run = repair("fix", report)
        assert run.returncode == 2, run.stdout
        found = results(report)["ubuntu2", "cluster"]
        assert (found["code"], found["result"]) == ("node-of-other-cluster", "left")
        assert "cluster other of controller elsewhere" in found["reason"]
        assert {check for host, check in results(report) if host == "ubuntu2"} <= {"cluster", "state"}
        assert [host.file(path).sha256sum for path in (KEY, "/etc/default/slurmd")] == theirs
        assert host.check_output("systemctl show --property InvocationID --value slurmd munge") == started
    finally:
        host.check_output("printf %%s %s > /etc/default/slurmd; rm -r /etc/other", ours)
        host.check_output("systemctl stop slurmd")
    assert repair("fix", report).returncode == 0
    assert states(ctl1) == dict.fromkeys(NODES, "idle")


def test_without_an_argument_the_command_checks_fixes_and_tests_in_turn(ctl1: Host, tmp_path: Path) -> None:
    inventory = str(INVENTORY / "hosts.yml")
    lab_host("rocky1").check_output("systemctl stop munge")
    lab_host("ubuntu1").check_output("systemctl stop slurmd")
    run = run_slurmscale(tmp_path, "repair", "-i", inventory)
    assert run.returncode == 0, run.stdout + run.stderr
    found, fixed, tested = run.stdout.partition("fixed")
    assert "service munge" in found
    assert fixed
    assert "COMPLETED" in tested
    runs = json.loads(run_slurmscale(tmp_path, "runs", "--json").stdout)
    assert [(one["type"], one["status"]) for one in runs] == [
        ("repair-test", "completed"),
        ("repair-fix", "completed"),
        ("repair-check", "failed"),
    ]
    tasks = {one["node"]: one for one in json.loads(run_slurmscale(tmp_path, "tasks", runs[-1]["id"], "--json").stdout)}
    assert {node for node, one in tasks.items() if one["status"] == "failed"} == {"rocky1", "ubuntu1"}
    assert {tasks[node]["error"]["code"] for node in ("rocky1", "ubuntu1")} == {"service-down"}
    assert states(ctl1) == dict.fromkeys(NODES, "idle")

    # nothing is wrong: nothing is fixed
    run = run_slurmscale(tmp_path, "repair", "-i", inventory)
    assert run.returncode == 0, run.stdout + run.stderr
    runs = json.loads(run_slurmscale(tmp_path, "runs", "--json").stdout)
    assert [one["type"] for one in runs[:-3]] == ["repair-test", "repair-check"]


def test_a_node_that_left_the_cluster_is_told_and_left_alone(report: Path) -> None:
    assert run_playbook("scale_down", "-e", "nodes=ubuntu2", "-e", "confirm=true").returncode == 0
    host = lab_host("ubuntu2")
    assert not host.service("slurmd").is_running
    run = repair("fix", report)
    assert run.returncode == 2, run.stdout
    found = results(report)["ubuntu2", "node"]
    assert (found["code"], found["result"]) == ("node-not-registered", "left")
    assert not host.service("slurmd").is_running
