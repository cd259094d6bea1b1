"""What a check says of good and bad machines, and that a scale-up goes on with the good ones."""

from __future__ import annotations

import json
import re
import stat
from typing import TYPE_CHECKING, Any

import pytest
from testing import lab_host, run_playbook

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from testinfra.host import Host

MACHINES = ["rocky1", "rocky2", "rocky3", "ubuntu1", "ubuntu2", "ubuntu3", "gone", "plain", "old", "nosudo"]
# Which check fails on which machine, with words of what was found and of the remedy.
FAULTS = {
    "rocky2": {
        "user slurm": ("uid 1234", "usermod"),
        "name of ctl1": ("127.0.1.1", "/etc/hosts"),
        "port ctl1:6817": ("refused", "firewall"),
    },
    "rocky3": {"space in /var": (r"^\d MB", "Free some space")},
    "ubuntu2": {
        "AppHub": (r"/healthz: (?!HTTP 200)", "curl -i http"),
        "uid of munge": (r"uid \d+ belongs to holder", "usermod"),
        "gid of munge": (r"gid \d+ belongs to holders", "groupmod"),
    },
    "ubuntu3": {"clock": (r"\+3[56]\d\d s", "chrony")},
    "gone": {"reachable": ("can't be reached", "ansible_host")},
    "plain": {"privileges": ("uid 1", "ansible_become")},
    "old": {"Python": ("Python 3.6 is too old", "ansible_python_interpreter")},
    "nosudo": {"privileges": ("sudo is missing on nosudo", "Install sudo")},
}
CODES = {
    "rocky2": {"account-id-differs", "name-not-resolved", "port-unreachable"},
    "rocky3": {"disk-space-low"},
    "ubuntu2": {"apphub-unreachable", "account-id-taken"},
    "ubuntu3": {"clock-skew"},
    "gone": {"host-unreachable"},
    "plain": {"privileges-missing"},
    "old": {"python-too-old"},
    "nosudo": {"sudo-missing"},
}
# Machines that the lab has not: one that is off, one that is known under a user without rights, one with an old Python,
# one where that user is to become root without sudo, and one that says of itself what would get it into a partition.
FURTHER = """
all:
  vars:
    apphub_client_dependency_repositories: [distribution]
  hosts:
    ubuntu3: {{ansible_python_interpreter: /opt/ahead/python3}}
  children:
    slurm_nodes:
      hosts:
        gone: {{ansible_host: 127.0.0.1, ansible_port: 1}}
        plain: {{ansible_host: {address}, ansible_user: plain}}
        old: {{ansible_host: {address}, ansible_python_interpreter: /opt/old/python3}}
        nosudo: {{ansible_host: {address}, ansible_user: plain, ansible_become: true}}
        hostile: {{ansible_host: {address}, ansible_python_interpreter: /opt/hostile/python3}}
"""
# A Python says of itself that it is Python 3.6, another one claims features and other nodes.
PYTHONS = {
    "old": "import collections, sys\n"
    "release = collections.namedtuple('version_info', 'major minor micro releaselevel serial')\n"
    "sys.version_info = release(3, 6, 8, 'final', 0)\n",
    "hostile": "import platform, socket\n"
    "platform.machine = lambda: 'x86_64,gpu,secure'\n"
    "socket.gethostname = lambda: 'ctl1 NodeName=evil'\n",
}


