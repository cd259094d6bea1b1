"""Directories of runs are private, short, held by who made them, and removed when nobody holds them."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from slurmscale.runner import run_directories

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON_LIB = Path(run_directories.__file__).parents[2]
MAKER = "from slurmscale.runner import run_directories; print(run_directories.make(), flush=True); input()"
# What a socket's address takes, and what ssh adds to a directory while it makes one.
SOCKET, IN_DIRECTORY = 107, "/cp/" + "0" * 40 + "." + "0" * 16


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setattr(run_directories, "_MEMORY", tmp_path)
    # one of pytest's is too long
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="o") as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        monkeypatch.setattr(run_directories, "_SHORT", Path(path))
        yield Path(path)


@pytest.fixture
def maker(place: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"TMPDIR": str(place), "PYTHONPATH": str(PYTHON_LIB)}
    with subprocess.Popen(
        [sys.executable, "-c", MAKER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def ended() -> list[Path]:
    found: list[Path] = []
    run_directories.remove_abandoned(found.append)
    return found


def test_a_directory_is_abandoned_as_soon_as_its_maker_is_killed(maker: subprocess.Popen[str]) -> None:
    assert maker.stdout is not None
    path = Path(maker.stdout.readline().strip())
    assert path.stat().st_mode & 0o777 == 0o700
    assert ended() == []
    assert path.exists()
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    assert ended() == [path]
    assert not path.exists()


def test_what_this_process_made_is_not_abandoned_until_it_is_removed(place: Path) -> None:
    made = run_directories.make()
    assert ended() == []
    run_directories.remove(made)
    assert list(place.iterdir()) == []
    assert not run_directories._locks


@pytest.mark.usefixtures("place")
def test_what_is_in_memory_is_held_and_removed_as_well(tmp_path: Path) -> None:
    made = run_directories.make()
    events = run_directories.make_artifacts(made)
    assert events.parent == tmp_path
    assert ended() == []
    run_directories.remove(made)
    assert not run_directories._locks
    assert list(tmp_path.iterdir()) == []
    # somebody removed the run's own, and nobody holds this one
    events.mkdir(mode=0o700)
    assert ended() == [events]
    assert not events.exists()


def test_nothing_else_is_taken_for_abandoned(place: Path) -> None:
    (place / "slurmscale-run-abcdefgh").mkdir(mode=0o755)
    (place / "slurmscale-run-abcdefg").mkdir(mode=0o700)
    (place / "slurmscale-pg-abcdefgh").mkdir(mode=0o700)
    (place / "slurmscale-run-abcdefg1").symlink_to(place / "slurmscale-pg-abcdefgh", target_is_directory=True)
    before = set(place.iterdir())
    assert ended() == []
    for path in before:
        run_directories.remove(path)
    assert set(place.iterdir()) == before


def test_the_maker_tries_again_when_its_directory_was_taken_for_abandoned(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    first = []

    def late(descriptor: int, operation: int) -> None:
        if not operation & fcntl.LOCK_NB and not first:
            (taken,) = place.iterdir()
            first.append(taken)
            assert ended() == [taken]
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    made = run_directories.make()
    assert first != [made]
    assert list(place.iterdir()) == [made]
    run_directories.remove(made)


def test_where_no_lock_is_to_be_had_nothing_is_removed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_descriptor: int, _operation: int) -> None:
        raise OSError

    monkeypatch.setattr(fcntl, "flock", refused)
    made = run_directories.make()
    assert ended() == []
    assert list(place.iterdir()) == [made]
    run_directories.remove(made)


@pytest.mark.parametrize("length", [4, 22, 23, 60])
def test_the_path_leaves_room_for_sshs_sockets(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Path("/tmp") / ("x" * (length - 5)) if length > 4 else Path("/tmp")  # noqa: S108 - as a user's TMPDIR is
    parent.mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(parent))
    made = run_directories.make()
    run_directories.remove(made)
    if length > 4:
        parent.rmdir()
    assert len(f"{made}{IN_DIRECTORY}") <= SOCKET
    assert made.parent == (parent if length <= 22 else Path("/tmp"))  # noqa: S108 - likewise
