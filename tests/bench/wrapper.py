"""What the library costs on top of plain ansible-playbook, with ARA's callback beside it.

    python tests/bench/wrapper.py [--hosts 200] [--tasks 20] [--repeat 5]

Plain and library take turns, and change places every time, so that whatever else the machine does hits both; the ratio
is the median of all pairs, which spread by a tenth. ARA, which takes several times as long, runs once. CPU time is that
of the whole process tree, start of the library included.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LIBRARY = """
import sys
from slurmscale import RunStatus
from slurmscale import Scaling
from slurmscale.models import RunOptions
with Scaling() as scaling:
    run = scaling.check(sys.argv[1], sys.argv[2], RunOptions(forks=int(sys.argv[3]))).wait()
    assert run.status is RunStatus.COMPLETED, run.error
    assert run.counts.success == len(run.nodes)
    assert {task.progress for task in scaling.tasks(run.id)} == {100}
"""


def prepare(directory: Path, hosts: int, task_count: int) -> tuple[Path, Path]:
    """Write a project whose playbook has trivial tasks, and an inventory of local hosts."""
    (directory / "playbooks").mkdir()
    (directory / "galaxy.yml").write_text("name: slurm\n")
    (directory / ".collections").symlink_to(ROOT / ".collections")
    tasks = [{"name": f"task {n}", "ansible.builtin.debug": {"msg": "hello"}} for n in range(task_count)]
    play = {"name": "Check", "hosts": "slurm_nodes", "gather_facts": False, "tasks": tasks}
    playbook = directory / "playbooks" / "check_nodes.yml"
    playbook.write_text(json.dumps([play]))
    inventory = directory / "hosts.yml"
    names = {f"node{number:04d}": None for number in range(hosts)}
    groups = {"slurm_controllers": {"hosts": {"ctl": None}}, "slurm_nodes": {"hosts": names}}
    inventory.write_text(json.dumps({"all": {"vars": {"ansible_connection": "local"}, "children": groups}}))
    return playbook, inventory


def timed(command: list[str], environment: dict[str, str], directory: Path) -> tuple[float, float]:
    """Run a command and return its wall and CPU seconds, children included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command[:3]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(hosts: int, task_count: int, repeat: int, forks: int) -> dict[str, float]:
    """Measure all three, in turns, and return the keys of the results."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        playbook, inventory = prepare(directory, hosts, task_count)
        plain_environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_RETRY_FILES_ENABLED": "false",
        }
        plain = ["ansible-playbook", "-i", str(inventory), "--forks", str(forks), str(playbook)]
        ways = {"plain": (plain, plain_environment), "library": _library(directory, inventory, hosts, forks)}
        ara = importlib.util.find_spec("ara")
        if ara is None or not ara.submodule_search_locations:
            raise SystemExit("ARA is compared too: install the package's extra `test`.")
        callbacks = str(Path(next(iter(ara.submodule_search_locations))) / "plugins" / "callback")
        ways["ara"] = (plain, plain_environment | {
            "ANSIBLE_CALLBACK_PLUGINS": callbacks, "ARA_BASE_DIR": str(directory / "ara"), "ARA_API_CLIENT": "offline",
        })  # fmt: skip
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for turn in range(repeat):
            for way in ("plain", "library") if turn % 2 == 0 else ("library", "plain"):
                taken[way].append(timed(*ways[way], directory))
        taken["ara"].append(timed(*ways["ara"], directory))
    return {
        "cpu_ratio_to_plain_ansible": _ratio(taken, "library", 1),
        "wall_ratio_to_plain_ansible": _ratio(taken, "library", 0),
        "wall_ratio_ara_to_plain": _ratio(taken, "ara", 0),
        "cpu_ratio_ara_to_plain": _ratio(taken, "ara", 1),
    }


def _ratio(taken: dict[str, list[tuple[float, float]]], way: str, kind: int) -> float:
    # the last plain run is the one beside ARA's, the others are in pairs with the library's
    plain = taken["plain"][-len(taken[way]) :]
    return round(statistics.median(one[kind] / beside[kind] for one, beside in zip(taken[way], plain, strict=True)), 3)


def _library(directory: Path, inventory: Path, hosts: int, forks: int) -> tuple[list[str], dict[str, str]]:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "python_lib"),
        "SLURMSCALE_DATA_DIR": str(directory / "data"),
        "SLURMSCALE_PROJECT_DIR": str(directory),
    }
    nodes = f"node[0000-{hosts - 1:04d}]"
    return [sys.executable, "-c", _LIBRARY, str(inventory), nodes, str(forks)], environment


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure and return the keys of the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=5, help="pairs of runs (default: 5)")
    parser.add_argument("--forks", type=int, default=20)
    given = parser.parse_args(arguments)
    return measure(given.hosts, given.tasks, given.repeat, given.forks)


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
