"""What a run leaves on the control machine when it is ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

import psutil
import pytest
from slurmscale.runner import processes, run_directories


def test_what_belongs_to_no_tree_any_more_is_ended_and_nothing_else():
    run_dir = run_directories.make()
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
            run_directories.remove(run_dir)


@pytest.mark.parametrize("with_sudo", [True, False])
def test_a_process_of_another_user_is_ended_by_sudo_or_reported(monkeypatch, tmp_path, with_sudo):
    def denied(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "terminate", denied)
    monkeypatch.setattr(psutil.Process, "kill", denied)
    monkeypatch.setattr(processes, "_GRACE", 0.2)
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\nshift\nexec "$@"\n' if with_sudo else "#!/bin/sh\nexit 1\n")
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run_dir = run_directories.make()
    inherited = {"SLURMSCALE_PLAN_FILE": f"{run_dir}/plan.jsonl"}
    with subprocess.Popen(["sleep", "600"], env=inherited) as foreign:
        try:
            left = processes.stop_processes(foreign.pid, run_dir)
            assert left == ([] if with_sudo else [foreign.pid])
            assert (foreign.poll() is not None) is with_sudo
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(foreign.pid, signal.SIGKILL)
            run_directories.remove(run_dir)
