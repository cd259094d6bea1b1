"""Says where the control machine's CPU goes: which task of a playbook costs how much, in Ansible itself and in workers.

    python tests/bench/task_cpu.py -i inventories/lab/hosts.yml -n 'rocky[1:3],ubuntu[1:3]' scale_up
    python tests/bench/task_cpu.py -i inventories/lab/hosts.yml -n 'rocky[1:15]' --few 'rocky[1:3]' scale_up

With --few it runs for these nodes, too, and shows what each further node costs. ansible-playbook gets everything else.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path

from lab import CALLBACKS, Cost, Inventory

Parts = dict[str, float]
_CPU = ("own", "ssh", "main")
_LEAST = 0.5


def read(path: Path) -> tuple[int, dict[str, Parts]]:
    """Return the number of nodes, and by task runs, own, ssh, main (CPU seconds) and seconds (wall)."""
    tasks: dict[str, Parts] = defaultdict(lambda: defaultdict(float))
    hosts: dict[str, set[str]] = defaultdict(set)
    for text in path.read_text().splitlines():
        line = json.loads(text)
        name = line.pop("task")
        if "host" in line:
            hosts[name].add(line.pop("host"))
            tasks[name]["runs"] += 1
        for part, value in line.items():
            tasks[name][part] += value
    return max(map(len, hosts.values())), tasks


def profile(inventory: Inventory, playbook: str, arguments: list[str]) -> tuple[Cost, int, dict[str, Parts]]:
    """Run a playbook; return what it cost, for how many nodes, and what each task used."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        measured = Path(folder) / "tasks"
        cost = inventory.playbook(
            f"playbooks/{playbook}.yml", *arguments, ANSIBLE_SSH_CONTROL_PATH_DIR=folder,
            ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS), TASK_CPU_FILE=str(measured),
        )  # fmt: skip
        return (cost, *read(measured))


def less(many: dict[str, Parts], few: dict[str, Parts]) -> dict[str, Parts]:
    """Return by how much many used more than few."""
    return {
        name: {part: value - few.get(name, {}).get(part, 0) for part, value in parts.items()}
        for name, parts in many.items()
    }


def table(tasks: dict[str, Parts], total: float, nodes: int) -> list[str]:
    """Return the lines to print: CPU in milliseconds per node, the most expensive task first."""

    def cpu(parts: Parts) -> float:
        return sum(parts.get(part, 0) for part in _CPU)

    lines = [f"{'ms of CPU per node':60}  worker     ssh    main     all  workers  seconds"]
    for name, parts in sorted(tasks.items(), key=lambda item: -cpu(item[1])):
        columns = [1000 * value / nodes for value in (*(parts.get(part, 0) for part in _CPU), cpu(parts))]
        if abs(columns[-1]) >= _LEAST:
            numbers = " ".join(f"{value:7.1f}" for value in columns)
            lines.append(f"{name[:60]:60} {numbers} {parts.get('runs', 0):8.0f} {parts.get('seconds', 0):8.2f}")
    rest = total - sum(map(cpu, tasks.values()))
    for name, value in (("(end of workers, connections that stay open)", rest), ("all", total)):
        lines.append(f"{name:60} {'':23} {1000 * value / nodes:7.1f}")
    return lines


def main(argv: list[str] | None = None) -> None:
    """Measure one playbook, or the difference between few and many nodes."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog=__doc__.partition("\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("-i", "--inventory", default="inventories/lab/hosts.yml", help="default: the lab's")
    parser.add_argument("-n", "--nodes", default="slurm_nodes", help="as in -e nodes=; default: all")
    parser.add_argument("--few", help="run it on these first, and show what each further node costs")
    parser.add_argument("playbook", nargs="?", default="scale_up", help="default: scale_up")
    options, further = parser.parse_known_args(argv)
    inventory = Inventory(Path(options.inventory))
    cost, nodes, tasks = profile(inventory, options.playbook, [*further, "-e", f"nodes={options.nodes}"])
    print(f"{nodes} nodes: {cost.seconds:.1f} s, {cost.cpu:.1f} s of CPU")
    total = cost.cpu
    if options.few:
        cost, fewer, few = profile(inventory, options.playbook, [*further, "-e", f"nodes={options.few}"])
        print(f"{fewer} nodes: {cost.seconds:.1f} s, {cost.cpu:.1f} s of CPU; the difference:")
        total, tasks, nodes = total - cost.cpu, less(tasks, few), nodes - fewer
    print("\n".join(table(tasks, total, nodes)))


if __name__ == "__main__":
    main()
