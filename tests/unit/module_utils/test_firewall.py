"""Which firewall a machine has on, what it lets in, and what has to be told to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.filter.firewall_commands import firewall_commands
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.facts import is_active
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.firewall import firewall_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakes.machine import Machine

# As ufw writes it for: allow 22; allow proto tcp to any port 6818,60001:63000 comment slurmscale; allow from 10.0.0.2
RULES = """*filter
### tuple ### allow any 22 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-input -p tcp --dport 22 -j ACCEPT
### tuple ### allow tcp 6818,60001:63000 0.0.0.0/0 any 0.0.0.0/0 in comment=736c75726d7363616c65
### tuple ### allow tcp 9999 0.0.0.0/0 any 10.0.0.2 in
### tuple ### deny tcp 8888 0.0.0.0/0 any 0.0.0.0/0 in
"""
CLUSTER = {"slurmd_port": 6818, "config": {"SrunPortRange": "60001-63000"}}
UFW = {"name": "ufw", "tcp": ["22"]}
FIREWALLD = {"name": "firewalld", "zone": "public", "tcp": [], "ports": []}
# As firewalld 2 and, without "default", 1 list zones.
ZONES = """internal
  target: default
  interfaces: {internal}
  sources:{sources}
  services: ssh cluster
  ports: 7777/tcp
  rich rules:
\trule family="ipv4" source address="10.1.0.0/16" port port="9999" protocol="tcp" accept

public (default, active)
  target: default
  interfaces:{public}
  sources:
  services: ssh
  ports: 6818/tcp 53/udp 60001-63000/tcp
  rich rules:

trusted
  target: ACCEPT
  interfaces: {trusted}
  sources: 192.0.2.0/24
  services:
  ports:
  rich rules:
"""
SERVICE = """<?xml version="1.0" encoding="utf-8"?>
<service>
  <port port="6818" protocol="tcp"/>
  <port protocol='udp' port='6819'/><port protocol="tcp" port="60001-63000"/><port protocol="gre" port=""/>
