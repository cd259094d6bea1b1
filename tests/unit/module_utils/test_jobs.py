"""Jobs are found by the nodes that they have or ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands, jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(__file__).parents[1] / "data"
EXPANDED = {"n[2-3]": "n2\nn3\n"}


def answer(monkeypatch: pytest.MonkeyPatch, queue: str, rc: int = 0, error: str = "") -> None:
    def run(argv: Sequence[str], **_options: object) -> commands.CommandResult:
        if argv[:3] == ["scontrol", "show", "hostnames"]:
            return commands.CommandResult(tuple(argv), 0, EXPANDED[argv[3]], "", 0.0)
        assert argv[0] == "squeue"
        assert "--states=PENDING" in argv
        return commands.CommandResult(tuple(argv), rc, queue, error, 0.0)

    monkeypatch.setattr(commands, "run", run)


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        ("22.05", {"n1": ["1"], "n2": ["7"], "n3": ["7"], "n4": ["4"], "x": [], "n9": []}),
        ("24.11", {"n1": ["4", "2"], "n2": ["3"], "n3": ["3"], "n4": ["7"], "x": ["6"], "n9": []}),
    ],
)
def test_pending_jobs_are_found_by_the_nodes_that_they_ask_for(
    generation: str, expected: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, (DATA / f"squeue-requested-{generation}.txt").read_text())
    assert jobs.jobs_requesting(expected) == expected


def test_a_squeue_that_fails_is_no_empty_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "", 1, "Unable to contact slurm controller")
    with pytest.raises(commands.SlurmCommandError, match="squeue: Unable to contact"):
        jobs.jobs_requesting(["n1"])
