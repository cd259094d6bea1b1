"""Runs of the library over ssh, to be read from top to bottom: each test goes on from the one before."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from slurmscale.models import RunOptions
from slurmscale.scaling import Scaling
from slurmscale.states import RunStatus, TaskStatus
from testing import INVENTORY, ROOT, lab_host

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from slurmscale.settings import Settings
    from testinfra.host import Host

CLUSTER = str(INVENTORY / "hosts.yml")
CUT_OFF = ("rocky3", "ubuntu3")
LIMIT = 240
# Modules and what they have started; nothing else on these machines is called so.
AT_WORK = "pgrep --count '^(python|apt|dpkg|dnf)'"
VICTIM = """
import sys, time
from pathlib import Path
from slurmscale.scaling import Scaling
from slurmscale.settings import Settings
Scaling(Settings(data_dir=Path(sys.argv[1]), project_dir=Path(sys.argv[2]))).scale_up(sys.argv[3], sys.argv[4])
time.sleep(600)
"""


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("progress", ROOT / "tests" / "bench" / "progress.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.2)


def installing(node: str) -> bool:
    """Whether packages are being unpacked or configured right now."""
    return lab_host(node).run("pgrep --count '^dpkg'").stdout.strip() != "0"


def nothing_at_work() -> bool:
    return all(lab_host(node).run(AT_WORK).stdout.strip() == "0" for node in CUT_OFF)


def processes_with(text: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def states(ctl1: Host, *nodes: str) -> set[str]:
    return set(ctl1.check_output(f"sinfo --noheader --Node --nodes {','.join(nodes)} --format %T").split())


def test_progress_is_honest_after_one_run_to_learn_from(scaling: Scaling, ctl1: Host) -> None:
    progress = benchmark()
    progress.watched(scaling, CLUSTER, "rocky1,ubuntu1")
    samples, at = progress.watched(scaling, CLUSTER, "rocky2,ubuntu2")
    off = {node: progress.points_off(values, at) for node, values in samples.items()}
    distinct = {node: len(set(values)) for node, values in samples.items()}
    print(f"points off the time that has passed: {off}; distinct values: {distinct}")  # noqa: T201 - a figure to be read
    assert min(distinct.values()) >= 8
    assert sum(off.values()) / len(off) <= 15
    assert all(values == sorted(values) for values in samples.values())
    assert states(ctl1, "rocky1", "rocky2", "ubuntu1", "ubuntu2") == {"idle"}


def test_a_cancel_in_the_middle_of_an_installation_leaves_nothing_at_work(scaling: Scaling, ctl1: Host) -> None:
    handle = scaling.scale_up(CLUSTER, ",".join(CUT_OFF))
    wait_for(lambda: installing("ubuntu3"), "packages are installed", LIMIT)
    run_dir = scaling.store.run(handle.id).run_dir
    assert run_dir
    started = time.monotonic()
    run = scaling.cancel(handle.id)
    assert processes_with(run_dir) == []
    # a machine with more to do than it has processors takes longer for everything
    assert time.monotonic() - started < 2 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    wait_for(nothing_at_work, "no module runs on the nodes", started + 5 - time.monotonic())
    assert run.status is RunStatus.CANCELLED
    assert {task.status for task in scaling.tasks(run.id)} == {TaskStatus.FAILED}
    assert states(ctl1, *CUT_OFF) == set()
    assert "is UP" in ctl1.check_output("scontrol ping")


def test_the_cancelled_run_is_finished_by_a_retry(scaling: Scaling, ctl1: Host) -> None:
    run = scaling.retry(scaling.runs()[0].id).wait(LIMIT)
    assert run.status is RunStatus.COMPLETED, scaling.tasks(run.id)
    assert run.nodes == CUT_OFF
    assert states(ctl1, *CUT_OFF) == {"idle"}


def test_scale_down_takes_the_nodes_out_again(scaling: Scaling, ctl1: Host) -> None:
    run = scaling.scale_down(CLUSTER, ",".join(CUT_OFF), RunOptions(extra_vars={"uninstall": True})).wait(LIMIT)
    assert run.status is RunStatus.COMPLETED, scaling.tasks(run.id)
    assert states(ctl1, *CUT_OFF) == set()
    assert not any(lab_host(node).package("munge").is_installed for node in CUT_OFF)


def test_what_a_killed_process_left_is_ended_and_finished_by_the_next(settings: Settings, ctl1: Host) -> None:
    arguments = [str(settings.data_dir), str(ROOT), CLUSTER, ",".join(CUT_OFF)]
    victim = subprocess.Popen([sys.executable, "-c", VICTIM, *arguments])
    try:
        wait_for(lambda: installing("ubuntu3"), "packages are installed", LIMIT)
    finally:
        victim.kill()
        victim.wait()
    with Scaling(settings) as after:
        run = after.runs()[0]
        assert run.status is RunStatus.INTERRUPTED
        assert {task.status for task in after.tasks(run.id)} == {TaskStatus.FAILED}
        assert not after.status().active
        wait_for(nothing_at_work, "no module runs on the nodes", 5)
        assert run.run_dir
        assert processes_with(run.run_dir) == []
        assert after.scale_up(CLUSTER, ",".join(CUT_OFF)).wait(LIMIT).status is RunStatus.COMPLETED
    assert states(ctl1, *CUT_OFF) == {"idle"}
