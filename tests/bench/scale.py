"""Benchmark of a scale-up on the lab: module runs, time and CPU, beside ssh alone and beside a plain playbook.

    python tests/bench/scale.py [--pairs 2] [--large]

--large takes 60 nodes instead, for the figures of `make bench-large`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import progress
from lab import ROOT, Cost, Lab, run

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = "ubuntu1"
STARTED = "MESSAGE_ID=39f53479d3a045ac8e11786248231fbf UNIT=slurmctld.service"
POLL = (
    "while :; do t=$(date +%s.%N); timeout 5 scontrol ping >/tmp/ping 2>&1;"
    " echo $t $(grep -c 'is UP' /tmp/ping); sleep 0.2; done"
)


def fresh(count: int) -> list[str]:
    """Return nodes of the lab, half of them Rocky; ubuntu1 is the old node of the cluster."""
    half = count // 2
    return [f"rocky{number + 1}" for number in range(half)] + [f"ubuntu{number + 2}" for number in range(half)]


def make(lab: Lab, count: int) -> None:
    """Make a lab with so many fresh nodes, a controller and its old node."""
    lab.create(count // 2, count // 2 + 1)
    for name, variables in (("publish_apphub", {}), ("setup_controller", {}), ("scale_up", {"nodes": OLD})):
        lab.play(name, **variables)


@contextlib.contextmanager
def outage(lab: Lab) -> Iterator[dict[str, float]]:
    """Poll the controller five times a second; the longest gap between two answers stands in the result afterwards."""
    found: dict[str, float] = {}
    poll = lab.controller(POLL)
    try:
        time.sleep(1)
        yield found
        time.sleep(1)
    finally:
        poll.terminate()
        lines = [line.split() for line in poll.communicate(timeout=20)[0].splitlines()]
        lab.ask("pkill -f 'while :; do t=' || true")
    up = [float(line[0]) for line in lines if line[1:] == ["1"]]
    steps = [later - earlier for earlier, later in itertools.pairwise(up)]
    # Two answers in a row are some 0.2 s apart; only what is more than that is outage.
    found["seconds"] = round(max(0.0, max(steps) - statistics.median(steps)), 2)


def scale_up(lab: Lab, nodes: list[str]) -> Cost:
    """Scale nodes up by the product."""
    return lab.play("scale_up", nodes=",".join(nodes))


def over_ssh(lab: Lab, nodes: list[str]) -> Cost:
    """Install nodes by the plain script."""
    hosts = lab.addresses()
    script = Path(__file__).parent / "install_over_ssh.sh"
    targets = [f"{name}={hosts[name]}" for name in nodes]
    arguments = [str(lab.path.parent), f"http://{hosts['apphub']}:8081", hosts["ctl1"], *targets]
    return require_idle(lab, nodes, run([str(script), *arguments], lab.log))


def by_plain_playbook(lab: Lab, nodes: list[str]) -> Cost:
    """Install nodes by the shortest playbook."""
    address = f"http://{lab.addresses()['apphub']}:8081"
    variables = {"nodes": ",".join(nodes), "apphub": address}
    return require_idle(lab, nodes, lab.playbook("tests/bench/plain.yml", variables=variables))


def require_idle(lab: Lab, nodes: list[str], cost: Cost) -> Cost:
    """A yardstick that leaves a node behind is none."""
    idle = lab.ask(f"sinfo --noheader --Node --states idle --nodes {','.join(nodes)} --format %N | sort -u | wc -l")
    if idle != str(len(nodes)):
        sys.exit(f"only {idle} of {len(nodes)} nodes came to IDLE")
    return cost


def controller_figures(lab: Lab) -> dict[str, Any]:
    """Scale 6 nodes up twice: module runs, the second run, and what the controller goes through."""
    key, nodes = lab.generation.replace(".", "_"), fresh(6)
    begun = lab.ask("date +%s")
    with outage(lab) as gap:
        _, first = lab.counted("scale_up", nodes=",".join(nodes))
    restarts = lab.ask(f"journalctl --unit slurmctld --since @{begun} --output cat {STARTED} | wc -l")
    again, second = lab.counted("scale_up", nodes=",".join(nodes))
    return {
        "module_runs_fresh_node": max(first.get(node, 0) for node in nodes),
        "module_runs_right_node": max(second.get(node, 0) for node in nodes),
        "module_runs_old_node": first.get(OLD, 0) + second.get(OLD, 0),
        "second_run_seconds": round(again.seconds, 1),
        f"controller_restarts_{key}": int(restarts),
        f"controller_outage_seconds_{key}": gap["seconds"],
    }


def ratios(lab: Lab, pairs: int) -> dict[str, float]:
    """Let the product, the ssh script and the plain playbook take turns on 6 fresh nodes."""
    nodes, taken = fresh(6), []
    for _ in range(pairs):
        turn = []
        for way in (scale_up, over_ssh, by_plain_playbook):
            lab.reset(nodes)
            turn.append(way(lab, nodes).seconds)
        taken.append(turn)
        print("  6 fresh nodes: {:.1f} s, ssh {:.1f} s, plain playbook {:.1f} s".format(*turn), file=sys.stderr)
    lab.reset(nodes)
    return {
        "wall_ratio_to_ssh": round(statistics.median(ours / ssh for ours, ssh, _ in taken), 2),
        "wall_ratio_to_plain_playbook": round(statistics.median(ours / plain for ours, _, plain in taken), 2),
    }


def slopes(lab: Lab) -> dict[str, float]:
    """Return what each further node costs the control machine, between 6 and 30 nodes."""
    few, many = fresh(6), fresh(30)
    make(lab, 30)
    fresh_many, right_many, right_few = (scale_up(lab, nodes).cpu for nodes in (many, many, few))
    lab.reset(few)
    fresh_few = scale_up(lab, few).cpu
    further = len(many) - len(few)
    return {
        "control_cpu_seconds_fresh_node": round((fresh_many - fresh_few) / further, 2),
        "control_cpu_seconds_right_node": round((right_many - right_few) / further, 2),
    }


def large(lab: Lab) -> dict[str, float]:
    """Return the figures of 60 nodes."""
    nodes = fresh(60)
    make(lab, 60)
    ours, right = scale_up(lab, nodes), scale_up(lab, nodes)
    lab.reset(nodes)
    return {
        "wall_seconds_right_60": round(right.seconds, 1),
        "wall_ratio_60_to_ssh": round(ours.seconds / over_ssh(lab, nodes).seconds, 2),
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure both generations and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=2, help="turns of product, ssh script and playbook (default: 2)")
    parser.add_argument("--large", action="store_true", help="60 nodes instead")
    options = parser.parse_args(argv)
    (ROOT / ".bench").mkdir(exist_ok=True)
    figures: dict[str, Any] = {}
    if options.large:
        with made() as lab:
            return large(lab)
    with made("22.05") as lab:
        make(lab, 6)
        figures |= controller_figures(lab)
    with made() as lab:
        make(lab, 6)
        figures |= controller_figures(lab) | ratios(lab, options.pairs)
        inventory = ["--inventory", str(lab.path)]
        figures |= progress.main([*inventory, "--learn", "rocky1,ubuntu2", "--watch", "rocky2,ubuntu3"])
    with made() as lab:
        figures |= slopes(lab)
    return figures


@contextlib.contextmanager
def made(generation: str = "24.11") -> Iterator[Lab]:
    """A lab that is removed at the end."""
    lab = Lab(generation=generation)
    try:
        yield lab
    finally:
        lab.destroy()


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