</service>
"""


def nothing(argv: Sequence[str]) -> str:
    raise AssertionError(argv)


def test_ufw_counts_only_when_it_is_enabled(machine: Machine) -> None:
    machine.write("etc/ufw/user.rules", RULES)
    machine.write("etc/ufw/ufw.conf", "# comment\nENABLED=no\n")
    assert firewall_facts(False, nothing, machine.root) == {"name": "", "tcp": [], "ours": []}  # noqa: FBT003 - what systemd says
    machine.write("etc/ufw/ufw.conf", "# comment\nENABLED=yes\nLOGLEVEL=low\n")
    found = firewall_facts(False, nothing, machine.root)  # noqa: FBT003 - what systemd says
    assert found == {"name": "ufw", "tcp": ["22", "6818", "60001-63000"], "ours": ["6818,60001:63000"]}


class Firewalld:
    """Answers as its commands and `ip` do, on a machine that reaches its cluster by eth1."""

    def __init__(self, kept: str | None = None, **words: str) -> None:
        self.zones = ZONES.format(**{"internal": "", "sources": "", "public": "", "trusted": "", **words})
        self.kept = self.zones if kept is None else kept

    def __call__(self, argv: Sequence[str]) -> str:
        if argv[0] == "ip":
            return f"{argv[-1]} dev eth1 src 10.0.0.7 uid 0 \\    cache \n"
        return self.zones if "--list-all-zones" in argv else self.kept


def firewalld_facts(machine: Machine, ask: Firewalld, peer: str = "10.0.0.2") -> dict[str, Any]:
    machine.write("etc/firewalld/firewalld.conf", "# DefaultZone=drop\nDefaultZone=public\n")
    machine.write("usr/lib/firewalld/services/ssh.xml", '<service><port protocol="tcp" port="22"/></service>')
    machine.write("etc/firewalld/services/cluster.xml", SERVICE)
    return firewall_facts(True, ask, machine.root, lambda: peer)  # noqa: FBT003 - what systemd says of it


def test_of_firewalld_the_default_zone_counts_as_long_as_nothing_has_another(machine: Machine) -> None:
    opened = ["6818", "60001-63000"]
    expected = {"name": "firewalld", "zone": "public", "tcp": [*opened, "22"], "ports": opened, "ours": []}
    assert firewalld_facts(machine, Firewalld()) == expected
    assert firewalld_facts(machine, Firewalld(), "") == expected


@pytest.mark.parametrize("words", [{"internal": "eth1"}, {"sources": " ipset:head 10.0.0.0/24", "public": " eth1"}])
def test_the_zone_counts_in_which_the_cluster_comes_in(machine: Machine, words: dict[str, str]) -> None:
    found = firewalld_facts(machine, Firewalld(**words))
    assert (found["zone"], found["tcp"]) == ("internal", ["7777", "22", "6818", "60001-63000"])
    # A service lets them in, and goes on doing so.
    assert firewall_commands(found, CLUSTER) == firewall_commands(found, CLUSTER, close=True) == []
    (_permanent, now) = firewall_commands(found, {"slurmd_port": 7000})
    assert " ".join(now) == "firewall-cmd --zone=internal --add-port=7000/tcp"


@pytest.mark.parametrize(("words", "peer"), [({"trusted": "eth1"}, "10.0.0.2"), ({}, "192.0.2.7")])
def test_a_zone_that_lets_all_in_needs_no_port(machine: Machine, words: dict[str, str], peer: str) -> None:
    found = firewalld_facts(machine, Firewalld(**words), peer)
    assert (found["zone"], found["tcp"], found["ports"]) == ("trusted", ["1-65535"], [])


def test_a_port_is_open_when_it_is_now_and_after_a_boot(machine: Machine) -> None:
    kept = "public (default)\n  target: default\n  services:\n  ports: 7000/tcp 60000-62000/tcp\n"
    found = firewalld_facts(machine, Firewalld(kept=kept))
    assert found["tcp"] == ["60001-62000"]
    assert found["ports"] == ["6818", "60001-63000", "7000", "60000-62000"]


def test_firewalld_that_does_not_answer_lets_nothing_in(machine: Machine) -> None:
    assert firewall_facts(True, lambda _argv: None, machine.root) == {**FIREWALLD, "ours": []}  # noqa: FBT003 - what systemd says of it


def test_whether_firewalld_runs_is_in_the_answer_of_systemd() -> None:
    text = "Id=munge.service\nActiveState=active\n\nId=firewalld.service\nActiveState={}\n"
    assert is_active(text.format("active"), "firewalld")
    assert not is_active(text.format("inactive"), "firewalld")


@pytest.mark.parametrize(
    ("firewall", "expected"),
    [
        (UFW, ["ufw allow proto tcp to any port 6818,60001:63000 comment slurmscale"]),
        (
            FIREWALLD,
            [
                "firewall-cmd --permanent --zone=public --add-port=6818/tcp --add-port=60001-63000/tcp",
                "firewall-cmd --zone=public --add-port=6818/tcp --add-port=60001-63000/tcp",
            ],
        ),
        ({"name": "ufw", "tcp": ["6000-7000"]}, ["ufw allow proto tcp to any port 60001:63000 comment slurmscale"]),
        ({"name": "ufw", "tcp": ["6818", "60001-63000"]}, []),
        ({"name": "", "tcp": []}, []),
        (None, []),
    ],
)
def test_what_is_closed_is_opened(firewall: dict[str, Any] | None, expected: list[str]) -> None:
    assert [" ".join(words) for words in firewall_commands(firewall, CLUSTER)] == expected


def test_without_a_range_srun_listens_anywhere_and_only_slurmd_has_a_port() -> None:
    cluster = {"slurmd_port": 6818, "config": {"SrunPortRange": "0-0"}}
    (words,) = firewall_commands(UFW, cluster, port=7000)
    assert words[-3:] == ["7000", "comment", "slurmscale"]


def test_what_was_opened_is_closed_again() -> None:
    # SrunPortRange came later, or is another one now; the administrator has let everybody in at 6818, too.
    open_now = {"name": "ufw", "tcp": ["22", "6818", "7000", "60001-63000"], "ours": ["7000", "60001:63000,6819"]}
    assert [" ".join(words) for words in firewall_commands(open_now, CLUSTER, close=True)] == [
        "ufw delete allow proto tcp to any port 7000",
        "ufw delete allow proto tcp to any port 60001:63000,6819",
    ]
    assert firewall_commands({**open_now, "ours": []}, CLUSTER, close=True) == []
    # What is let in now only, or after a boot only, goes as well.
    half_open = {**FIREWALLD, "tcp": ["22"], "ports": ["6818"]}
    assert [" ".join(words) for words in firewall_commands(half_open, CLUSTER, close=True)] == [
        "firewall-cmd --permanent --zone=public --remove-port=6818/tcp",
        "firewall-cmd --zone=public --remove-port=6818/tcp",
    ]
