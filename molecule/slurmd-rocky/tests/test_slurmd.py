"""slurmd on one machine. The tests of slurmd-rocky and of slurmd-ubuntu are the same; what differs is in SYSTEMS."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest import MACHINE
from testing import GENERATION, lab_host, run_roles, unwrap

if TYPE_CHECKING:
    from testinfra.host import Host


class System(NamedTuple):
    """What differs."""

    role: str
    other_role: str
    packages: tuple[str, ...]
    options: str


SYSTEM = {
    "rocky1": System("slurmd-rocky", "slurmd-ubuntu", ("munge", "slurm", "slurm-slurmd"), "/etc/sysconfig/slurmd"),
    "ubuntu1": System("slurmd-ubuntu", "slurmd-rocky", ("munge", "slurmd", "slurm-client"), "/etc/default/slurmd"),
}[MACHINE]


@pytest.fixture(scope="module")
def node() -> Host:
    return lab_host(MACHINE)


def test_packages_are_there_without_a_controllers(node: Host) -> None:
    assert all(node.package(name).is_installed for name in SYSTEM.packages)
    assert not node.exists("slurmctld")


def test_slurmd_has_the_controllers_version(ctl1: Host, node: Host) -> None:
    assert node.check_output("slurmd -V") == ctl1.check_output("sinfo --version")


def test_slurmd_runs_now_and_after_a_boot(node: Host) -> None:
    assert node.service("slurmd").is_running
    assert node.service("slurmd").is_enabled


def test_configuration_comes_from_the_controller_alone(node: Host) -> None:
    assert "--conf-server ctl1:6817" in node.file(SYSTEM.options).content_string
    assert not node.file("/etc/slurm/slurm.conf").exists


def test_a_job_runs_on_it(ctl1: Host) -> None:
    assert ctl1.check_output("cd / && timeout 60 srun --nodelist %s hostname", MACHINE) == MACHINE


def test_the_other_systems_role_refuses_it_and_names_this_one() -> None:
    run = run_roles(MACHINE, SYSTEM.other_role)
    assert run.returncode != 0
    assert "code: system-unsupported" in unwrap(run.stdout)
    assert f"Use the role {SYSTEM.role}." in unwrap(run.stdout)


def test_a_slurmd_that_the_controller_does_not_know_is_reported_with_its_journal(ctl1: Host, node: Host) -> None:
    run = run_roles(MACHINE, SYSTEM.role, slurmd_node_name="stranger")
    assert run.returncode != 0
    said = unwrap(run.stdout)
    assert "code: slurmd-not-started" in said
    own = {"24.11": "fatal:", "22.05": 'lookup failure for node "stranger"'}[GENERATION]
    assert own in said[said.index("The last lines of its journal:") :]
    again = run_roles(MACHINE, SYSTEM.role)
    assert again.returncode == 0, again.stdout
    assert node.service("slurmd").is_running
    assert ctl1.check_output("cd / && timeout 60 srun --nodelist %s hostname", MACHINE) == MACHINE


@pytest.mark.skipif(GENERATION != "22.05", reason="its unit tells systemd when slurmd is ready")
def test_a_slurmd_that_systemd_starts_again_and_again_is_not_taken_for_running(node: Host) -> None:
    # It is active nearly all the time.
    command = "/bin/sh -c '/usr/sbin/slurmd -D -s $SLURMD_OPTIONS; sleep 3; exit 1'"
    drop_in = "/etc/systemd/system/slurmd.service.d/again.conf"
    lines = f"[Service]\nExecStart=\nExecStart={command}\nRestartSec=100ms\n"
    node.check_output("printf %%s %s > %s && systemctl daemon-reload", lines, drop_in)
    try:
        run = run_roles(MACHINE, SYSTEM.role, slurmd_node_name="stranger")
        assert run.returncode != 0
        assert "code: slurmd-not-started" in unwrap(run.stdout)
    finally:
        node.check_output("rm %s && systemctl daemon-reload", drop_in)
        again = run_roles(MACHINE, SYSTEM.role)
    assert again.returncode == 0, again.stdout
