"""Replays a made-up run of many nodes through tracker and store: events per second, memory, time of the status query.

    python tests/bench/replay.py [--nodes 10000] [--tasks 30] [--records 1000000]

Every event is shaped like ansible-runner's and made while it is replayed, which counts as part of the time. Each
measurement runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil
from slurmscale.models import Counts, Run, TaskChange
from slurmscale.operations import Operation
from slurmscale.progress.tracker import Tracker
from slurmscale.runner.processes import owner
from slurmscale.runs.broadcast import Broadcaster
from slurmscale.runs.event_pipeline import EventPipeline
from slurmscale.scaling_status import read_status
from slurmscale.states import RunStatus, TaskStatus
from slurmscale.store.repository import Store
from slurmscale.store.tables import row_of_counts, row_of_run, row_of_task, runs, tasks
from slurmscale.store.writer import Writer
from sqlalchemy import insert, text

if TYPE_CHECKING:
    from collections.abc import Iterator

_NODES_PER_RUN = 10_000
_ACTIVE_IN_RECORDS = 1_000


def node_names(count: int) -> list[str]:
    """Return the nodes of the made-up run."""
    return [f"node{number:05d}" for number in range(count)]


def plan_of(nodes: list[str], task_count: int) -> dict[str, Any]:
    """Return the plan callback's line for the made-up run."""
    entries = [{"uuid": f"task-{n}", "name": f"task {n}", "role": "slurmd", "sec": "block"} for n in range(task_count)]
    return {"kind": "play", "play": "Prepare", "puuid": "play", "hosts": nodes, "strategy": "linear", "tasks": entries}


def events_of(nodes: list[str], task_count: int) -> Iterator[dict[str, Any]]:
    """Yield the events of the made-up run: every task on every node, start and result."""
    play = {"play": "Prepare", "play_uuid": "play", "play_pattern": "all", "playbook": "scale_up.yml"}
    created = datetime.now(UTC).isoformat()

    def event(name: str, data: dict[str, Any], stdout: str = "") -> dict[str, Any]:
        nonlocal counter
        counter += 1
        return {
            "uuid": f"event-{counter}", "counter": counter, "stdout": stdout, "start_line": counter,
            "end_line": counter + 1, "runner_ident": "run", "event": name, "pid": 1, "created": created,
            "parent_uuid": "task", "event_data": data,
        }  # fmt: skip

    counter = 0
    yield event("playbook_on_start", {"playbook": "scale_up.yml"})
    yield event("playbook_on_play_start", dict(play))
    for number in range(task_count):
        created = datetime.now(UTC).isoformat()
        task = play | {
            "task": f"task {number}",
            "task_uuid": f"task-{number}",
            "role": "slurmd",
            "task_action": "command",
        }
        yield event("playbook_on_task_start", dict(task), f"\r\nTASK [slurmd : task {number}] ****")
        for node in nodes:
            yield event("runner_on_start", task | {"host": node})
        for node in nodes:
            created = datetime.now(UTC).isoformat()
            res = {"changed": True, "cmd": ["/bin/true"], "rc": 0, "stdout": "", "stderr": "", "invocation": {}}
            data = task | {"host": node, "remote_addr": node, "res": res, "start": created, "end": created}
            yield event("runner_on_ok", data, f"\x1b[0;33mchanged: [{node}]\x1b[0m")
    yield event("playbook_on_stats", {"ok": dict.fromkeys(nodes, task_count), "failures": {}, "dark": {}})


