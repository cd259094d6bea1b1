"""Slurm from AppHub, and what it needs from the distribution: what is missing, what is held, and what is half done.

After test_readiness.py: machines that had a fault there are right here.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from testing import in_container, lab_host, run_command, run_playbook, unwrap

if TYPE_CHECKING:
    import subprocess

    from testinfra.host import Host

NODES = ("-e", "nodes=rocky3,ubuntu3")
SOURCE = "/etc/apt/sources.list.d/distribution.list"
# What unattended upgrades do on a fresh machine, for some seconds.
HOLD = (
    "import fcntl, time; f = open('/var/lib/apt/lists/lock', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep({seconds})"
)
NEEDRESTART = "/usr/lib/needrestart-stand-in"
RECORD = "/root/needrestart"


@pytest.fixture(scope="module", autouse=True)
def larger_disk() -> None:
    run_command(in_container("rocky3", "umount /var"))


def scale_up(*arguments: str, beside: str = "distribution") -> subprocess.CompletedProcess[str]:
    stated = json.dumps({"apphub_client_dependency_repositories": [beside] if beside else []})
    return run_playbook("scale_up", *NODES, "-e", stated, *arguments)


def row(run: subprocess.CompletedProcess[str], node: str) -> str:
    """Return what the table at the end of a run says of a node."""
    (found,) = re.findall(rf"^ +({node} +(?:done|unchanged|failed) .*)$", run.stdout, re.MULTILINE)
    return unwrap(found)


def test_dependencies_that_nobody_has_are_told_for_each_package_and_nothing_is_installed() -> None:
    ubuntu, rocky = lab_host("ubuntu3"), lab_host("rocky3")
    ubuntu.check_output(f"mv {SOURCE} {SOURCE}.away")
    try:
        run = scale_up(beside="")
    finally:
        ubuntu.check_output(f"mv {SOURCE}.away {SOURCE}")
    assert run.returncode == 2, run.stdout
    for node, package in (("ubuntu3", "slurmd"), ("rocky3", "slurm-slurmd")):
        said = row(run, node)
        assert "package-dependency-missing" in said
        assert "Nothing was installed, as dependencies are missing: " in said
        assert f"{package} needs " in said
        assert "libhwloc15" in said
    assert ":8081/pkgs/deb/ubuntu" in row(run, "ubuntu3")
    assert "Looked for in apphub, and not in distribution, which are not enabled" in row(run, "rocky3")
    assert ubuntu.run("dpkg-query --show munge slurmd libhwloc15").rc == 1
    assert rocky.run("rpm --query munge slurm libhwloc15").stdout.count("not installed") == 3


def test_a_repository_that_is_stated_and_that_the_machine_has_not_is_found_before_anything_is_done() -> None:
    stated = json.dumps({"apphub_client_dependency_repositories": ["crb"]})
    run = run_playbook("check_nodes", "-e", "nodes=rocky3", "-e", stated)
    assert run.returncode == 2, run.stdout
    assert "package-source-missing" in run.stdout
    assert "distribution" in run.stdout


def test_a_fresh_machine_gets_dependencies_from_the_distribution_when_nobody_else_installs_any_more(ctl1: Host) -> None:
    ubuntu = lab_host("ubuntu3")
    assert not ubuntu.check_output("find /var/lib/apt/lists -name '*8090*'")
    # needrestart's hook does nothing when it is told so, in this way.
    script = f'#!/bin/sh\necho "${{NEEDRESTART_SUSPEND:-restarts services}}" >> {RECORD}\n'
    ubuntu.check_output("printf %%s %s > %s && chmod 755 %s", script, NEEDRESTART, NEEDRESTART)
    ubuntu.check_output("echo 'DPkg::Post-Invoke { \"%s\"; };' > /etc/apt/apt.conf.d/99needrestart", NEEDRESTART)
    ubuntu.check_output("systemd-run --quiet --unit unattended python3 -c %s", HOLD.format(seconds=25))
    run = scale_up()
    assert run.returncode == 0, run.stdout
    assert set(ubuntu.check_output("cat %s", RECORD).split()) == {"1"}
    assert ubuntu.check_output("find /var/lib/apt/lists -name '*8090*'")
    assert lab_host("rocky3").package("libhwloc15").is_installed
    assert "enabled=0" in lab_host("rocky3").file("/etc/yum.repos.d/distribution.repo").content_string
    states = ctl1.check_output("sinfo --noheader --Node --format '%%N %%T' --nodes rocky3,ubuntu3").splitlines()
    assert sorted(states) == ["rocky3 idle", "ubuntu3 idle"]


def test_what_never_lets_go_of_apt_is_named() -> None:
    ubuntu = lab_host("ubuntu3")
    ubuntu.check_output("apt-get remove --yes --quiet slurm-client")
    ubuntu.check_output("systemd-run --quiet --unit unattended python3 -c %s", HOLD.format(seconds=600))
    try:
        run = scale_up("-e", "apphub_client_lock_timeout=3")
    finally:
        ubuntu.check_output("systemctl stop unattended")
    assert run.returncode == 2, run.stdout
    assert "package-manager-busy" in row(run, "ubuntu3")
    assert "python3 (" in row(run, "ubuntu3")
    assert "has held /var/lib/apt/lists/lock for more than 3" in row(run, "ubuntu3")


def test_what_an_installation_left_half_done_is_found_by_the_probe_and_finished() -> None:
    """On Debian a library that is unpacked only; on EL a package that is there in two versions."""
    ubuntu, rocky = lab_host("ubuntu3"), lab_host("rocky3")
    assert scale_up().returncode == 0
    ubuntu.check_output("cd /var/tmp && apt-get download libhwloc15 && dpkg --unpack libhwloc15*.deb")
    assert "libhwloc15" in ubuntu.check_output("dpkg --audit")
    spec = "Name: munge-libs\nVersion: 0.1\nRelease: 1\nSummary: old\nLicense: none\n%description\nOld.\n%files\n"
    rocky.check_output("printf %%s %s > /var/tmp/old.spec", spec)
    rocky.check_output("rpmbuild -bb --quiet --define '_topdir /var/tmp/old' /var/tmp/old.spec")
    rocky.check_output("rpm --install --nosignature --oldpackage /var/tmp/old/RPMS/*/munge-libs-0.1-1.*.rpm")
    assert len(rocky.check_output("rpm --query munge-libs").splitlines()) == 2
    run = scale_up()
    assert run.returncode == 0, run.stdout
    assert not ubuntu.check_output("dpkg --audit")
    (there,) = rocky.check_output("rpm --query munge-libs").splitlines()
    assert "0.1-1" not in there
    again = scale_up()
    for node in ("rocky3", "ubuntu3"):
        assert row(again, node).startswith(f"{node} unchanged"), again.stdout
