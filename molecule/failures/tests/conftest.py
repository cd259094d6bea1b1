"""Ways to let things happen."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import before, cluster_is_unharmed, ctl1, playbook, run_playbook, unwrap

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

__all__ = ["before", "cluster_is_unharmed", "ctl1", "playbook"]

CONFIGURATION = "cat /etc/slurm/slurm.conf /etc/slurm/slurmscale-nodes.conf"


def row(run: subprocess.CompletedProcess[str], node: str) -> str:
    """Return what the table at the end of a run says of a node."""
    (found,) = re.findall(rf"^ +({node} +(?:done|unchanged|failed|kept) .*)$", run.stdout, re.MULTILINE)
    return unwrap(found)


def details(run: subprocess.CompletedProcess[str]) -> str:
    """Return what stands below the table at the end of a run: the further lines of reasons."""
    *_rows, last = re.finditer(r"^ +\S+ +(?:done|unchanged|failed) .*$", run.stdout, re.MULTILINE)
    return unwrap(run.stdout[last.end() :].partition("\nTASK [")[0])


@pytest.fixture
def struck(monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a playbook and lets a shell command run when a task of it begins."""

    def run(task: str, command: str, *arguments: str, playbook: str = "scale_up") -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            patch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(Path(__file__).parents[1] / "callback_plugins"))
            patch.setenv("STRIKE_TASK", task)
            patch.setenv("STRIKE_COMMAND", command)
            done = run_playbook(playbook, "--diff", *arguments)
        # Killed is how it should end when the command kills it.
        assert "STRUCK" in done.stdout or done.returncode < 0, done.stdout
        return done

    return run
