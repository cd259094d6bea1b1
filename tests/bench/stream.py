"""Lets 200 viewers watch a run, and measures how late they learn of what Ansible tells, and what the service needs.

    python tests/bench/stream.py [--viewers 200] [--nodes 40] [--seconds 20]

The service is a process of its own, the viewers are in this one. In the embedded mode the service itself works on the
run. As a replica it only shows the run of another process, through PostgreSQL; left out where there is no PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from argon2 import PasswordHasher
from slurmscale.models import Counts, Run
from slurmscale.operations import Operation
from slurmscale.progress.tracker import Tracker
from slurmscale.runner.processes import owner
from slurmscale.runs.broadcast import Broadcaster
from slurmscale.runs.event_pipeline import EventPipeline
from slurmscale.scaling import Scaling
from slurmscale.service.access.accounts import Accounts
from slurmscale.service.access.permissions import Role
from slurmscale.service.app import create_app
from slurmscale.service.processes.serve import Server
from slurmscale.service.settings import ServiceSettings
from slurmscale.settings import Settings
from slurmscale.states import RunStatus
from slurmscale.store.repository import Store
from slurmscale.store.writer import Writer
from sqlalchemy import event
from websockets.asyncio.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

_RUN = "20260101-000000-bench0"
_PER_USER = 20
_PAUSE = 0.05
"""Seconds between two events: forty nodes on which a step takes two seconds."""
_READING = "AnyIO worker thread"


def create(url: str, nodes: int) -> tuple[Run, dict[str, int]]:
    """Record a run that is about to begin."""
    names = tuple(f"node{number:04d}" for number in range(nodes))
    counts = Counts(total=nodes, active=nodes)
    run = Run(_RUN, "bench", Operation.SCALE_UP, RunStatus.RUNNING, names, counts, time.time(), **owner())
    store = Store(url)
    ids = store.create_run(run)
    store.close()
    return run, ids


def work(store: Store, run: Run, ids: dict[str, int], seconds: float) -> None:
    """Record a run as if Ansible told of it; each step is named after the moment it began."""
    writer = Writer(store, run, ids)
    pipeline = EventPipeline(_RUN, Tracker(run.nodes), writer, Broadcaster())
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        host = run.nodes[number % len(run.nodes)]
        data = {"play": "Prepare", "play_uuid": "play", "host": host, "task_action": "command"}
        data |= {"task": f"step {time.time():.4f}", "task_uuid": f"task-{number}"}
        pipeline.event({"event": "runner_on_start", "counter": number, "event_data": data, "stdout": ""})
        time.sleep(_PAUSE)
    pipeline.finish(RunStatus.COMPLETED, None, time.time())
    writer.close()


def work_apart(url: str, *about: Any) -> None:
    """Do the same in a process of its own."""
    store = Store(url)
    work(store, *about)
    store.close()


def serve(url: str, directory: str, users: int, parent: Connection, limit: float | None = None) -> None:
    """Serve, work when told to, and say how many queries were made for viewers.

    Args:
        url: The database.
        directory: Directory of the service.
        users: How many users to make.
        parent: Where orders come from.
        limit: Requests that one address may make in a second; the setting when None.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    scaling = Scaling(Settings(database_url=url, data_dir=Path(directory)))
    accounts = Accounts(scaling.store, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    tokens = [accounts.new_token(accounts.add_user(f"u{n}", Role.VIEWER), "bench", 1)[0] for n in range(users)]
    queries: list[str] = []

    def count(*about: Any) -> None:
        if threading.current_thread().name.startswith(_READING) and not about[2].startswith("BEGIN"):
            queries.append(about[2])

    event.listen(scaling.store.engine, "before_cursor_execute", count)
    config = ServiceSettings() if limit is None else ServiceSettings(requests_per_second=limit)
    server = Server(create_app(scaling, config, accounts), config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    parent.send((listener.getsockname()[1], tokens))
    while (order := parent.recv()) != "stop":
        if order == "count":
            parent.send(len(queries))
        else:
            threading.Thread(target=work, args=(scaling.store, *order), daemon=True).start()
    server.should_exit = True
    thread.join()
    scaling.close()


async def watch(port: int, token: str, late: list[float], ready: asyncio.Semaphore) -> None:
    """Watch the run to its end, and note how late each step is told."""
    known: dict[str, str] = {}
    headers = {"Authorization": f"Bearer {token}"}
    address = f"ws://127.0.0.1:{port}/api/slurm/ws"
    async with connect(address, subprotocols=["slurmscale.v1"], additional_headers=headers, compression=None) as viewer:
        await viewer.send(json.dumps({"watch": {"run": _RUN}}))
        while True:
            told = json.loads(await viewer.recv())
            now = time.time()
            if told["event"] == "snapshot":
                ready.release()
            for task in told["data"].get("tasks", ()):
                if task["step"].startswith("step ") and known.get(task["node"]) != task["step"]:
                    known[task["node"]] = task["step"]
                    late.append((now - float(task["step"].rpartition(" ")[2])) * 1000)
            if told["event"] == "end":
                return


@contextmanager
def service(url: str, directory: str, viewers: int) -> Iterator[tuple[Connection, psutil.Process, int, list[str]]]:
    """Start a service; yields how to talk to it, its process, its port and tokens."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(url, directory, -(-viewers // _PER_USER), theirs))
    process.start()
    port, tokens = ours.recv()
    try:
        yield ours, psutil.Process(process.pid), port, tokens
    finally:
        ours.send("stop")
        process.join()


async def _watched(port: int, tokens: list[str], viewers: int, begin: Any) -> list[float]:
    late: list[float] = []
    ready = asyncio.Semaphore(0)
    watching = [asyncio.create_task(watch(port, tokens[n // _PER_USER], late, ready)) for n in range(viewers)]
    for _ in range(viewers):
        await ready.acquire()
    begin()
    await asyncio.gather(*watching)
    return late


def _p95(values: list[float]) -> float:
    return round(statistics.quantiles(values, n=20)[-1], 1)


def embedded(directory: str, viewers: int, nodes: int, seconds: float) -> dict[str, float]:
    """Measure a service that works on the run itself."""
    url = f"sqlite:///{directory}/embedded.db"
    about = create(url, nodes)
    with service(url, directory, viewers) as (pipe, process, port, tokens):
        before: list[Any] = []

        def begin() -> None:
            pipe.send("count")
            before.extend((pipe.recv(), process.cpu_times(), time.monotonic()))
            pipe.send((*about, seconds))

        late = asyncio.run(_watched(port, tokens, viewers, begin))
        queries, cpu, started = before
        wall = time.monotonic() - started
        after = process.cpu_times()
        pipe.send("count")
        return {
            "event_to_viewer_ms_p95": _p95(late),
            "viewers_200_queries_per_second": round((pipe.recv() - queries) / wall, 2),
            "viewers_200_cpu_cores": round((after.user + after.system - cpu.user - cpu.system) / wall, 3),
            "service_rss_mb": round(process.memory_info().rss / 2**20, 1),
        }


def replica(url: str, directory: str, viewers: int, nodes: int, seconds: float) -> dict[str, float]:
    """Measure a service that shows the run of another process."""
    about = create(url, nodes)
    with service(url, directory, viewers) as (pipe, _process, port, tokens):
        worker = multiprocessing.get_context("spawn").Process(target=work_apart, args=(url, *about, seconds))
        before: list[Any] = []

        def begin() -> None:
            pipe.send("count")
            before.extend((pipe.recv(), time.monotonic()))
            worker.start()

        late = asyncio.run(_watched(port, tokens, viewers, begin))
        wall = time.monotonic() - before[1]
        pipe.send("count")
        queries = pipe.recv() - before[0]
        worker.join()
    return {
        "event_to_viewer_ms_p95_replica": _p95(late),
        "viewers_200_queries_per_second_replica": round(queries / wall, 2),
    }


@contextmanager
def postgresql() -> Iterator[str | None]:
    """Start a PostgreSQL of its own; yields the URL of a database, or None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        yield None
        return
    base = Path(tempfile.mkdtemp(prefix="slurmscale-bench-"))
    become: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(base, "postgres")
        become = ["runuser", "-u", "postgres", "--"]
    options = [*become, str(found[-1]), "-D", str(base / "data"), "-U", "bench", "-A", "trust", "-N"]
    subprocess.run(options, check=True, capture_output=True, cwd=base)
    command = [*become, str(found[-1].parent / "pg_ctl"), "-D", str(base / "data"), "-w", "-l", str(base / "log")]
    start = [*command, "-o", f"-k {base} -c listen_addresses=", "start"]
    # it keeps what it inherits open
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=base)
    try:
        yield f"postgresql+psycopg://bench@/postgres?host={base}"
    finally:
        subprocess.run([*command, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=base)
        shutil.rmtree(base)


def measure(viewers: int, nodes: int, seconds: float) -> dict[str, float]:
    """Run all measurements and return the keys of the results."""
    with tempfile.TemporaryDirectory() as directory, postgresql() as url:
        found = embedded(directory, viewers, nodes, seconds)
        return found | (replica(url, directory, viewers, nodes, seconds) if url else {})


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure and return the keys of the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args(arguments)
    return measure(given.viewers, given.nodes, given.seconds)


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
