"""The plan of a run: which tasks the playbook holds, in order, and how far a node is that has come to one of them.

Nothing in Ansible's events announces a total, so the collection's callback `slurm_plan` writes one: first an outline of
the whole playbook, then a line per play (and per batch of `serial`) with the hosts it starts with. All tasks of all
plays form one line of positions. A node's position is how far it, or the part of the playbook it waits for, has come.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from slurmscale.progress.task_weights import is_bookkeeping, weight
from slurmscale.states import LOOKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurmscale.models import Timing


@dataclass(slots=True)
class PlannedTask:
    """One position: a task of a play."""

    index: int
    key: str
    name: str
    rescue: bool
    always: bool
    meta: str
    once: bool
    action: str = ""
    phase: str = ""
    step: str = ""
    """What people are told; empty when it is the name of the task itself."""

    @property
    def expects_result(self) -> bool:
        """Whether a host that is not in trouble reports a result here."""
        return not self.rescue and not self.meta and not self.once

    @property
    def ends_host(self) -> bool:
        """Whether a host may leave the play here without having failed."""
        return self.meta in ("end_host", "end_play", "end_batch")


@dataclass(slots=True)
class PlannedPlay:
    """One play of the playbook."""

    uuid: str
    name: str
    hosts: frozenset[str]
    lockstep: bool
    first: int
    tasks: list[PlannedTask] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Position after the play's last task."""
        return self.first + len(self.tasks)

    @property
    def last(self) -> int | None:
        """Position whose result proves that a host went through the whole play."""
        return next((task.index for task in reversed(self.tasks) if task.expects_result), None)


def play_without_batch(play_uuid: str) -> str:
    """Cut off the number that each further batch of `serial` adds to its play's uuid."""
    return play_uuid.partition("_")[0]


class TaskPlan:
    """The playbook as one line of positions.

    Args:
        timings: Timings by task key from earlier runs; empty when there were none.
        changes: Whether the run is to change something; one that only looks ends before the phases that do.
    """

    def __init__(self, timings: Mapping[str, Timing] | None = None, *, changes: bool = True) -> None:
        self.timings = dict(timings or {})
        self._changes = changes
        self.plays: dict[str, PlannedPlay] = {}
        self.tasks: list[PlannedTask] = []
        self.positions: dict[str, int] = {}
        self.batches: dict[str, frozenset[str]] = {}
        self.timed = bool(self.timings)
        """Whether weights are seconds, by which the clock can move nodes."""
        self.weights: list[float] = []
        self.remaining_weights: list[float] = [0.0]
        """What is to be expected from each position on to the end."""

    @property
    def known(self) -> bool:
        """Whether there is a plan at all."""
        return bool(self.tasks)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one line of the plan callback's file.

        Args:
            line: An outline (`kind` outline, with `plays`) or one play with `puuid`, `hosts` and `tasks`.
        """
        if line.get("kind") == "outline":
            for play in line.get("plays", ()):
                self._add_play(play)
        elif "puuid" in line:
            known = self.plays.get(play_without_batch(line["puuid"]))
            if known is None:
                self._add_play(line)
            else:
                known.hosts |= frozenset(line["hosts"])
            self.batches[line["puuid"]] = frozenset(line["hosts"])
        self._weigh()

    def play(self, play_uuid: str) -> PlannedPlay | None:
        """Find a play by the uuid in an event."""
        return self.plays.get(play_without_batch(play_uuid))

    def percent(self, done: float, position: int, inner: float, *, skipped: bool = False) -> int:
        """Say how far a node is.

        Args:
            done: Weight of what lies behind it.
            position: Where it is.
            inner: Part of that position that is done, 0 to 1.
            skipped: The position costs this node nothing.

        Returns:
            0 to 99: that a node is done is only known when the run is finished.
        """
        here = 0.0 if skipped else self.weights[position]
        whole = done + here + self.remaining_weights[position + 1]
        # a hair is added, lest 3 of 3 parts become 98 by rounding
        return min(99, int(99 * (done + here * inner) / whole + 1e-9)) if whole > 0 else 0

    def _add_play(self, line: Mapping[str, Any]) -> None:
        uuid = play_without_batch(line["puuid"])
        play = PlannedPlay(
            uuid=uuid,
            name=line.get("play") or "",
            hosts=frozenset(line.get("hosts") or ()),
            lockstep=line.get("strategy", "").rpartition(".")[2] == "linear",
            first=len(self.tasks),
        )
        self.plays[uuid] = play
        for described in line["tasks"]:
            role, name = described.get("role") or "", described["name"]
            task = PlannedTask(
                index=len(self.tasks),
                key=f"{play.name}|{role}|{name}",
                name=name,
                rescue=described.get("sec") == "rescue",
                always=described.get("sec") == "always",
                meta=described.get("meta") or "",
                once=bool(described.get("once")),
                action=described.get("action") or "",
                phase=described.get("phase") or "",
            )
            self.tasks.append(task)
            play.tasks.append(task)
            self.positions.setdefault(described["uuid"], task.index)
        for _, tasks in groupby(play.tasks, lambda task: task.phase):
            _name_bookkeeping(list(tasks), play.name)

    def _weigh(self) -> None:
        self.timed = bool(self.timings) or any(task.phase for task in self.tasks)
        self.weights = [
            # what is reached only after a failure, or does nothing by itself, moves no node on
            0.0 if task.rescue or task.meta
            else weight(task.action, task.phase, self.timings.get(task.key), timed=self.timed)
            for task in self.tasks
        ]  # fmt: skip
        if not any(self.weights):
            self.weights = [1.0] * len(self.tasks)
        expected = [own * self._share(task) for own, task in zip(self.weights, self.tasks, strict=True)]
        self.remaining_weights = [0.0] * (len(expected) + 1)
        for index in range(len(expected) - 1, -1, -1):
            self.remaining_weights[index] = self.remaining_weights[index + 1] + expected[index]

    def _share(self, task: PlannedTask) -> float:
        if known := self.timings.get(task.key):
            return known.share
        return 1.0 if self._changes or not task.phase or task.phase in LOOKING else 0.0


def _name_bookkeeping(tasks: list[PlannedTask], play: str) -> None:
    """Let bookkeeping be told as the work before it, else as the work after it, or as the play where there is none."""
    told = next((task.name for task in tasks if not is_bookkeeping(task.action)), play)
    for task in tasks:
        if is_bookkeeping(task.action):
            task.step = told
        else:
            told = task.name
