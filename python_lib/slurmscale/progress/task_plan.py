"""The plan of a run: which tasks the playbook holds, in order, and what each of them weighs.

Nothing in Ansible's events announces a total, so the collection's callback `slurm_plan` writes one: first an outline of
the whole playbook, then a line per play (and per batch of `serial`) with the hosts it starts with. All tasks of all
plays form one line of positions. A node's position is how far it, or the part of the playbook it waits for, has come.

What a position weighs is 1 at first; afterwards the seconds nodes spent there in earlier runs. A position still ahead
counts only as much as nodes used to take part in it, one that a node skipped no longer counts for this node at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from slurmscale.models import Timing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NEW_TASK_SECONDS = 0.2
"""Weight of a task that no earlier run had, among learned ones."""


@dataclass(slots=True)
class Entry:
    """One position: a task of a play."""

    index: int
    key: str
    name: str
    rescue: bool
    always: bool
    meta: str
    once: bool

    @property
    def counts(self) -> bool:
        """Whether a host that is not in trouble reports a result here."""
        return not self.rescue and not self.meta and not self.once

    @property
    def ends_host(self) -> bool:
        """Whether a host may leave the play here without having failed."""
        return self.meta in ("end_host", "end_play", "end_batch")


@dataclass(slots=True)
class Play:
    """One play of the playbook."""

    uuid: str
    name: str
    hosts: frozenset[str]
    lockstep: bool
    first: int
    entries: list[Entry] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Position after the play's last task."""
        return self.first + len(self.entries)

    @property
    def last(self) -> int | None:
        """Position whose result proves that a host went through the whole play."""
        return next((entry.index for entry in reversed(self.entries) if entry.counts), None)


def base_uuid(play_uuid: str) -> str:
    """Cut off the number that each further batch of `serial` adds to its play's uuid."""
    return play_uuid.partition("_")[0]


class Plan:
    """The playbook as one line of positions.

    Args:
        learned: Timings by task key from earlier runs; empty when there were none.
    """

    def __init__(self, learned: Mapping[str, Timing] | None = None) -> None:
        self.learned = dict(learned or {})
        self.plays: dict[str, Play] = {}
        self.entries: list[Entry] = []
        self.positions: dict[str, int] = {}
        self.batches: dict[str, frozenset[str]] = {}
        self.weights: list[float] = []
        self.ahead: list[float] = [0.0]
        """What is to be expected from each position on to the end."""

    @property
    def known(self) -> bool:
        """Whether there is a plan at all."""
        return bool(self.entries)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one line of the plan callback's file.

        Args:
            line: An outline (`kind` outline, with `plays`) or one play with `puuid`, `hosts` and `tasks`.
        """
        if line.get("kind") == "outline":
            for play in line.get("plays", ()):
                self._add_play(play)
        elif "puuid" in line:
            known = self.plays.get(base_uuid(line["puuid"]))
            if known is None:
                self._add_play(line)
            else:
                known.hosts |= frozenset(line["hosts"])
            self.batches[line["puuid"]] = frozenset(line["hosts"])
        self._weigh()

    def play(self, play_uuid: str) -> Play | None:
        """Find a play by the uuid in an event."""
        return self.plays.get(base_uuid(play_uuid))

    def percent(self, done: float, position: int, inner: float, *, skipped: bool = False) -> int:
        """Say how far a node is.

        Args:
            done: Weight of what lies behind it.
            position: Where it is.
            inner: Part of that position that is done, 0 to 1.
            skipped: The position costs this node nothing.

        Returns:
            0 to 99: that a node is done is only known when the run is settled.
        """
        weight = 0.0 if skipped else self.weights[position]
        whole = done + weight + self.ahead[position + 1]
        # a hair is added, lest 3 of 3 parts become 98 by rounding
        return min(99, int(99 * (done + weight * inner) / whole + 1e-9)) if whole > 0 else 0

    def _add_play(self, line: Mapping[str, Any]) -> None:
        uuid = base_uuid(line["puuid"])
        play = Play(
            uuid=uuid,
            name=line.get("play") or "",
            hosts=frozenset(line.get("hosts") or ()),
            lockstep=line.get("strategy", "").rpartition(".")[2] == "linear",
            first=len(self.entries),
        )
        self.plays[uuid] = play
        for task in line["tasks"]:
            entry = Entry(
                index=len(self.entries),
                key=f"{play.name}|{task.get('role') or ''}|{task['name']}",
                name=f"{task['role']} : {task['name']}" if task.get("role") else task["name"],
                rescue=task.get("sec") == "rescue",
                always=task.get("sec") == "always",
                meta=task.get("meta") or "",
                once=bool(task.get("once")),
            )
            self.entries.append(entry)
            play.entries.append(entry)
            self.positions.setdefault(task["uuid"], entry.index)

    def _weigh(self) -> None:
        self.weights = [self._weight(entry) for entry in self.entries]
        if not any(self.weights):
            self.weights = [1.0] * len(self.entries)
        expected = [weight * self._share(entry) for weight, entry in zip(self.weights, self.entries, strict=True)]
        self.ahead = [0.0] * (len(expected) + 1)
        for index in range(len(expected) - 1, -1, -1):
            self.ahead[index] = self.ahead[index + 1] + expected[index]

    def _weight(self, entry: Entry) -> float:
        if entry.rescue or entry.meta:
            return 0.0
        if not self.learned:
            return 1.0
        known = self.learned.get(entry.key)
        return known.seconds if known else _NEW_TASK_SECONDS

    def _share(self, entry: Entry) -> float:
        known = self.learned.get(entry.key)
        return known.share if known else 1.0


class Dwell:
    """Measures how long nodes stay at each position, to weigh it by in later runs."""

    _ENOUGH = 200
    """Samples kept per position; more would cost memory on large runs and change no median."""

    def __init__(self) -> None:
        self._samples: dict[int, list[float]] = {}
        self._stayed: dict[int, int] = {}
        self._passed: dict[int, int] = {}

    def add(self, position: int, seconds: float, until: int, *, skipped: bool = False) -> None:
        """Note that a node stayed at a position and then went on to `until`.

        Args:
            position: Where it was.
            seconds: How long.
            until: Where it is now; what lies between did not concern it.
            skipped: The node had nothing to do at the position and did not wait there.
        """
        for index in range(position, max(until, position + 1)):
            self._passed[index] = self._passed.get(index, 0) + 1
        if skipped:
            return
        self._stayed[position] = self._stayed.get(position, 0) + 1
        samples = self._samples.setdefault(position, [])
        if len(samples) < self._ENOUGH:
            samples.append(max(0.0, seconds))

    def timings(self, entries: Iterable[Entry]) -> dict[str, Timing]:
        """Return what the run teaches, by task key; positions that no node came by are left out."""
        by_key: dict[str, list[Timing]] = {}
        for entry in entries:
            passed = self._passed.get(entry.index)
            if passed:
                seconds = median(self._samples.get(entry.index, [0.0]))
                by_key.setdefault(entry.key, []).append(Timing(seconds, self._stayed.get(entry.index, 0) / passed))
        return {
            key: Timing(median(t.seconds for t in found), median(t.share for t in found))
            for key, found in by_key.items()
        }
