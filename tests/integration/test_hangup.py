"""A run goes on when its terminal or the reader of its output is gone."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from slurmscale.scaling import Scaling
from slurmscale.states import RunStatus

PYTHON_LIB = Path(__file__).resolve().parents[2] / "python_lib"
COMMAND = [sys.executable, "-c", "from slurmscale.cli import main; main()"]
pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def environment(config):
    return os.environ | {
        "PYTHONPATH": str(PYTHON_LIB),
        "SLURMSCALE_DATA_DIR": str(config.data_dir),
        "SLURMSCALE_PROJECT_DIR": str(config.project_dir),
    }


def wait_until_at_work(config, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with Scaling(config) as scaling:
            runs = scaling.store.runs(active=True)
            if runs and runs[0].status is RunStatus.RUNNING:
                return
        time.sleep(0.2)
    pytest.fail("the run did not begin")


@pytest.mark.parametrize("way", ["hangup", "closed terminal", "closed pipe"])
def test_a_run_is_finished_without_anybody_who_reads(config, inventory, environment, way):
    arguments = [*COMMAND, "up", "n1", "-i", inventory, "-e", "duration=2", "--yes"]
    terminal = None
    if way == "closed pipe":
        process = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    else:
        terminal, theirs = pty.openpty()
        process = subprocess.Popen(arguments, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
                                   start_new_session=True)  # fmt: skip
        os.close(theirs)
        # a terminal that is full would make the command wait
        threading.Thread(target=read_all, args=[terminal], daemon=True).start()
    try:
        wait_until_at_work(config)
        go_away(process, terminal, way)
        assert process.wait(60) == 0
    finally:
        process.kill()
    with Scaling(config) as scaling:
        assert scaling.runs(1)[0].status is RunStatus.COMPLETED


def read_all(terminal):
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


def go_away(process, terminal, way):
    if way == "closed pipe":
        process.stdout.close()
        process.stderr.close()
    else:
        process.send_signal(signal.SIGHUP)
        if way == "closed terminal":
            os.close(terminal)


def test_a_reader_that_has_seen_enough_is_no_error(environment):
    done = subprocess.run(
        ["bash", "-c", '"$@" runs --help | head -1', "-", *COMMAND],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
