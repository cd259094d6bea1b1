"""A firewall that keeps the controller out is named with what opens it, and opened when that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from conftest import MACHINE
from testing import (
    GENERATION,
    PODMAN,
    container,
    in_container,
    lab_address,
    lab_host,
    run_command,
    run_playbook,
    run_roles,
    set_down,
    unwrap,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host


class Firewall(NamedTuple):
    """How a distribution's firewall is used."""

    name: str
    role: str
    # Lets only ssh in.
    on: str
    off: str
    allow: str
    reload: str
    opening: str
    # What an uninstallation has to be told: ufw knows which rules were made for slurmd.
    closing: dict[str, Any]


FIREWALL = {
    "rocky1": Firewall(
        "firewalld",
        "slurmd-rocky",
        "systemctl start firewalld",
        "systemctl stop firewalld",
        "firewall-cmd --permanent --add-port {0}/tcp && firewall-cmd --add-port {0}/tcp",
        "firewall-cmd --reload",
        "firewall-cmd --permanent --zone=public --add-port=6818/tcp; firewall-cmd --zone=public --add-port=6818/tcp",
        {"slurmd_open_firewall": True},
    ),
    "ubuntu1": Firewall(
        "ufw",
        "slurmd-ubuntu",
        "ufw allow 22 && ufw --force enable",
        "ufw --force disable",
        "ufw allow {0}",
        "ufw reload",
        "ufw allow proto tcp to any port 6818 comment slurmscale",
        {},
    ),
}[MACHINE]
# Debian's own, as the lab's packages do not have it.
SUITE = {"24.11": "trixie", "22.05": "bookworm"}[GENERATION]
APT = (
    f"echo 'deb http://deb.debian.org/debian {SUITE} main' > /etc/apt/sources.list.d/distribution.list"
    " && apt-get -qq update && export DEBIAN_FRONTEND=noninteractive"
    " && apt-get -qq install --yes --no-install-recommends {} > /dev/null 2>&1"
    " && rm /etc/apt/sources.list.d/distribution.list"
)


def in_machine(command: str) -> None:
    """Run a command on the node without its network."""
    run_command(in_container(MACHINE, command))


def set_firewalld(*changes: str) -> None:
    """Change what firewalld keeps, and let it count."""
    in_machine("".join(f"firewall-cmd --permanent {change} && " for change in changes) + "firewall-cmd --reload")


def install() -> None:
    """Install the firewall unless it is there."""
    if lab_host(MACHINE).exists({"firewalld": "firewall-cmd", "ufw": "ufw"}[FIREWALL.name]):
        return
    if FIREWALL.name == "ufw":
        in_machine(APT.format("ufw"))
        return
    # The stand-in for Rocky has no apt: the controller's looks for what is missing there.
    # netbase has the names of protocols, which every Rocky has.
    run_command(f"{PODMAN} cp {container(MACHINE)}:/var/lib/dpkg/status {container('ctl1')}:/tmp/status")
    options = "-o Dir::State::status=/tmp/status -o Dir::Cache::archives=/tmp/debs --download-only firewalld netbase"
    run_command(in_container("ctl1", f"mkdir -p /tmp/debs/partial && {APT.format(options)}"))
    run_command(f"{PODMAN} cp {container('ctl1')}:/tmp/debs {container(MACHINE)}:/tmp")
    # polkit does not start in a container, and firewalld waits for it where it is installed. Root needs none.
    in_machine("cd /tmp/debs && rm polkitd_* libpam-systemd_* && dpkg --install --force-depends *.deb")


@pytest.fixture
def firewall() -> Iterator[None]:
    """Turn a firewall on that lets only ssh in."""
    install()
    in_machine(FIREWALL.on)
    yield
    in_machine(FIREWALL.off)


@pytest.fixture
def srun_ports(ctl1: Host) -> Iterator[str]:
    """Let the cluster have ports for srun, and make the node again when the firewall is off."""
    ctl1.check_output("echo SrunPortRange=60001-60010 >> /etc/slurm/slurm.conf && scontrol reconfigure")
    yield "60001"
    ctl1.check_output("sed -i '/^SrunPortRange=/d' /etc/slurm/slurm.conf && scontrol reconfigure")
    again = run_roles(MACHINE, FIREWALL.role)
    assert again.returncode == 0, again.stdout


@pytest.fixture
def other_zone() -> Iterator[str]:
    """Let the node's network have another zone than the default one, in which only ssh is let in as well."""
    set_firewalld("--zone=internal --change-interface=eth0")
    yield "internal"
    set_firewalld("--zone=public --change-interface=eth0", f"--zone=trusted --remove-source={lab_address('ctl1')}")


