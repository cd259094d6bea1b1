"""A firewall that keeps the controller out is named with what opens it, and opened when that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest import MACHINE
from testing import GENERATION, in_container, lab_host, run_command, run_playbook, run_roles, set_down, unwrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

# Debian's own, as the lab's packages have neither.
SUITE = {"24.11": "trixie", "22.05": "bookworm"}[GENERATION]
INSTALL = (
    f"echo 'deb http://deb.debian.org/debian {SUITE} main' > /etc/apt/sources.list.d/distribution.list"
    " && apt-get -qq update && export DEBIAN_FRONTEND=noninteractive"
    " && apt-get -qq install --yes --no-install-recommends {packages} > /dev/null 2>&1"
    " && rm /etc/apt/sources.list.d/distribution.list"
)
PACKAGES = {"ufw": "ufw", "firewalld": "firewalld"}
START = {
    "ufw": "ufw allow 22 && ufw --force enable",
    "firewalld": "systemctl start firewalld && firewall-cmd --add-service=ssh",
}
STOP = {"ufw": "ufw --force disable", "firewalld": "systemctl disable --now firewalld"}
OPENED = {
    "ufw": "ufw allow proto tcp to any port 6818 comment slurmscale",
    "firewalld": "firewall-cmd --permanent --add-port=6818/tcp; firewall-cmd --add-port=6818/tcp",
}
pytestmark = pytest.mark.skipif(MACHINE != "ubuntu1", reason="the stand-in for Rocky has no source of firewalld")


@pytest.fixture(params=["ufw", "firewalld"])
def wall(request: pytest.FixtureRequest) -> Iterator[str]:
    """Turn a firewall on that lets only ssh in."""
    name: str = request.param
    lab_host(MACHINE).check_output(INSTALL.format(packages=PACKAGES[name]))
    run_command(in_container(MACHINE, START[name]))
    yield name
    run_command(in_container(MACHINE, STOP[name]))


def reached(ctl1: Host) -> bool:
    return bool(ctl1.run("timeout 3 bash -c '< /dev/tcp/%s/6818'", MACHINE).rc == 0)


def test_a_firewall_is_named_with_what_opens_it_and_opened_when_that_is_wanted(ctl1: Host, wall: str) -> None:
    assert not reached(ctl1)
    # Of a node that works nothing is asked.
    set_down(ctl1, MACHINE, "test")
    try:
        checked = run_playbook("check_nodes")
        assert checked.returncode == 2, checked.stdout
        said = unwrap(checked.stdout)
        assert "port-unreachable" in said
        assert f"{wall} is on there. Set slurmd_open_firewall: true, or run on it: {OPENED[wall]}" in said
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
    restart = {"ufw": "ufw reload", "firewalld": "systemctl restart firewalld"}[wall]
    run_command(in_container(MACHINE, restart))
    assert reached(ctl1)
    assert lab_host(MACHINE).service("slurmd").is_running
