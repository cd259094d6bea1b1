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
FIREWALLD = {"name": "firewalld", "tcp": []}


def nothing(argv: Sequence[str]) -> str:
    raise AssertionError(argv)


def test_ufw_counts_only_when_it_is_enabled(machine: Machine) -> None:
    machine.write("etc/ufw/user.rules", RULES)
    machine.write("etc/ufw/ufw.conf", "# comment\nENABLED=no\n")
    assert firewall_facts(False, nothing, machine.root) == {"name": "", "tcp": [], "ours": []}  # noqa: FBT003 - what systemd says
    machine.write("etc/ufw/ufw.conf", "# comment\nENABLED=yes\nLOGLEVEL=low\n")
    found = firewall_facts(False, nothing, machine.root)  # noqa: FBT003 - what systemd says
    assert found == {"name": "ufw", "tcp": ["22", "6818", "60001-63000"], "ours": ["6818,60001:63000"]}


def test_firewalld_is_asked_where_it_runs(machine: Machine) -> None:
    found = firewall_facts(True, lambda _argv: "6818/tcp 53/udp 60001-63000/tcp\n", machine.root)  # noqa: FBT003 - what systemd says
    assert found == {"name": "firewalld", "tcp": ["6818", "60001-63000"], "ours": []}


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
                "firewall-cmd --permanent --add-port=6818/tcp --add-port=60001-63000/tcp",
                "firewall-cmd --add-port=6818/tcp --add-port=60001-63000/tcp",
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
    (_permanent, now) = firewall_commands({"name": "firewalld", "tcp": ["22", "6818"]}, CLUSTER, close=True)
    assert " ".join(now) == "firewall-cmd --remove-port=6818/tcp"