def reached(ctl1: Host, port: str = "6818") -> bool:
    """Say whether a port is let in; what is not goes without an answer."""
    answer = ctl1.run("timeout 3 bash -c '< /dev/tcp/%s/%s'", MACHINE, port)
    return bool(answer.rc == 0 or "Connection refused" in answer.stderr)


@pytest.mark.usefixtures("firewall")
def test_a_firewall_is_named_with_what_opens_it_and_opened_when_that_is_wanted(ctl1: Host) -> None:
    assert not reached(ctl1)
    # Of a node that works nothing is asked.
    set_down(ctl1, MACHINE, "test")
    try:
        checked = run_playbook("check_nodes")
        assert checked.returncode == 2, checked.stdout
        said = unwrap(checked.stdout)
        assert "port-unreachable" in said
        assert f"{FIREWALL.name} is on there. Set slurmd_open_firewall: true, or run on it: {FIREWALL.opening}" in said
        planned = run_playbook("check_nodes", "-e", "slurmd_open_firewall=true")
        assert planned.returncode == 0, planned.stdout
        assert not reached(ctl1), "a check opens nothing"
        run = run_roles(MACHINE, FIREWALL.role, slurmd_open_firewall=True)
        assert run.returncode == 0, run.stdout
        assert reached(ctl1)
    finally:
        ctl1.check_output("scontrol update NodeName=%s State=RESUME", MACHINE)
    assert ctl1.check_output("cd / && timeout 60 srun --nodelist %s hostname", MACHINE) == MACHINE
    again = run_roles(MACHINE, FIREWALL.role, slurmd_open_firewall=True)
    assert "changed=0" in again.stdout, again.stdout
    # After a boot, too: what is kept is what is in force.
    in_machine(FIREWALL.reload)
    assert reached(ctl1)
    assert lab_host(MACHINE).service("slurmd").is_running


@pytest.mark.skipif(FIREWALL.name != "firewalld", reason="ufw has no zones")
@pytest.mark.usefixtures("firewall")
def test_the_zone_of_the_network_is_opened_and_what_else_lets_the_port_in_counts(ctl1: Host, other_zone: str) -> None:
    # The test before has opened the default zone.
    assert not reached(ctl1)
    opened = run_roles(MACHINE, FIREWALL.role, slurmd_open_firewall=True)
    assert opened.returncode == 0, opened.stdout
    assert reached(ctl1)
    node = lab_host(MACHINE)
    list_ports = f"firewall-cmd --zone={other_zone} --list-ports"
    assert node.check_output(list_ports) == "6818/tcp"
    zone, source = f"--zone={other_zone}", f"--add-source={lab_address('ctl1')}"
    set_firewalld(f"{zone} --remove-port=6818/tcp")
    assert not reached(ctl1)
    for changes in (
        ["--new-service=cluster", "--service=cluster --add-port=6818/tcp", f"{zone} --add-service=cluster"],
        [f"{zone} --remove-service=cluster", f"--zone=trusted {source}"],
    ):
        set_firewalld(*changes)
        assert reached(ctl1)
        again = run_roles(MACHINE, FIREWALL.role, slurmd_open_firewall=True)
        assert "changed=0" in again.stdout, again.stdout
        assert node.check_output(list_ports) == ""


@pytest.mark.usefixtures("srun_ports", "firewall")
def test_ports_of_srun_are_opened_beside_and_an_uninstallation_closes_what_was_opened(
    ctl1: Host, srun_ports: str
) -> None:
    # Opened by the test before, when the cluster had no ports for srun.
    assert reached(ctl1)
    assert not reached(ctl1, srun_ports)
    in_machine(FIREWALL.allow.format(7777))
    run = run_roles(MACHINE, FIREWALL.role, slurmd_open_firewall=True)
    assert run.returncode == 0, run.stdout
    assert reached(ctl1)
    assert reached(ctl1, srun_ports)
    # With ufw the variable was given for one run.
    gone = run_roles(MACHINE, "preflight", "slurmd/stop", "slurmd/remove", **FIREWALL.closing)
    assert gone.returncode == 0, gone.stdout
    assert not reached(ctl1)
    assert not reached(ctl1, srun_ports)
    assert reached(ctl1, "7777")
    in_machine(FIREWALL.reload)
    assert not reached(ctl1)
    assert reached(ctl1, "7777")