def replay(directory: str, node_count: int, task_count: int) -> dict[str, float]:
    """Record a made-up run and measure it."""
    store = Store(f"sqlite:///{directory}/replay.db")
    nodes = node_names(node_count)
    run = _run("replay", nodes, time.time())
    ids = store.create_run(run)
    pipeline = EventPipeline("replay", Tracker(nodes), Writer(store, run, ids), Broadcaster())
    pipeline.tracker.add_plan_line(plan_of(nodes, task_count))
    samples: list[int] = []
    over = threading.Event()
    threading.Thread(target=_sample_memory, args=(samples, over), daemon=True).start()
    started = time.perf_counter()
    count = 0
    for event in events_of(nodes, task_count):
        pipeline.event(event)
        count += 1
    pipeline.finish(RunStatus.COMPLETED, None, time.time())
    pipeline._writer.close()
    seconds = time.perf_counter() - started
    over.set()
    with store.engine.connect() as connection:
        lines = connection.execute(text("SELECT count(*) FROM log_lines")).scalar_one()
        done = connection.execute(text("SELECT count(*) FROM tasks WHERE status = 'completed'")).scalar_one()
    # a result is only worth measuring when everything arrived; the task starts belong to no node but are kept too
    assert lines == node_count * task_count + task_count, lines
    assert done == node_count, done
    store.close()
    third = max(1, len(samples) // 3)
    return {
        "events": count,
        "events_per_second": count / seconds,
        "rss_first_third_mb": statistics.median(samples[:third]) / 2**20,
        "rss_last_third_mb": statistics.median(samples[-third:]) / 2**20,
        "replay_peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def status_query(directory: str, records: int) -> float:
    """Return the median milliseconds of a scaling status with so many task records, a tenth of a percent active."""
    store = Store(f"sqlite:///{directory}/status-{records}.db")
    fill(store, records)
    read_status(store).status()
    times = []
    for _ in range(30):
        started = time.perf_counter()
        status = read_status(store).status()
        times.append((time.perf_counter() - started) * 1000)
    assert status.active_tasks + status.success_nodes + status.failed_nodes == records
    assert status.stalled_tasks
    store.close()
    return statistics.median(times)


def fill(store: Store, records: int) -> None:
    """Write task records of the last hours: runs of ten thousand nodes, the newest one still in progress."""
    now = time.time()
    left, number = records, 0
    while left:
        size = min(_NODES_PER_RUN, left)
        left -= size
        nodes = node_names(size)
        active = min(_ACTIVE_IN_RECORDS, size // 2) if not left else 0
        failed = size // 100
        status = RunStatus.RUNNING if active else RunStatus.FAILED
        run = _run(f"run-{number}", nodes, now - 3600 - left / 1000, status)
        counts = Counts(size, active, size - active - failed, failed, 50 * active)
        row = row_of_run(run) | row_of_counts(counts)
        with store.begin() as connection:
            connection.execute(insert(runs).values(**row))
            connection.execute(
                insert(tasks), [_task(run, i, node, (active, failed), now) for i, node in enumerate(nodes)]
            )
        number += 1


def _task(run: Run, index: int, node: str, marks: tuple[int, int], now: float) -> dict[str, Any]:
    active, failed = marks
    status = TaskStatus.COMPLETED
    if index < active:
        status = TaskStatus.RUNNING
    elif index < active + failed:
        status = TaskStatus.FAILED
    change = TaskChange(
        node,
        status,
        progress=50 if status is TaskStatus.RUNNING else 100,
        step="slurmd : install",
        updated_at=now - (900 if index < 10 else 1),
        started_at=run.created_at,
    )
    return row_of_task(run, change)


def _run(name: str, nodes: list[str], created: float, status: RunStatus = RunStatus.RUNNING) -> Run:
    counts = Counts(total=len(nodes), active=len(nodes))
    return Run(name, "bench", Operation.SCALE_UP, status, tuple(nodes), counts, created, **owner())


def _sample_memory(samples: list[int], over: threading.Event) -> None:
    process = psutil.Process()
    while not over.wait(0.1):
        samples.append(process.memory_info().rss)


def _apart(function: Any, *arguments: Any) -> Any:
    """Call a function in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def measure(node_count: int, task_count: int, small: int, large: int) -> dict[str, float]:
    """Run all measurements and return the keys of the results."""
    with tempfile.TemporaryDirectory() as directory:
        replayed = _apart(replay, directory, node_count, task_count)
        return {
            "events_per_second": round(replayed["events_per_second"]),
            "replay_peak_rss_mb": round(replayed["replay_peak_rss_mb"], 1),
            "replay_rss_growth_mb": round(replayed["rss_last_third_mb"] - replayed["rss_first_third_mb"], 1),
            "status_ms_10k_tasks": round(_apart(status_query, directory, small), 2),
            "status_ms_1m_tasks": round(_apart(status_query, directory, large), 2),
        }


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure and return the keys of the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--tasks", type=int, default=30)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=1_000_000)
    given = parser.parse_args(arguments)
    return measure(given.nodes, given.tasks, given.small, given.records)


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
