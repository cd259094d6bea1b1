"""How honest the progress of a real scale-up is: one run to learn from, then one on fresh nodes that is watched.

    python tests/bench/progress.py --inventory inventories/lab/hosts.yml --learn rocky1,ubuntu1 --watch rocky2,ubuntu2

Prints by how many percentage points the nodes' progress is off the part of the time
that has really passed, on average over the watched run. The nodes to watch must not be compute nodes yet.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from slurmscale import RunStatus, Scaling
from slurmscale.settings import Settings

_SAMPLE_SECONDS = 0.2
_FEWEST_VALUES = 8


def watched(scaling: Scaling, inventory: str, nodes: str) -> tuple[dict[str, list[int]], list[float]]:
    """Scale nodes up and sample their progress; returns the samples by node, and when they were taken."""
    started = time.monotonic()
    handle = scaling.scale_up(inventory, nodes)
    samples: dict[str, list[int]] = {node: [] for node in handle.nodes}
    at: list[float] = []
    while not handle.finished:
        for node, values in samples.items():
            values.append(handle.tracker.nodes[node].progress)
        at.append(time.monotonic() - started)
        time.sleep(_SAMPLE_SECONDS)
    run = handle.wait()
    if run.status is not RunStatus.COMPLETED:
        raise SystemExit(f"the run on {nodes} {run.status.value}: {run.error}\n{scaling.tasks(run.id)}")
    return samples, at


def points_off(values: list[int], at: list[float]) -> float:
    """Return the mean distance of progress to the share of the time that passed, in percentage points."""
    return statistics.mean(abs(value - 100 * when / at[-1]) for value, when in zip(values, at, strict=True))


def measure(inventory: str, learn: str, watch: str) -> dict[str, float]:
    """Learn, watch, and return the keys of the results."""
    with tempfile.TemporaryDirectory() as directory, Scaling(Settings(data_dir=Path(directory))) as scaling:
        first, first_at = watched(scaling, inventory, learn)
        samples, at = watched(scaling, inventory, watch)
    for node, values in first.items():
        print(f"learning  {node}: {points_off(values, first_at):.1f} points off, {len(set(values))} distinct values")
    for node, values in samples.items():
        distinct = len(set(values))
        print(
            f"watched   {node}: {points_off(values, at):.1f} points off, {distinct} distinct values in {at[-1]:.0f} s"
        )
        if distinct < _FEWEST_VALUES:
            raise SystemExit(f"{node} had only {distinct} distinct values of progress")
    return {
        "progress_error_points": round(statistics.mean(points_off(v, at) for v in samples.values()), 1),
        "progress_error_points_first_run": round(statistics.mean(points_off(v, first_at) for v in first.values()), 1),
    }


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure and return the keys of the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inventory", default="inventories/lab/hosts.yml")
    parser.add_argument("--learn", default="rocky1,ubuntu1")
    parser.add_argument("--watch", default="rocky2,ubuntu2")
    given = parser.parse_args(arguments)
    return measure(given.inventory, given.learn, given.watch)


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
