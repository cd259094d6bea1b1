"""Measures how long nodes stay at each task of the plan; later runs weigh their tasks by it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from slurmscale.models import Timing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurmscale.progress.task_plan import PlannedTask


class TaskDurations:
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

    def timings(self, entries: Iterable[PlannedTask]) -> dict[str, Timing]:
        """Return what the run teaches, by task key; positions that no node came by are left out."""
        by_key: dict[str, list[Timing]] = {}
        for task in entries:
            passed = self._passed.get(task.index)
            if passed:
                seconds = median(self._samples.get(task.index, [0.0]))
                by_key.setdefault(task.key, []).append(Timing(seconds, self._stayed.get(task.index, 0) / passed))
        return {
            key: Timing(median(t.seconds for t in found), median(t.share for t in found))
            for key, found in by_key.items()
        }
