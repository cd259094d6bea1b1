"""After the scale-down: what left has left without a trace, and nothing else was touched."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from testing import GENERATION, controller_starts, lab_host

if TYPE_CHECKING:
    from conftest import Slurm
    from testinfra.host import Host

GONE = ["rocky1", "ubuntu2"]
STAYED = {"rocky2", "ubuntu1", "ubuntu3"}


def test_the_controller_knows_exactly_the_nodes_that_stayed(slurm: Slurm, ctl1: Host) -> None:
    assert slurm.nodes() == STAYED
    content = ctl1.file("/etc/slurm/slurmscale-nodes.conf").content_string
    assert set(re.findall(r"^NodeName=(\S+)", content, re.MULTILINE)) == STAYED


def test_the_job_of_another_node_still_runs(slurm: Slurm, before: dict[str, Any]) -> None:
    assert slurm.job(before["job"]) == "RUNNING ubuntu1"
    # Not the process: from 23.11 a reconfigure replaces it.
    running = lab_host("ubuntu1").check_output("systemctl show --property InvocationID --value slurmd")
    assert running == before["slurmd"]


def test_the_controller_was_restarted_only_where_reconfigure_is_not_enough(ctl1: Host, before: dict[str, Any]) -> None:
    assert controller_starts(ctl1, before["time"]) == (0 if GENERATION == "24.11" else 1)


@pytest.mark.parametrize("node", GONE)
def test_a_machine_is_as_it_was_before_it_became_a_node(ctl1: Host, node: str) -> None:
    was = json.loads(ctl1.check_output("cat /var/tmp/%s.json", node))
    host = lab_host(node)
    command = (
        "find /etc /usr/bin /usr/sbin /usr/lib/systemd /usr/lib/sysusers.d /usr/lib/tmpfiles.d /var/spool"
        " /var/lib/munge /var/lib/slurm /var/log/munge /var/log/slurm /root -not -path '*/.ansible*' -not -name '*.pyc'"
        " -not -path '*/__pycache__*' 2>/dev/null; true"
    )
    assert set(host.check_output(command).splitlines()) ^ set(was["files"]) == set()
    assert host.check_output("cat /etc/passwd /etc/group").splitlines() == was["accounts"]


@pytest.mark.parametrize("node", GONE)
def test_no_package_and_no_source_of_slurm_is_left(node: str) -> None:
    query = "rpm -qa" if node.startswith("rocky") else "dpkg --list"
    packages = lab_host(node).check_output(query)
    assert not re.search(r"slurm|munge|gpg-pubkey", packages)
    sources = "grep -rli apphub /etc 2>/dev/null; true"
    assert lab_host(node).check_output(sources) == ""
