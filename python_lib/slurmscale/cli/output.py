"""How results are printed: JSON for programs, tables for people, and exit codes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import typer

from slurmscale.models import Run, Task, when
from slurmscale.states import RunStatus

CANCELLED = 130


def epilog(examples: tuple[str, ...]) -> str:
    """Return the examples as they end a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"  {example.replace('[', chr(92) + '[')}" for example in examples)


def echo_json(value: Any) -> None:
    """Print JSON, times and other odd values as text."""
    typer.echo(json.dumps(value, indent=2, default=str))


def run_as_json(run: Run) -> dict[str, Any]:
    """Return what programs want to know of a run."""
    return {
        "id": run.id,
        "type": run.operation.value,
        "status": run.status.value,
        "cluster": run.cluster,
        "nodes": list(run.nodes),
        "success_nodes": run.counts.success,
        "failed_nodes": run.counts.failed,
        "created_at": _iso(run.created_at),
        "started_at": _iso(run.started_at),
        "completed_at": _iso(run.completed_at),
        "error": run.error.as_dict() if run.error else None,
        "error_message": run.error_message,
    }


def task_as_json(task: Task) -> dict[str, Any]:
    """Return a task with times that a program can read."""
    times = ("created_at", "updated_at", "started_at", "completed_at")
    error = {"error": task.error.as_dict() if task.error else None}
    return dataclasses.asdict(task) | error | {name: _iso(getattr(task, name)) for name in times}


def _iso(epoch: float | None) -> str | None:
    moment = when(epoch)
    return moment.isoformat() if moment else None


def exit_code(run: Run) -> int:
    """Return the exit code that says how a run ended."""
    if run.status is RunStatus.COMPLETED:
        return 0
    return CANCELLED if run.status is RunStatus.CANCELLED else 1