@pytest.fixture(scope="module")
def further(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an inventory to be used beside the lab's."""
    host = lab_host("ubuntu1")
    host.check_output("id plain || useradd --create-home plain")
    host.check_output(
        "install -d -o plain -m 700 ~plain/.ssh && install -o plain -m 600 /root/.ssh/authorized_keys ~plain/.ssh/"
    )
    host.check_output("rm -f /usr/bin/sudo")
    for name, changed in PYTHONS.items():
        folder = f"/opt/{name}"
        start = f'#!/bin/sh\nPYTHONPATH={folder} exec /usr/bin/python3 "$@"\n'
        host.check_output("mkdir -p %s && printf %%s %s > %s/sitecustomize.py", folder, changed, folder)
        host.check_output("printf %%s %s > %s/python3 && chmod 755 %s/python3", start, folder, folder)
    path = tmp_path_factory.mktemp("inventory") / "further.yml"
    path.write_text(FURTHER.format(address=host.check_output("hostname -I").split()[0]))
    return str(path)


@pytest.fixture(scope="module")
def checked(further: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Check all machines once and return the run and the file of its report."""
    report = tmp_path_factory.mktemp("report") / "ready.json"
    return run_playbook("check_nodes", "-i", further, "-e", f"report={report}"), report


def problems(report: Path, machine: str) -> dict[str, dict[str, Any]]:
    checks = json.loads(report.read_text())["nodes"][machine]["checks"]
    return {check["check"]: check for check in checks if not check["ok"]}


def test_the_exit_code_tells_that_a_machine_is_not_ready(
    checked: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    run, report = checked
    assert run.returncode == 2, run.stdout
    assert stat.S_IMODE(report.stat().st_mode) == 0o644


@pytest.mark.parametrize("machine", ["rocky1", "ubuntu1"])
def test_a_good_machine_is_ready(checked: tuple[subprocess.CompletedProcess[str], Path], machine: str) -> None:
    run, report = checked
    node = json.loads(report.read_text())["nodes"][machine]
    assert node["ready"], node
    assert node["cpus"] >= 1
    assert {"AppHub", "clock", "name of ctl1", "port ctl1:6817", "name on the controller", f"port {machine}:6818"} <= {
        check["check"] for check in node["checks"]
    }
    assert re.search(rf"^\s+{machine}\s+yes\b", run.stdout, re.MULTILINE)


@pytest.mark.parametrize("machine", FAULTS)
def test_a_bad_machine_is_refused_with_reason_and_remedy(
    checked: tuple[subprocess.CompletedProcess[str], Path], machine: str
) -> None:
    run, report = checked
    found = problems(report, machine)
    assert set(found) == set(FAULTS[machine])
    assert {check["code"] for check in found.values()} == CODES[machine]
    for check, (words, remedy) in FAULTS[machine].items():
        assert re.search(words, found[check]["found"]), found[check]
        assert remedy in found[check]["remedy"]
    assert re.search(rf"^\s+{machine}\s+NO\b", run.stdout, re.MULTILINE)


def test_a_machine_that_claims_what_no_machine_is_called_is_refused(
    checked: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    found = problems(checked[1], "hostile")["what the machine says"]
    assert found["code"] == "node-claim-invalid"
    assert "'x86_64,gpu,secure'" in found["found"]
    assert "'ctl1 NodeName=evil'" in found["found"]


def test_nothing_was_installed_by_looking() -> None:
    assert not lab_host("ubuntu1").package("munge").is_installed
    assert not lab_host("ubuntu1").file("/etc/apt/sources.list.d/apphub.sources").exists


def test_a_scale_up_goes_on_with_the_ready_ones_only(further: str, ctl1: Host) -> None:
    run = run_playbook("scale_up", "-i", further, "-e", "nodes=rocky1,rocky2,ubuntu1,ubuntu2,ubuntu3,gone,hostile")
    assert run.returncode == 2, run.stdout
    for words in ("uid 1234", "+36", "belongs to holder", "NodeName=evil", "2 of 7 nodes succeeded, 5 failed"):
        assert words in run.stdout, run.stdout
    assert sorted(ctl1.check_output("sinfo --noheader --Node --format '%%N %%T'").splitlines()) == [
        "rocky1 idle",
        "ubuntu1 idle",
    ]
    assert not lab_host("rocky2").package("slurm-slurmd").is_installed
    assert ctl1.run("grep --recursive --regexp=evil --regexp=secure /etc/slurm").rc == 1
    assert lab_host("ubuntu2").run("getent passwd munge || getent group munge").rc == 2
    assert not lab_host("ubuntu2").file("/etc/apt/sources.list.d/apphub.sources").exists


def test_a_node_that_works_is_ready(checked: tuple[subprocess.CompletedProcess[str], Path], ctl1: Host) -> None:
    assert checked
    run = run_playbook("check_nodes", "-e", "nodes=rocky1,ubuntu1")
    assert run.returncode == 0, run.stdout
    assert ctl1.check_output("sinfo --version").split()[1] in run.stdout


def test_without_a_controller_no_machine_is_ready_and_the_report_says_why(ctl1: Host, tmp_path: Path) -> None:
    report = tmp_path / "ready.json"
    ctl1.check_output("systemctl stop slurmctld")
    try:
        run = run_playbook("check_nodes", "-e", "nodes=ubuntu1", "-e", f"report={report}")
    finally:
        ctl1.check_output("systemctl start slurmctld")
    assert run.returncode == 2
    found = problems(report, "ubuntu1")["controller"]
    assert "does not answer" in found["found"]
    assert "systemctl status slurmctld" in found["remedy"]
