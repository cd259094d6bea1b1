"""A scale-up as ansible-runner tells it, for any nodes: the events that a replay gives, and where it waits."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from slurmscale.runner.fake import FakeJob

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from slurmscale.runner.protocol import Launch

STEPS = (
    ("checking", "preflight", "Probe the nodes"),
    ("repository", "apphub-client", "Make the AppHub the source of packages"),
    ("packages", "slurmd", "Install slurmd and munge"),
    ("key", "munge", "Deploy the munge key"),
    ("configuration", "slurmd", "Write the options of slurmd"),
    ("registering", "slurmctld-reconfigure", "Register the nodes with the controller"),
    ("starting", "slurmd", "Start slurmd"),
    ("proving", "slurmd", "Run a job on each node"),
)
_PLAY = {"play": "Scale up", "play_uuid": "play"}


class Recording:
    """What one kind of run does.

    Args:
        steps: Phase, role and name of each task.
        failures: By node, the step that fails there and why.
        logs: By node, what a task prints for it besides.
        report: The report of the playbook.
    """

    def __init__(
        self,
        steps: tuple[tuple[str, str, str], ...] = STEPS,
        failures: Mapping[str, tuple[int, dict[str, str]]] | None = None,
        logs: Mapping[str, Iterable[str]] | None = None,
        report: dict[str, Any] | None = None,
    ) -> None:
        self.steps = steps
        self.failures = failures or {}
        self.logs = logs or {}
        self.report = report or {}
        self.gates: dict[int, threading.Event] = {}

    def wait_before(self, step: int) -> threading.Event:
        """Let the runs wait before a step until the event is set."""
        return self.gates.setdefault(step, threading.Event())

    def phase_before(self, phase: str) -> str:
        """Return the phase of the step before the one of a phase: where a run is that waits before that."""
        phases = [step[0] for step in self.steps]
        return phases[phases.index(phase) - 1]

    def plan(self, nodes: list[str]) -> list[dict[str, Any]]:
        """Return what the plan callback writes."""
        tasks = [
            {"uuid": f"task-{index}", "name": name, "role": role, "sec": "block", "phase": phase, "action": "command"}
            for index, (phase, role, name) in enumerate(self.steps)
        ]
        return [
            {"kind": "play", "play": "Scale up", "puuid": "play", "hosts": nodes, "strategy": "linear", "tasks": tasks}
        ]

    def events(self, nodes: list[str]) -> Iterator[dict[str, Any] | None]:
        """Yield the events; None while a gate is closed, as a job does when nothing happens."""
        counter = 0

        def event(name: str, data: dict[str, Any], text: str = "") -> dict[str, Any]:
            nonlocal counter
            counter += 1
            created = datetime.now(UTC).isoformat()
            return {"event": name, "counter": counter, "created": created, "stdout": text, "event_data": data}

        yield event("playbook_on_play_start", dict(_PLAY))
        left = list(nodes)
        for index, (_, role, name) in enumerate(self.steps):
            yield from self._gate(index)
            task = {**_PLAY, "task": name, "task_uuid": f"task-{index}", "role": role, "task_action": "command"}
            yield event("playbook_on_task_start", task, f"TASK [{role} : {name}]")
            for node in left:
                yield event("runner_on_start", task | {"host": node})
            for node in list(left):
                failed = self.failures.get(node)
                if failed and failed[0] == index:
                    left.remove(node)
                    res = {"failure": failed[1], "msg": failed[1]["reason"]}
                    text = f"fatal: [{node}]: FAILED! => {json.dumps(failed[1]['reason'])}"
                    yield event("runner_on_failed", task | {"host": node, "res": res}, text)
                    continue
                for line in self.logs.get(node, ()) if index == 0 else ():
                    yield event("runner_on_ok", task | {"host": node, "res": {"changed": True}}, line)
                yield event("runner_on_ok", task | {"host": node, "res": {"changed": True}}, f"changed: [{node}]")
        yield from self._gate(len(self.steps))
        failures = {node: 1 for node in nodes if node not in left}
        yield event("playbook_on_stats", {"ok": dict.fromkeys(left, len(self.steps)), "failures": failures, "dark": {}})

    def _gate(self, step: int) -> Iterator[None]:
        gate = self.gates.get(step)
        while gate is not None and not gate.wait(0.05):
            yield None


class ReplayJob(FakeJob):
    """A replay of a recording, with its report."""

    def __init__(self, recording: Recording, nodes: list[str]) -> None:
        super().__init__(recording.events(nodes), recording.plan(nodes))  # type: ignore[arg-type] # None is a tick
        self._report = recording.report

    def report(self) -> dict[str, Any]:
        """Return the report of the recording."""
        return self._report


def nodes_of(launch: Launch) -> list[str]:
    """Return the nodes that a launch works on."""
    return str(launch.extra_vars.get("nodes", "ctl")).split(",")
