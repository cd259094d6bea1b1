"""How long a run is without a process after kill -9, until Ansible works on its nodes again; how long a cancel takes.

    python tests/bench/takeover.py [--lease 60]

Once with the other process on the same machine, which sees that the first one is gone, and once with a first process
that says it is on another one: then only the lease tells, by default after 60 s. A run of such a process is cancelled
from here as well, until none of its processes is left there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python_lib"))

from slurmscale.runs.executor import LocalExecutor  # noqa: E402 - found by the line before, as the following ones
from slurmscale.scaling import Scaling  # noqa: E402 - likewise
from slurmscale.settings import Settings  # noqa: E402 - likewise
from slurmscale.states import RunStatus  # noqa: E402 - likewise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurmscale.models import Run

_WORKS = "86399"
"""Seconds for which a node works, and the mark by which its process is found."""
_LIMIT = 180.0
_FIRST = """
import sys, time
sys.path.insert(0, sys.argv[1])
from slurmscale import Scaling
from slurmscale.operations import Operation
from slurmscale.runner import processes
from slurmscale.runs.executor import LocalExecutor
if sys.argv[3]:
    processes.this_machine = lambda: sys.argv[3]
scaling = Scaling()
scaling.store.lease_seconds = float(sys.argv[4])
run = scaling.request(Operation.CHECK, sys.argv[2], "n[1-2]")
LocalExecutor(scaling).submit(run.id)
print(run.id, flush=True)
time.sleep(600)
"""


def prepare(directory: Path) -> Path:
    """Write a project whose playbook takes long, and an inventory of local hosts; return the latter."""
    (directory / "playbooks").mkdir()
    (directory / "galaxy.yml").write_text("name: slurm\n")
    (directory / ".collections").symlink_to(ROOT / ".collections")
    tasks = [{"name": "work", "ansible.builtin.command": f"sleep {_WORKS}"}]
    play = {"name": "Check", "hosts": "{{ nodes }}", "gather_facts": False, "tasks": tasks}
    (directory / "playbooks" / "check_nodes.yml").write_text(json.dumps([play]))
    hosts = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    groups = {"slurm_controllers": {"hosts": {"ctl": None}}, "slurm_nodes": {"hosts": {"n1": None, "n2": None}}}
    inventory = directory / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"vars": hosts, "children": groups}}))
    return inventory


def measure(lease: float, machine: str = "") -> float:
    """Kill a process in the middle of a run.

    Args:
        lease: Seconds of its lease.
        machine: The machine that it says it is on; this one when empty.

    Returns:
        Seconds until the nodes are in progress again.
    """
    with _working(lease, machine) as (first, scaling, run_id):
        executor = LocalExecutor(scaling)
        try:
            tree = psutil.Process(first.pid).children(recursive=True)
            first.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            if machine:
                # with its machine, all of it is gone
                for process in tree:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            _wait(lambda: _at_work(scaling.store.run(run_id), 2))
            taken = time.monotonic() - killed
            scaling.cancel(run_id)
        finally:
            first.kill()
            executor.close()
    return taken


def cancel() -> float:
    """Cancel a run of a process on another machine; returns the seconds until nothing works on its nodes any more."""
    with _working(60, "another") as (_, scaling, run_id):
        run = scaling.store.run(run_id)
        asked = time.monotonic()
        scaling.cancel(run_id)
        _wait(lambda: not _workers(run))
        taken = time.monotonic() - asked
        _wait(lambda: scaling.store.run(run_id).status is RunStatus.CANCELLED)
    return taken


@contextlib.contextmanager
def _working(lease: float, machine: str) -> Iterator[tuple[subprocess.Popen[str], Scaling, str]]:
    """Let a first process work on a run; yields it, the library's entry in this one, and the run's id."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        inventory = prepare(directory)
        config = Settings(data_dir=directory / "data", project_dir=directory)
        environment = os.environ | {
            "SLURMSCALE_DATA_DIR": str(config.data_dir), "SLURMSCALE_PROJECT_DIR": str(directory),
        }  # fmt: skip
        command = [sys.executable, "-c", _FIRST, str(ROOT / "python_lib"), str(inventory), machine, str(lease)]
        with (
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as first,
            Scaling(config.model_copy(update={"lease_seconds": lease})) as scaling,
        ):
            try:
                run_id = first.stdout.readline().strip() if first.stdout else ""
                _wait(lambda: _at_work(scaling.store.run(run_id), 1))
                yield first, scaling, run_id
            finally:
                first.kill()


def _at_work(run: Run, attempt: int) -> bool:
    """Say whether all nodes of a run are in progress, in an attempt."""
    return run.attempt == attempt and bool(run.run_dir) and len(_workers(run)) == len(run.nodes)


def _workers(run: Run) -> list[psutil.Process]:
    """Return the processes that work on the nodes of a run."""
    return [
        process for process in psutil.process_iter(["cmdline", "environ"])
        if process.info["cmdline"] == ["sleep", _WORKS] and str(run.run_dir) in str(process.info["environ"])
    ]  # fmt: skip


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("The run did not get to work in time.")
        time.sleep(0.05)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure and return the keys of the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lease", type=float, default=60, help="seconds of the lease (default: 60)")
    given = parser.parse_args(arguments)
    return {
        "takeover_same_machine_seconds": round(measure(given.lease), 1),
        "takeover_seconds": round(measure(given.lease, "another"), 1),
        "cancel_other_machine_seconds": round(cancel(), 1),
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
