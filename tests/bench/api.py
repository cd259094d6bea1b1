"""How fast the service tells the scaling status with many records, and what becomes of 1,000 requests a second.

    python tests/bench/api.py [--records 1000000] [--rate 1000] [--seconds 10]

The service is a process of its own on SQLite, with its default settings: it answers what it has room for, and refuses
what is beyond the limit of one address. The time of an answer is measured without that limit, one request at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))

import httpx2
from replay import fill
from slurmscale.store.repository import Store
from stream import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATH = "/api/slurm/scaling/status"
_REQUESTS = 200
_CONNECTIONS = 100
_LATEST = 60.0
"""Seconds after which a request without an answer is lost."""
_FEW = 1_000


@contextmanager
def service(directory: str, records: int, limit: float | None = None) -> Iterator[tuple[int, str]]:
    """Start a service on so many records of tasks; yields its port and a token."""
    url = f"sqlite:///{directory}/{records}.db"
    store = Store(url)
    fill(store, records)
    store.close()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(url, directory, 1, theirs, limit))
    process.start()
    port, tokens = ours.recv()
    try:
        yield port, tokens[0]
    finally:
        ours.send("stop")
        process.join()


def latency(directory: str, records: int) -> float:
    """Return the 95th percentile of the milliseconds until the status is answered."""
    with (
        service(directory, records, 0) as (port, token),
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}) as client,
    ):
        times = []
        for _ in range(_REQUESTS):
            started = time.perf_counter()
            answer = client.get(_PATH)
            times.append((time.perf_counter() - started) * 1000)
            if answer.status_code != 200:
                raise SystemExit(f"The status was refused: {answer.text}")
    return round(statistics.quantiles(times, n=20)[-1], 1)


async def _answers(port: int, token: str, due: asyncio.Queue[float], found: Counter[int]) -> None:
    """Send a request over one connection whenever one is due, and count the answers by their status."""
    request = f"GET {_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        await due.get()
        try:
            async with asyncio.timeout(_LATEST):
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
            found[int(head.split()[1])] += 1
        except (OSError, EOFError, TimeoutError):
            found[0] += 1
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        finally:
            due.task_done()


async def _flood(port: int, token: str, rate: int, seconds: float) -> tuple[Counter[int], float]:
    """Make so many requests a second, however long the answers take; returns them by status, and the seconds."""
    due: asyncio.Queue[float] = asyncio.Queue()
    found: Counter[int] = Counter()
    asking = [asyncio.create_task(_answers(port, token, due, found)) for _ in range(_CONNECTIONS)]
    started = time.monotonic()
    made = 0
    while (passed := time.monotonic() - started) < seconds:
        while made < passed * rate:
            due.put_nowait(passed)
            made += 1
        await asyncio.sleep(0.002)
    await due.join()
    taken = time.monotonic() - started
    for task in asking:
        task.cancel()
    return found, taken


def flood(directory: str, rate: int, seconds: float) -> dict[str, float]:
    """Return how many of many requests were served, refused and lost."""
    with service(directory, _FEW) as (port, token):
        found, taken = asyncio.run(_flood(port, token, rate, seconds))
    refused = found[429] + found[503]
    return {
        "api_requests_per_second": round(found.total() / taken),
        "api_served_per_second": round(found[200] / taken),
        "api_refused_per_second": round(refused / taken),
        "api_requests_lost": found.total() - found[200] - refused,
    }


def measure(records: int, rate: int, seconds: float) -> dict[str, float]:
    """Run all measurements and return the keys of the results."""
    with tempfile.TemporaryDirectory() as directory:
        return {"api_status_ms_p95": latency(directory, records)} | flood(directory, rate, seconds)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure and return the keys of the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args(arguments)
    return measure(given.records, given.rate, given.seconds)


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
