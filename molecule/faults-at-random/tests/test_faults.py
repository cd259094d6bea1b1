"""Takes something away at a random moment of each flow: the old job runs on, and the next run finishes the work.

LAB_KILLS says how often, LAB_SEED repeats what was seen. Twenty are each flow with each fault. A moment is a task of
the flow and a time within it, as no run takes as long as another. A container that is killed keeps what it has
written, as a machine does whose disk is not lost; the time since the boot stays the kernel's.
"""

from __future__ import annotations

import bisect
import math
import random
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from testing import (
    INVENTORY,
    KILLS,
    PODMAN,
    ROOT,
    SEED,
    SLURM,
    container,
    host_in_container,
    in_container,
    kill,
    require_unharmed,
    revisions,
    run_command,
    run_playbook,
    start_playbook,
    unwrap,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testinfra.host import Host

NODES = ("rocky1", "ubuntu2")
HOSTS = ("ctl1", "ubuntu1", *NODES)
# Of a machine on which much else runs.
LIMIT = 900
POLL = 0.05
# Seconds until the hosts switch to a new munge key, and until the old one comes back when nobody keeps the new one.
LEAD, HOLD = 20, 60
NEW, NEWER = (f"{SLURM}-4+{suffix}" for suffix in ("new1", "new2"))
BOOTED = (
    "timeout 180 sh -c 'until systemctl is-system-running --wait | grep -qE \"running|degraded\"; do sleep 0.2; done'"
)
# A container gets another hardware address at each start, and others send to the old one for some ten seconds. Its
# first question for a name tells them the new one.
SHOWN = "getent hosts name.invalid || true"
# What an interrupted rotation asks for.
RETURN = re.compile(r"ansible \S+ -b -m (\S+) -a '(state=rolled_back force=true)'")


class Flow(NamedTuple):
    """A playbook with its variables."""

    playbook: str
    variables: str

    def run(self) -> subprocess.CompletedProcess[str]:
        return run_playbook(self.playbook, "-e", self.variables, timeout=LIMIT)

    def start(self, log: Path) -> subprocess.Popen[str]:
        """Start it with its output in a file."""
        with log.open("w") as output:
            return start_playbook(self.playbook, "-e", self.variables, output=output)

    def complete(self) -> None:
        """Run it to its end, which has to be a good one; a rotation may have to wait for the return of the old key."""
        run = self.run()
        if self is ROTATION and run.returncode:
            time.sleep(LEAD + HOLD)
            run = self.run()
            remedy = RETURN.search(unwrap(run.stdout))
            if run.returncode and remedy:
                module, arguments = remedy.groups()
                command = ["ansible", "-i", str(INVENTORY / "hosts.yml"), "slurm_controllers:slurm_nodes", "-b"]
                subprocess.run([*command, "-m", module, "-a", arguments], check=True, cwd=ROOT, timeout=120)
                run = self.run()
        assert run.returncode == 0, run.stdout


SCALE_UP = Flow("scale_up", f"nodes={','.join(NODES)} slurm_version={NEW}")
UPGRADE = Flow("upgrade_nodes", f"nodes={','.join(NODES)} slurm_version={NEWER} batch=2")
ROTATION = Flow("rotate_munge_key", f"lead={LEAD} hold={HOLD}")
SCALE_DOWN = Flow("scale_down", f"nodes={','.join(NODES)} confirm=true uninstall=true drain_timeout=60")
# The way of a node through its cluster.
FLOWS = (SCALE_UP, UPGRADE, ROTATION, SCALE_DOWN)
# The machine "node" is one of NODES.
FAULTS = ("run", "controller", "node", "slurmctld", "apphub")


class Moment(NamedTuple):
    """What is taken away when: after a part of the flow's usual course, and for how many seconds."""

    number: int
    flow: Flow
    fault: str
    machine: str
    part: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.number}-{self.flow.playbook}-{self.fault}-{self.part:.3f}"

    def strike(self, run: subprocess.Popen[str]) -> None:
        if self.fault == "run":
            kill(run)
        elif self.fault == "slurmctld":
            run_command(in_container("ctl1", "systemctl kill --signal KILL slurmctld"))
        else:
            run_command(f"{PODMAN} kill --signal KILL {container(self.machine)}")

    def restore(self) -> None:
        """Bring it back, as an administrator or the power would."""
        if self.fault == "slurmctld":
            run_command(in_container("ctl1", "systemctl start slurmctld"))
        elif self.fault != "run":
            run_command(f"{PODMAN} start {container(self.machine)}")
            run_command(in_container(self.machine, BOOTED), timeout=200)
            run_command(in_container(self.machine, SHOWN))


