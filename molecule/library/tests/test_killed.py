"""Kills anything of a run at any moment: the next start ends what is left, the next run finishes the work.

LAB_KILLS says how often, LAB_SEED repeats what was seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest
from slurmscale.runner import run_directories
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
from slurmscale.states import RUN_ACTIVE
from testing import INVENTORY, KILLS, ROOT, SEED, lab_host, strike_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

CLUSTER = str(INVENTORY / "hosts.yml")
NODES = ("rocky3", "ubuntu3")
HOSTS = ("ctl1", *NODES)
# Of a machine on which much else runs.
LIMIT = 900
# Modules and what they have started; nothing else on these machines is called so.
AT_WORK = "pgrep --list-full '^(python|platform-python|apt|dpkg|dnf|rpm|sudo)'"
KILL_WORK = AT_WORK.replace("pgrep --list-full", "pkill -KILL")
# Everything but what a machine writes by itself.
FILES = r"""
find / /dev/shm \( -path /proc -o -path /sys -o -path /dev -o -path /run/systemd -o -path /run/user -o -path /run/log
 -o -path /var/log -o -path /var/cache -o -path /var/spool -o -path /var/backups
 -o -path /var/lib/systemd -o -path '/var/lib/[adru]*' -o -path '*/systemd-private-*'
 -o -path /etc/slurm/slurmscale-backup -o -name __pycache__ \) -prune -o -print""".replace("\n", "")
HALF_DONE = {
    "rocky3": "rpm --query --all --queryformat '%{NAME}.%{ARCH}\n' slurm* munge* | sort | uniq --repeated",
    "ubuntu3": "dpkg --audit; apt-get check --quiet --quiet",
}
"""Prints what an installation left that was cut off, and fails while something holds a lock."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the command works: nobody else writes in these directories."""

    home: Path
    temporary: Path
    data: Path
    output: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command with nodes and cluster."""
        # A file, as ssh's connections hold a pipe open.
        with self.output.open("w", encoding="utf-8") as output:
            return subprocess.Popen(
                ["slurmscale", *arguments, ",".join(NODES), "-i", CLUSTER],
                env=os.environ
                | {"HOME": str(self.home), "TMPDIR": str(self.temporary), "SLURMSCALE_DATA_DIR": str(self.data)}
                | {"SLURMSCALE_PROJECT_DIR": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
                text=True,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def complete(self, *arguments: str) -> None:
        """Run the command to its end, which has to be a good one."""
        with self.start(*arguments) as process:
            try:
                process.wait(LIMIT)
            finally:
                process.kill()
        assert process.returncode == 0, self.output.read_text()

    def library(self) -> Scaling:
        """Return the library as the next start has it."""
        return Scaling(Settings(data_dir=self.data, project_dir=ROOT))


# What apt does before each dpkg, made slow.
SLOW = "/etc/apt/apt.conf.d/99slow"
UP = ("up",)
DOWN = ("down", "--yes", "--uninstall")


class Usual(NamedTuple):
    """How an operation ends that nothing is done to."""

    files: dict[tuple[str, ...], dict[str, set[str]]]
    seconds: dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    # Not one of pytest's: ssh's control sockets lie in it, whose paths have at most 108 characters.
    base = Path(tempfile.mkdtemp(prefix="lab-"))
    made = Place(base / "home", base / "tmp", base / "data", base / "output")
    for path in (made.home, made.temporary, made.data):
        path.mkdir(mode=0o700)
    yield made
    shutil.rmtree(base)


def files(host: str) -> set[str]:
    return set(lab_host(host).run(FILES).stdout.splitlines())


def local_files(place: Place) -> set[str]:
    """Return all in the directories that only the command writes to, but for two empty ones that Ansible makes."""
    own = [place.home / ".ansible", place.home / ".ansible/tmp", place.home / ".ansible/cp"]
    found = {path for folder in (place.home, place.temporary) for path in folder.rglob("*")}
    return {str(path) for path in found.difference(own)}


@pytest.fixture(scope="module")
def usual(place: Place) -> Usual:
    found = Usual({}, {})
    for operation in (UP, DOWN):
        begun = time.monotonic()
        place.complete(*operation)
        found.seconds[operation] = time.monotonic() - begun
        found.files[operation] = {host: files(host) for host in HOSTS}
    return found


def run_processes(command: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return [process for process in psutil.Process(command.pid).children(recursive=True) if process.cmdline()]
    except psutil.Error:
        return []


def playbooks(command: subprocess.Popen[str]) -> list[int]:
    """Return ansible-playbook and its forks."""
    found = []
    for process in run_processes(command):
        with contextlib.suppress(psutil.Error):
            if any(part.endswith("ansible-playbook") for part in process.cmdline()[:2]):
                found.append(process.pid)
    return found


def ours(place: Place) -> list[psutil.Process]:
    """Return all processes of the runs on this machine, which name the directory for temporary files."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(place.temporary) in part for part in process.cmdline()):
                found.append(process)
    return found


