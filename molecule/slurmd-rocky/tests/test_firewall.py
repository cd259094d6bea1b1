"""A firewall that keeps the controller out is named with what opens it, and opened when that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest import MACHINE
from testing import GENERATION, in_container, lab_host, run_command, run_playbook, run_roles, set_down, unwrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

# Debian's own, as the lab's packages do not have it.
SUITE = {"24.11": "trixie", "22.05": "bookworm"}[GENERATION]
INSTALL = (
    f"echo 'deb http://deb.debian.org/debian {SUITE} main' > /etc/apt/sources.list.d/distribution.list"
    " && apt-get -qq update && export DEBIAN_FRONTEND=noninteractive"
    " && apt-get -qq install --yes --no-install-recommends ufw > /dev/null 2>&1"
    " && rm /etc/apt/sources.list.d/distribution.list"
)
OPENED = "ufw allow proto tcp to any port 6818 comment slurmscale"
# firewalld did not start in the lab; its commands are in the unit tests.
pytestmark = pytest.mark.skipif(MACHINE != "ubuntu1", reason="ufw is a package of Debian and Ubuntu")


@pytest.fixture
def ufw() -> Iterator[None]:
    """Turn a firewall on that lets only ssh in."""
    lab_host(MACHINE).check_output(INSTALL)
    run_command(in_container(MACHINE, "ufw allow 22 && ufw --force enable"))
    yield
    run_command(in_container(MACHINE, "ufw --force disable"))


@pytest.fixture
def srun_ports(ctl1: Host) -> Iterator[str]:
    """Let the cluster have ports for srun, and make the node again when the firewall is off."""
    ctl1.check_output("echo SrunPortRange=60001-60010 >> /etc/slurm/slurm.conf && scontrol reconfigure")
    yield "60001"
    ctl1.check_output("sed -i '/^SrunPortRange=/d' /etc/slurm/slurm.conf && scontrol reconfigure")
    again = run_roles(MACHINE, "slurmd-ubuntu")
    assert again.returncode == 0, again.stdout


def reached(ctl1: Host, port: str = "6818") -> bool:
    """Say whether a port is let in; what is not goes without an answer."""
    answer = ctl1.run("timeout 3 bash -c '< /dev/tcp/%s/%s'", MACHINE, port)
    return bool(answer.rc == 0 or "Connection refused" in answer.stderr)


@pytest.mark.usefixtures("ufw")
def test_a_firewall_is_named_with_what_opens_it_and_opened_when_that_is_wanted(ctl1: Host) -> None:
    assert not reached(ctl1)
    # Of a node that works nothing is asked.
    set_down(ctl1, MACHINE, "test")
    try:
        checked = run_playbook("check_nodes")
        assert checked.returncode == 2, checked.stdout
        said = unwrap(checked.stdout)
        assert "port-unreachable" in said
        assert f"ufw is on there. Set slurmd_open_firewall: true, or run on it: {OPENED}" in said
        planned = run_playbook("check_nodes", "-e", "slurmd_open_firewall=true")
        assert planned.returncode == 0, planned.stdout
        assert not reached(ctl1), "a check opens nothing"
        run = run_roles(MACHINE, "slurmd-ubuntu", slurmd_open_firewall=True)
        assert run.returncode == 0, run.stdout
        assert reached(ctl1)
    finally:
        ctl1.check_output("scontrol update NodeName=%s State=RESUME", MACHINE)
    assert ctl1.check_output("cd / && timeout 60 srun --nodelist %s hostname", MACHINE) == MACHINE
    again = run_roles(MACHINE, "slurmd-ubuntu", slurmd_open_firewall=True)
    assert "changed=0" in again.stdout, again.stdout
    # After a boot, too: what is kept is what is in force.
    run_command(in_container(MACHINE, "ufw reload"))
    assert reached(ctl1)
    assert lab_host(MACHINE).service("slurmd").is_running


@pytest.mark.usefixtures("srun_ports", "ufw")
def test_ports_of_srun_are_opened_beside_and_an_uninstallation_closes_what_was_opened(
    ctl1: Host, srun_ports: str
) -> None:
    # Opened by the test before, when the cluster had no ports for srun.
    assert reached(ctl1)
    assert not reached(ctl1, srun_ports)
    run_command(in_container(MACHINE, "ufw allow 7777"))
    run = run_roles(MACHINE, "slurmd-ubuntu", slurmd_open_firewall=True)
    assert run.returncode == 0, run.stdout
    assert reached(ctl1)
    assert reached(ctl1, srun_ports)
    # The variable was given for one run.
    gone = run_roles(MACHINE, "preflight", "slurmd/stop", "slurmd/remove")
    assert gone.returncode == 0, gone.stdout
    assert not reached(ctl1)
    assert not reached(ctl1, srun_ports)
    assert reached(ctl1, "7777")