def moments() -> Iterator[Moment]:
    generator = random.Random(SEED)  # noqa: S311 - to be repeated
    for number in range(KILLS):
        # Few moments have other pairs with each seed; 4 and 5 have no common divisor, so twenty have all.
        fault = FAULTS[(number + SEED) % len(FAULTS)]
        machine = {"controller": "ctl1", "apphub": "apphub", "node": generator.choice(NODES)}.get(fault, "")
        yield Moment(number, FLOWS[number % len(FLOWS)], fault, machine, generator.random(), 30 * generator.random())


def keys() -> set[str]:
    """Return the fingerprints of the munge keys of all hosts that have one."""
    there = "test ! -e /etc/munge/munge.key || sha256sum < /etc/munge/munge.key"
    return {host_in_container(host).check_output(there) for host in HOSTS} - {""}


def node_states(ctl1: Host) -> set[str]:
    """Return state and reason of all nodes but the one that stays."""
    states = ctl1.check_output("sinfo --noheader --Node --format '%N %T %E'").splitlines()
    return {line for line in map(unwrap, states) if not line.startswith("ubuntu1 ")}


def require_done(flow: Flow, ctl1: Host, old_keys: set[str]) -> None:
    """Fail unless the cluster is as it is after the flow."""
    wanted = set() if flow is SCALE_DOWN else {f"{node} idle none" for node in NODES}
    # A node that has booted is heard of by slurmctld when it pings it next.
    deadline = time.monotonic() + 120
    while (found := node_states(ctl1)) != wanted and time.monotonic() < deadline:
        time.sleep(1)
    assert found == wanted
    assert len(keys()) == 1
    assert (keys() == old_keys) is (flow is not ROTATION)
    with_key = [host for host in HOSTS if flow is not SCALE_DOWN or host not in NODES]
    beside = {host: host_in_container(host).run("ls /etc/munge").stdout.split() for host in HOSTS}
    assert beside == {host: ["munge.key"] if host in with_key else [] for host in HOSTS}
    if flow is SCALE_DOWN:
        return
    version = NEW if flow is SCALE_UP else NEWER
    assert [revisions(host_in_container(node)) for node in NODES] == [{version}] * len(NODES)
    command = "cd / && timeout 90 srun --nodelist %s --nodes 2 --mem 10 --time 1 --overcommit hostname"
    assert sorted(ctl1.check_output(command, ",".join(NODES)).split()) == sorted(NODES)


def tasks_begun(log: Path) -> int:
    return len(re.findall(r"^TASK \[", log.read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def usual(ctl1: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[Flow, list[float]]:
    """Return after how many seconds each task of a flow begins to which nothing is done."""
    courses: dict[Flow, list[float]] = {}
    for flow in FLOWS:
        old_keys, log = keys(), tmp_path_factory.mktemp(flow.playbook) / "output"
        course = courses[flow] = []
        with flow.start(log) as run:
            begun = time.monotonic()
            while run.poll() is None and time.monotonic() < begun + LIMIT:
                course += [time.monotonic() - begun] * (tasks_begun(log) - len(course))
                time.sleep(POLL)
            run.kill()
        assert run.returncode == 0, log.read_text()
        require_done(flow, ctl1, old_keys)
    return courses


def strike(moment: Moment, run: subprocess.Popen[str], log: Path, course: list[float]) -> bool:
    """Strike a run that has come as far as its moment says: to a task, and into it unless it is faster than usual."""
    planned = moment.part * course[-1]
    number = max(1, bisect.bisect_right(course, planned))
    inside, due = planned - course[number - 1], math.inf
    while run.poll() is None:
        begun = tasks_begun(log)
        if begun >= number:
            due = min(due, time.monotonic() + inside)
        if begun > number or time.monotonic() >= due:
            moment.strike(run)
            return True
        time.sleep(POLL)
    return False


@pytest.mark.usefixtures("cluster_is_unharmed")
@pytest.mark.parametrize("moment", list(moments()), ids=str)
def test_what_was_cut_off_is_finished_by_the_next_run(
    ctl1: Host, before: dict[str, Any], usual: dict[Flow, list[float]], tmp_path: Path, moment: Moment
) -> None:
    print(f"LAB_SEED={SEED} LAB_KILLS={KILLS}: {moment}")  # noqa: T201 - to repeat it
    old_keys, log = keys(), tmp_path / "output"
    run = moment.flow.start(log)
    try:
        struck = strike(moment, run, log, usual[moment.flow])
        tasks = tasks_begun(log)
        time.sleep(moment.seconds)
        moment.restore()
        run.wait(LIMIT)
    finally:
        kill(run)
    print(f"{moment} after {tasks} tasks, exit code {run.returncode}\n{log.read_text()}")  # noqa: T201 - likewise
    ctl1.check_output("for i in $(seq 120); do scontrol ping | grep -q 'is UP' && exit; sleep 0.5; done; exit 1")
    require_unharmed(ctl1, before)
    moment.flow.complete()
    require_done(moment.flow, ctl1, old_keys)
    assert struck, f"nothing was taken away: the run ended after {tasks} tasks of {len(usual[moment.flow])}"