def kill(pids: list[int]) -> bool:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(pids)


def kill_command(command: subprocess.Popen[str], _: Place) -> bool:
    return kill([command.pid])


def kill_main(command: subprocess.Popen[str], _: Place) -> bool:
    return kill(playbooks(command)[:1])


def kill_fork(command: subprocess.Popen[str], _: Place) -> bool:
    return kill(playbooks(command)[1:][:1])


def kill_connections(_: subprocess.Popen[str], place: Place) -> bool:
    return kill([process.pid for process in ours(place) if process.name() == "ssh"])


def kill_here(command: subprocess.Popen[str], place: Place) -> bool:
    return kill([command.pid, *(process.pid for process in (*run_processes(command), *ours(place)))])


def kill_modules(_command: subprocess.Popen[str], _place: Place) -> bool:
    return any([lab_host(host).run(KILL_WORK).rc == 0 for host in HOSTS])  # noqa: C419 - on each of them


def kill_everything(command: subprocess.Popen[str], place: Place) -> bool:
    kill_here(command, place)
    return kill_modules(command, place)


Way = Callable[[subprocess.Popen[str], Place], bool]
WAYS: tuple[Way, ...] = (
    kill_command, kill_modules, kill_everything, kill_main, kill_here, kill_fork, kill_connections,
)  # fmt: skip


def left(place: Place, usual: dict[str, set[str]]) -> dict[str, object]:
    """Return what there is now beside what is usual."""
    found: dict[str, object] = {host: files(host) - before for host, before in usual.items()}
    found |= {f"processes of {host}": lab_host(host).run(AT_WORK).stdout for host in HOSTS}
    for host, command in HALF_DONE.items():
        ended = lab_host(host).run(command)
        found[f"packages of {host}"] = ended.stdout + ended.stderr if ended.rc or ended.stdout else ""
    found["files here"] = local_files(place)
    found["processes here"] = [process.cmdline() for process in ours(place)]
    with place.library() as library:
        runs = library.runs(limit=1000)
    found["runs"] = [run.id for run in runs if run.status in RUN_ACTIVE]
    found["events"] = [run.id for run in runs if run.run_dir and run_directories.artifacts(Path(run.run_dir)).exists()]
    return {what: one for what, one in found.items() if one}


def moments() -> Iterator[tuple[int, Way, float]]:
    generator = random.Random(SEED)  # noqa: S311 - to be repeated
    for number in range(KILLS):
        yield number, WAYS[number % len(WAYS)], generator.random()


@pytest.mark.parametrize("moment", list(moments()), ids=lambda moment: f"{moment[1].__name__}-{moment[2]:.3f}")
def test_what_was_killed_is_finished_by_the_next_run(
    place: Place, usual: Usual, ctl1: Host, moment: tuple[int, Way, float]
) -> None:
    number, way, part = moment
    operation = DOWN if number % 2 else UP
    print(f"LAB_SEED={SEED} LAB_KILLS={KILLS}: {number}, {operation[0]}, {way.__name__}")  # noqa: T201 - to repeat it
    with place.start(*operation) as command:
        try:
            at = strike_at(command, part * usual.seconds[operation], lambda: way(command, place))
            command.wait(LIMIT)
        finally:
            command.kill()
    print(f"killed after {at:.1f} s\n{place.output.read_text()}")  # noqa: T201 - likewise
    place.complete(*operation)
    found = left(place, usual.files[operation])
    assert not found, found
    states = ctl1.check_output("sinfo --noheader --Node --format '%%N %%T'").split("\n")
    assert sorted(states) == ([""] if operation is DOWN else [f"{node} idle" for node in NODES])
    assert "is UP" in ctl1.check_output("scontrol ping")


@pytest.fixture
def slow_package() -> Iterator[None]:
    """Let the installation on ubuntu3 take a minute and a half more."""
    host = lab_host("ubuntu3")
    host.check_output("printf %s > %s", 'DPkg::Pre-Invoke { "sleep 90"; };', SLOW)
    yield
    host.check_output("rm %s", SLOW)


@pytest.mark.usefixtures("slow_package")
def test_what_can_not_be_reached_any_more_ends_by_itself_and_is_waited_for(place: Place, usual: Usual) -> None:
    # neither is a node now
    with place.start(*UP) as command:
        try:
            while command.poll() is None and lab_host("ubuntu3").run("pgrep sleep").rc:
                time.sleep(0.5)
            assert command.poll() is None, place.output.read_text()
        finally:
            # also the connections over which the next start would end what is at work there
            kill_here(command, place)
    with place.library() as library:
        assert "ends by itself" in (library.runs(1)[0].error or ("", "", ""))[2]
    assert lab_host("ubuntu3").run("pgrep sleep").rc == 0
    place.complete(*UP)
    found = left(place, usual.files[UP] | {"ubuntu3": usual.files[UP]["ubuntu3"] | {SLOW}})
    assert not found, found
    # The tests that come after begin without them.
    place.complete(*DOWN)
