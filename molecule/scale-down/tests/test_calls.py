"""Wrong calls, and calls that nobody confirmed: refused before anything is touched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pexpect
import pytest
from testing import INVENTORY, ROOT, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from conftest import Slurm

    Playbook = Callable[..., subprocess.CompletedProcess[str]]

STAYED = {"rocky2", "ubuntu1", "ubuntu3"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nodes is empty or missing"),
        (["-e", "nodes="], "nodes is empty or missing"),
        (["-e", "nodes=ubuntu3,ubuntu9"], "ubuntu9, which the inventory does not know"),
        (["-e", "nodes=ubuntu3,ubuntu3"], "names ubuntu3 twice"),
        (["-e", "nodes=ubuntu3,ctl1"], "nodes selects ctl1, a controller or AppHub"),
        (["-e", "nodes=all"], "a controller or AppHub"),
        (["-e", "nodes=ubuntu3", "-e", "jobs=kill"], "jobs must be wait, requeue or cancel, and is kill"),
        (["-e", "nodes=ubuntu3", "-e", "drain_timeout=1h"], "drain_timeout must be a number of seconds, and is 1h"),
        (["-e", "nodes=ubuntu3", "--limit", "ubuntu3"], "--limit (ubuntu3) leaves out"),
    ],
)
def test_a_wrong_call_is_refused(slurm: Slurm, playbook: Playbook, arguments: list[str], message: str) -> None:
    run = playbook("scale_down", "-e", "confirm=true", *arguments)
    assert run.returncode != 0
    assert message in unwrap(run.stdout)
    assert not re.search(r"changed=[1-9]", run.stdout)
    assert slurm.nodes() == STAYED


def test_without_a_terminal_nothing_is_removed(slurm: Slurm, playbook: Playbook) -> None:
    run = playbook("scale_down", "-e", "nodes=ubuntu3", timeout=60)
    assert run.returncode != 0
    assert "The removal of ubuntu3 was not confirmed. Nothing was changed." in unwrap(run.stdout)
    assert slurm.nodes() == STAYED


def test_a_person_is_asked_and_may_say_no(slurm: Slurm) -> None:
    arguments = ["-i", str(INVENTORY / "hosts.yml"), str(ROOT / "playbooks/scale_down.yml"), "-e", "nodes=ubuntu3"]
    terminal = pexpect.spawn("ansible-playbook", arguments, cwd=str(ROOT), timeout=60, encoding="utf-8")
    terminal.expect("1 nodes will be removed from the cluster: ubuntu3")
    terminal.expect("Type yes to go on")
    terminal.send("no\r")
    terminal.expect("was not confirmed")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus != 0
    assert slurm.nodes() == STAYED
