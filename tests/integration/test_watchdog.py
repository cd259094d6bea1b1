"""The watchdog beside a run ends what the run has at work when nobody puts that off, with real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fakes.waiting import wait_for
from slurmscale.runner import processes, run_directories
from slurmscale.runner.watchdog import Watchdog

PYTHON_LIB = Path(__file__).resolve().parents[2] / "python_lib"
WORKER = """
import os, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {library!r})
from slurmscale.runner.watchdog import Watchdog
from slurmscale.runner.processes import seconds_since_boot
run_dir = input()
watchdog = Watchdog(Path(run_dir), seconds_since_boot() + 2, os.environ)
tree = subprocess.Popen(["sh", "-c", "setsid sleep 601 & sleep 602"], env={{"OF": run_dir}}, start_new_session=True)
print("working", flush=True)
while True:
    time.sleep(0.1)
    watchdog.put_off(seconds_since_boot() + 2)
"""


@pytest.fixture
def run_dir():
    made = run_directories.make()
    yield made
    for process in processes.find_run_processes(made):
        process.kill()
    run_directories.remove(made)


@pytest.fixture
def worker(run_dir):
    """A process that carries a run: a watchdog, and a tree of which a part has a session of its own."""
    command = [sys.executable, "-c", WORKER.format(library=str(PYTHON_LIB))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    # not as an argument: what has the directory in its command line belongs to the run
    process.stdin.write(f"{run_dir}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "working\n"
    yield process
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.communicate()


def at_work(run_dir):
    found = set()
    for process in processes.find_run_processes(run_dir):
        # it may end meanwhile
        with contextlib.suppress(psutil.Error):
            found.add(" ".join(process.cmdline()))
    return {"sleep 601", "sleep 602"} & found


def watchdog_of(worker):
    return next(one for one in psutil.Process(worker.pid).children() if "watchdog" in " ".join(one.cmdline()))


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_the_tree_of_a_process_that_is_stopped_or_lost_ends_when_it_must(worker, run_dir, number):
    both = {"sleep 601", "sleep 602"}
    wait_for(lambda: at_work(run_dir) == both)
    watchdog = watchdog_of(worker)
    time.sleep(3)
    assert at_work(run_dir) == both, "it was ended though its end was put off"
    worker.send_signal(number)
    # two seconds after it was put off last, and some in which it may end by itself
    wait_for(lambda: not at_work(run_dir), 6)
    if number == signal.SIGSTOP:
        assert worker.poll() is None
        worker.send_signal(signal.SIGCONT)
    wait_for(lambda: not watchdog.is_running() or watchdog.status() == psutil.STATUS_ZOMBIE, 10)


def test_it_ends_when_others_have_cleaned_up(worker, run_dir):
    wait_for(lambda: len(at_work(run_dir)) == 2)
    watchdog = watchdog_of(worker)
    worker.kill()
    worker.wait()
    for process in processes.find_run_processes(run_dir):
        process.kill()
    run_directories.remove(run_dir)
    wait_for(lambda: not watchdog.is_running(), 5)


def test_one_that_is_closed_ends_nothing(run_dir):
    with subprocess.Popen(["sleep", "600"], env={"OF": str(run_dir)}) as other:
        watchdog = Watchdog(run_dir, processes.seconds_since_boot() + 1, os.environ)
        watchdog.close()
        watchdog.put_off(0.0)
        time.sleep(2)
        assert other.poll() is None
        other.kill()
