"""Faults that are there before a run: the machine or the run is refused before anything is changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from conftest import CONFIGURATION
from testing import GENERATION, in_container, lab_host, run_command, run_playbook, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from testinfra.host import Host

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.skipif(GENERATION == "22.05", reason="the same on every Slurm; seen on the newer one"),
    pytest.mark.usefixtures("cluster_is_unharmed"),
]

# What is said of the cause and of the remedy, by machine.
REFUSED = {
    "rocky1": (r"clock: needed within 60 s of the controller's, found \+3[56]\d\d s", "Set up time synchronisation"),
    "rocky2": (r"space in /var: needed 512 MB free, found \d MB", "Free some space in /var"),
    "ubuntu2": (r"user slurm: needed uid \d+, gid \d+ as on the controller, found uid 1234", "usermod, groupmod"),
    "ghost": (r"ghost can't be reached: .*[Rr]efused", "Check that it is up, its address, user and key"),
}
# Containers share the kernel's clock, so it is Python that is told a wrong time.
AHEAD = {
    "sitecustomize.py": "import time\n_now = time.time\ntime.time = lambda: _now() + 3600\n",
    "python3": '#!/bin/sh\nPYTHONPATH=/opt/ahead exec /usr/bin/python3 "$@"\n',
}
INVENTORY_OF_FAULTS = """
all:
  hosts:
    rocky1: {ansible_python_interpreter: /opt/ahead/python3}
  children:
    slurm_nodes:
      hosts:
        ghost: {ansible_host: 127.0.0.1, ansible_port: 1}
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.CompletedProcess[str]]:
    """Give each machine a fault of its own, and return the one run over all of them."""
    inventory = tmp_path_factory.mktemp("inventory") / "faults.yml"
    inventory.write_text(INVENTORY_OF_FAULTS)
    for name, content in AHEAD.items():
        lab_host("rocky1").check_output(
            "mkdir -p /opt/ahead && printf %%s %s > /opt/ahead/%s && chmod 755 /opt/ahead/%s", content, name, name
        )
    lab_host("ubuntu2").check_output("useradd --system --uid 1234 slurm")
    run_command(in_container("rocky2", "mount -t tmpfs -o size=8m tmpfs /var"))
    try:
        yield run_playbook("scale_up", "-i", str(inventory), "-e", f"nodes={','.join(REFUSED)}")
    finally:
        run_command(in_container("rocky2", "umount /var"))
        lab_host("ubuntu2").check_output("userdel slurm")


@pytest.mark.parametrize("machine", REFUSED)
def test_a_machine_with_a_fault_is_refused(refused: subprocess.CompletedProcess[str], machine: str) -> None:
    """The clock is a stand-in: only the program that compares it is told another time."""
    cause, remedy = REFUSED[machine]
    (row,) = re.findall(rf"^ +{machine} +failed .*$", refused.stdout, re.MULTILINE)
    assert re.search(cause, row)
    assert remedy in row
    assert "0 of 4 nodes succeeded, 4 failed" in refused.stdout


@pytest.mark.parametrize("machine", ["rocky2", "ubuntu2"])
def test_nothing_is_installed_on_a_refused_machine(refused: subprocess.CompletedProcess[str], machine: str) -> None:
    assert refused.returncode != 0
    assert not lab_host(machine).package("munge").is_installed


def test_without_apphub_the_run_stops_and_names_what_was_tried(ctl1: Host, playbook: Playbook) -> None:
    configuration = ctl1.check_output(CONFIGURATION)
    apphub = lab_host("apphub")
    apphub.check_output("systemctl stop nginx")
    try:
        run = playbook("scale_up", "-e", "nodes=rocky2")
    finally:
        apphub.check_output("systemctl start nginx")
    assert run.returncode != 0
    said = unwrap(run.stdout)
    assert re.search(
        r"No AppHub can be used.* Nothing was changed\. Tried in this order: http://\S+:8081: .*refused", said
    )
    assert "systemctl start nginx" in said
    assert not lab_host("rocky2").file("/etc/yum.repos.d/apphub.repo").exists
    assert ctl1.check_output(CONFIGURATION) == configuration


def test_without_a_controller_the_run_stops_and_says_how_to_look(ctl1: Host, playbook: Playbook) -> None:
    ctl1.check_output("systemctl stop slurmctld")
    try:
        run = playbook("scale_up", "-e", "nodes=rocky2")
    finally:
        ctl1.check_output("systemctl start slurmctld")
    assert run.returncode != 0
    said = unwrap(run.stdout)
    assert "code: controller-not-answering" in said
    assert "Get the controller running first: systemctl status slurmctld; journalctl -u slurmctld" in said
    assert not lab_host("rocky2").package("munge").is_installed
