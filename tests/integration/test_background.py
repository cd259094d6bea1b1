"""A run that gives its terminal back goes on, and can be watched and cancelled from another one."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from slurmscale.scaling import Scaling
from slurmscale.states import RUN_ACTIVE, RunStatus

PYTHON_LIB = Path(__file__).resolve().parents[2] / "python_lib"
COMMAND = [sys.executable, "-c", "from slurmscale.cli import main; main()"]
RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def environment(config):
    return os.environ | {
        "PYTHONPATH": str(PYTHON_LIB), "SLURMSCALE_DATA_DIR": str(config.data_dir), "COLUMNS": "80",
        "SLURMSCALE_PROJECT_DIR": str(config.project_dir), "TERM": "xterm",
    }  # fmt: skip


@pytest.fixture
def command(environment):
    """Return a function that runs the command without a terminal."""

    def run(*arguments):
        return subprocess.run(
            [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, arguments, environment):
        self.ours, theirs = pty.openpty()
        # What a shell starts in the background, such as these tests, ignores Ctrl-C, and so would what they start.
        own = ["env", "--default-signal=INT", "setsid", "--ctty", "--wait"]
        self.process = subprocess.Popen(
            [*own, *COMMAND, *arguments], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.shown = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(OSError):
            while data := os.read(self.ours, 4096):
                self.shown += data.decode(errors="replace")

    def wait_for(self, text, seconds=30):
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            time.sleep(0.05)

    def type(self, text):
        os.write(self.ours, text.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self.ours)


@pytest.fixture
def terminal(environment):
    opened = []

    def start(*arguments):
        opened.append(Terminal(arguments, environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def removal(terminal, *arguments):
    """Begin to remove nodes, which asks once."""
    shell = terminal("down", *arguments)
    shell.wait_for("out of cluster ")
    shell.type("y\n")
    return shell


def newest(config):
    with Scaling(config) as scaling:
        return scaling.runs(1)[0]


def wait_for_end(config, seconds=60):
    deadline = time.monotonic() + seconds
    while (run := newest(config)).status in RUN_ACTIVE:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return run


def test_a_detached_run_says_its_id_and_ends_by_itself(command, config, inventory):
    begun = time.monotonic()
    started = command("up", "n[1-2]", "-i", inventory, "-e", "duration=4", "--detach")
    assert started.returncode == 0, started.stderr
    assert RUN_ID.fullmatch(started.stdout.strip())
    assert newest(config).status in RUN_ACTIVE, "it takes longer than its start"
    watched = command("attach", "--json")
    assert time.monotonic() - begun > 4
    result = json.loads(watched.stdout)
    assert (watched.returncode, result["status"], result["success_nodes"]) == (0, "completed", 2)


def test_a_detached_run_that_is_refused_says_so(command, inventory):
    refused = command("up", "nowhere", "-i", inventory, "--detach", "--json")
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["error"]["code"] == "request-invalid"


def test_whoever_watches_sees_failures_and_the_end_of_a_run_whose_process_is_killed(command, config, inventory):
    run_id = command("up", "n[1-2]", "-i", inventory, "-e", "duration=60", "--detach").stdout.strip()
    with Scaling(config) as scaling:
        owner = scaling.store.run(run_id).owner_pid
    threading.Timer(2, os.kill, [owner, signal.SIGKILL]).start()
    watched = command("attach", run_id)
    assert watched.returncode == 1
    assert "0 of 2 nodes done" in watched.stderr
    # for all nodes at once, after what each ended with
    assert len([line for line in watched.stderr.splitlines() if line.startswith("The run was interrupted")]) == 1
    assert newest(config).status is RunStatus.INTERRUPTED


def test_ctrl_c_may_leave_a_run_and_the_terminal_may_close(terminal, config, inventory):
    shell = removal(terminal, "n[1-2]", "-i", inventory, "-e", "duration=5")
    shell.wait_for("0:01")
    shell.type("\x03")
    shell.wait_for("(l)eave it running, (c)ancel, or (g)o on?")
    shell.type("l\n")
    assert shell.process.wait(10) == 0
    assert "slurmscale attach" in shell.shown
    run = newest(config)
    assert run.status in RUN_ACTIVE
    shell.close()
    assert wait_for_end(config).status is RunStatus.COMPLETED


def test_ctrl_c_may_cancel_and_a_second_one_does_where_the_start_was_not_asked_for_too(terminal, config, inventory):
    shell = terminal("down", "n1", "-i", inventory, "-e", "duration=60", "--yes")
    shell.wait_for("0:01")
    shell.type("\x03")
    shell.wait_for("(l)eave it running")
    shell.type("\x03")
    assert shell.process.wait(20) == 130
    assert newest(config).status is RunStatus.CANCELLED


def test_ctrl_c_may_go_on(terminal, inventory):
    shell = removal(terminal, "n1", "-i", inventory, "-e", "duration=3")
    shell.wait_for("0:01")
    shell.type("\x03")
    shell.wait_for("(l)eave it running")
    shell.type("\n")
    assert shell.process.wait(30) == 0
    assert "1 of 1 nodes done" in shell.shown


def test_a_watcher_may_leave_without_touching_the_run(command, terminal, config, inventory):
    run_id = command("up", "n1", "-i", inventory, "-e", "duration=6", "--detach").stdout.strip()
    shell = terminal("attach", run_id)
    shell.wait_for("% 0:0")
    shell.type("\x03")
    shell.wait_for("(l)eave it running")
    shell.type("l\n")
    assert shell.process.wait(10) == 0
    assert wait_for_end(config).status is RunStatus.COMPLETED


def terminate(shell):
    """End the process that the shell waits for: the child of setsid."""
    children = Path(f"/proc/{shell.process.pid}/task/{shell.process.pid}/children").read_text().split()
    os.kill(int(children[0]) if children else shell.process.pid, signal.SIGTERM)


def test_sigterm_cancels_also_from_the_process_that_only_waits(terminal, config, inventory):
    shell = removal(terminal, "n1", "-i", inventory, "-e", "duration=60")
    shell.wait_for("% 0:0")
    terminate(shell)
    assert shell.process.wait(30) == 130
    assert newest(config).status is RunStatus.CANCELLED


def test_sigterm_ends_a_watcher_and_not_the_run(command, terminal, config, inventory):
    run_id = command("up", "n1", "-i", inventory, "-e", "duration=6", "--detach").stdout.strip()
    shell = terminal("attach", run_id)
    shell.wait_for("% 0:0")
    terminate(shell)
    assert shell.process.wait(10) == 0
    assert wait_for_end(config).status is RunStatus.COMPLETED
