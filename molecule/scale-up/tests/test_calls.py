"""Wrong calls have a clear answer, and a node that went wrong is fixed by another run."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from testing import lab_host, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

CONFIGURATION = "cat /etc/slurm/slurm.conf /etc/slurm/slurmscale-nodes.conf"
pytestmark = pytest.mark.usefixtures("cluster_is_unharmed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-e", "nodes=rocky3,rocky9"], "rocky9, which the inventory does not know"),
        (["-e", "nodes=rocky3,rocky3"], "names rocky3 twice"),
        (["-e", "nodes="], "nodes selects no host"),
        (["-e", "nodes=rocky3,ctl1"], "code: server-selected"),
        (["-e", "nodes=rocky3", "--limit", "rocky3"], "--limit (rocky3) leaves out"),
        (["-e", "nodes=rocky3", "--limit", "rocky3,ctl1"], "--limit (rocky3,ctl1) leaves out"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_touched(
    ctl1: Host, playbook: Playbook, arguments: list[str], message: str
) -> None:
    configuration = ctl1.check_output(CONFIGURATION)
    run = playbook("scale_up", *arguments)
    assert run.returncode != 0
    assert message in unwrap(run.stdout)
    assert "changed=0" in run.stdout
    assert ctl1.check_output(CONFIGURATION) == configuration
    assert not lab_host("rocky3").package("munge").is_installed


def test_memory_above_what_the_node_has_is_refused_before_anything_is_installed(playbook: Playbook) -> None:
    stated = json.dumps({"nodes": "rocky3", "slurmd_parameters": {"RealMemory": 9999999}})
    run = playbook("scale_up", "-e", stated)
    assert run.returncode != 0
    assert "RealMemory=9999999 is stated, but the node has" in unwrap(run.stdout)
    assert not lab_host("rocky3").package("munge").is_installed


def test_a_wrong_munge_key_on_a_node_is_corrected(ctl1: Host, playbook: Playbook) -> None:
    node = lab_host("rocky2")
    node.check_output(
        "dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 status=none && systemctl restart munge"
    )
    run = playbook("scale_up", "-e", "nodes=rocky2")
    assert run.returncode == 0, run.stdout
    assert node.file("/etc/munge/munge.key").sha256sum == ctl1.file("/etc/munge/munge.key").sha256sum
    assert "1 of 1 nodes succeeded" in run.stdout


def test_a_package_that_was_lost_on_a_node_is_brought_back(playbook: Playbook) -> None:
    lab_host("rocky2").check_output("rpm --erase --nodeps slurm")
    run = playbook("scale_up", "-e", "nodes=rocky2")
    assert run.returncode == 0, run.stdout
    assert re.search(r"^ +rocky2 +done ", run.stdout, re.MULTILINE)
    assert lab_host("rocky2").package("slurm").is_installed
