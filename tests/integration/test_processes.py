"""What a run leaves on the control machine when it is ended."""

from __future__ import annotations

import contextlib
import signal
import subprocess

from slurmscale.runner import processes


def test_what_belongs_to_no_tree_any_more_is_ended_and_nothing_else():
    run_dir = processes.make_run_dir()
    command = ["sleep", "600"]
    stubborn = ["env", "--ignore-signal=TERM", *command]
    with contextlib.ExitStack() as stack:
        inherited = {"SLURMSCALE_PLAN_FILE": f"{run_dir}/plan.jsonl"}
        stray = stack.enter_context(subprocess.Popen(stubborn, env=inherited, start_new_session=True))
        other = stack.enter_context(subprocess.Popen(command, start_new_session=True))
        stack.callback(other.kill)
        stack.callback(stray.kill)
        try:
            processes.stop_processes(None, run_dir)
            assert stray.wait(5) == -signal.SIGKILL
            assert other.poll() is None
        finally:
            processes.remove_run_dir(run_dir)
