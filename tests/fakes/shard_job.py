"""A job that plays one stage of a large run for its nodes, and writes down what it was started for."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurmscale.models import Failure
    from slurmscale.runner.protocol import Launch

BAD = "n0007"
"""The node that fails when it is prepared."""


class ShardJob:
    """Plays a stage.

    Args:
        launch: What is to be run.
        folder: Where each job leaves a file, with its stage, its nodes and what it was told of them.
        seconds: How long the stages take.
    """

    def __init__(self, launch: Launch, folder: Path, seconds: float) -> None:
        self.nodes = launch.extra_vars["nodes"].split(",")
        self.stage = launch.playbook.stem
        self.told = launch.extra_vars.get("prepared", {})
        self.run_dir = self.pid = self.error = None
        self.stopped: Failure | None = None
        self._stop = threading.Event()
        self._seconds = seconds
        self._file = folder / f"{self.stage}-{os.getpid()}-{time.monotonic_ns()}.json"

    def start(self) -> None:
        said = {"stage": self.stage, "nodes": self.nodes, "pid": os.getpid(), "told": sorted(self.told)}
        # whole or not at all: it is read meanwhile
        part = self._file.parent.parent / self._file.name
        part.write_text(json.dumps(said))
        part.rename(self._file)

    def stream(self, tick: float) -> Iterator[dict[str, Any] | None]:  # noqa: ARG002 - the interface's parameter
        yield self._event("playbook_on_start")
        for step in range(5):
            for node in self.nodes:
                yield self._event("runner_on_start", host=node, task=f"step {step}", task_uuid=f"t{step}")
            if self._stop.wait(self._seconds / 5):
                return
            yield None
        failed = {}
        for node in self.nodes:
            action = {"host": node, "task": "tell", "task_uuid": "r", "resolved_action": "ai_infra.slurm.node_result"}
            if node == BAD and self.stage == "prepare_nodes":
                failed[node] = 1
                yield self._event("runner_on_failed", **action, res={"msg": "its disk is full"})
            else:
                yield self._event("runner_on_ok", **action, res={})
        yield self._event("playbook_on_stats", ok=dict.fromkeys(self.nodes, 1), dark={}, failures=failed)

    def _event(self, name: str, **data: Any) -> dict[str, Any]:
        return {"event": name, "counter": 1, "stdout": "", "created": time.time(), "event_data": data}

    def plan_lines(self, wait: float = 0.0) -> list[dict[str, Any]]:  # noqa: ARG002 - the interface's parameter
        return []

    def report(self) -> dict[str, Any]:
        return {"prepared": {node: {"acted": True} for node in self.nodes}} if self.stage == "prepare_nodes" else {}

    def stop(self, reason: Failure, *, force: bool = False) -> None:  # noqa: ARG002 - the interface's parameter
        self.stopped = self.stopped or reason
        self._stop.set()

    def close(self) -> None:
        self._file.rename(self._file.with_suffix(".stopped" if self.stopped else ".done"))


def maker(folder: str, seconds: float) -> Callable[[Launch], ShardJob]:
    """Return what makes such jobs."""
    return lambda launch: ShardJob(launch, Path(folder), seconds)
