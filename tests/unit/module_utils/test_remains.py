"""What killed modules left is removed, and nothing that may be in use or is somebody else's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import remains

if TYPE_CHECKING:
    from pathlib import Path

    from fakes.machine import Machine

LEFT = ("ansible_slurm_node_probe_payload_a1b2c3d_", "ansible-moduletmp-1764243211.43-x7k2m9qp")
OTHERS = (
    "ansible_notes", "ansible-tmp-1764243211.43-77-123456789", "ansible_systemd_payload_a1b2c3d_.zip", "tmpa1b2c3d_",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    for name in (*LEFT, *OTHERS):
        (place / name).mkdir(parents=True)
        (place / name / "payload.zip").touch()
    return place


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def removed(place: Path, machine: Machine) -> set[str]:
    before = names(place)
    told = remains.remove_remains([str(place), str(place / "none")], machine.root)
    gone = before - names(place)
    assert {os.path.basename(path) for path in told} == gone  # noqa: PTH119 - as the module tells them
    return gone


def test_what_killed_modules_left_is_removed_and_nothing_else(place: Path, machine: Machine) -> None:
    machine.process(os.getpid(), "python3", "/usr/bin/python3")
    machine.process(7, "tuned", "/usr/bin/python3", "/usr/sbin/tuned")
    machine.process(8, "sh", "/bin/sh", "-c", "/usr/bin/python3 && sleep 0")
    assert removed(place, machine) == set(LEFT)
    assert removed(place, machine) == set()


@pytest.mark.parametrize(
    "argv",
    [("/usr/bin/python3.9",), ("/usr/libexec/platform-python",), ("python3", "/root/.ansible/tmp/x/AnsiballZ_dnf.py")],
)
def test_nothing_is_removed_while_another_module_is_at_work(
    place: Path, machine: Machine, argv: tuple[str, ...]
) -> None:
    machine.process(9, "python3", *argv)
    assert removed(place, machine) == set()


def test_a_link_and_what_belongs_to_another_user_stay(
    place: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = place / "ansible_slurm_nodes_payload_a1b2c3d4"
    link.symlink_to(place / OTHERS[0], target_is_directory=True)
    assert removed(place, machine) == set(LEFT)
    assert link.is_symlink()
    (place / LEFT[0]).mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert removed(place, machine) == set()


def test_the_code_of_the_module_itself_stays(place: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remains, "__file__", str(place / LEFT[0] / "ansible_slurm_node_probe_payload.zip" / "x.py"))
    assert removed(place, machine) == {LEFT[1]}
