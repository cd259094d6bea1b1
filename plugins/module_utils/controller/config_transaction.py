# Apache License 2.0 (see LICENSE)
"""Changes configuration files, applies and proves them as one step that is undone when it fails or is stopped."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.slurmctld_control import (
    Controller,
    Expected,
    ProofError,
    Seen,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import SlurmCommandError

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_files import Changes, FileSet
    from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import ApplyMethod

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
#: A slurmctld that a killed run was just restarting gets this long to answer before it is touched.
_STARTING = 10.0


class InterruptedBySignal(BaseException):
    """The module was told to stop. Like KeyboardInterrupt no error of the program."""


class ApplyError(Exception):
    """The new configuration didn't work.

    Attributes:
        restored: Whether the old one is in place and slurmctld answers with it.
    """

    def __init__(self, message: str, *, restored: bool) -> None:
        """Keep both."""
        super().__init__(message)
        self.restored = restored


def change(
    controller: Controller,
    files: FileSet,
    changes: Changes,
    application: ApplyMethod,
    goal: Tuple[Seen, Expected],
) -> str:
    """Replace files, apply and prove; put the old ones back when that fails. Returns the backup's directory.

    Args:
        controller: Whose files they are.
        files: Where they lie.
        changes: The files with their texts before and after.
        application: How slurmctld takes them.
        goal: The cluster as it was, and what must hold afterwards.

    Raises:
        ApplyError: It failed; the message says whether slurmctld answers with the old configuration.
        InterruptedBySignal: The module was stopped; the old configuration is back and works.
    """
    before, expected = goal
    backup = files.back_up(changes)
    with _on_signals(_stop):
        try:
            files.mark(backup, _note(before, expected))
            files.replace(changes)
            controller.apply(application, before, expected)
            files.unmark()
        except BaseException as problem:
            with _on_signals(signal.SIG_IGN):
                outcome = undo(controller, files, backup, before)
            if isinstance(problem, InterruptedBySignal) and outcome.restored:
                raise
            raise ApplyError("{0}\n{1}".format(problem, outcome), restored=outcome.restored) from problem
    return backup


def undo(controller: Controller, files: FileSet, backup: str, before: Seen) -> ApplyError:
    """Put a backup back, make slurmctld work with it, and tell how that went."""
    try:
        files.restore(backup)
    except (OSError, ValueError) as problem:
        return ApplyError(
            "The configuration of before can't be put back from {0}: {1}. Put it back by hand, see that {2} works, "
            "then delete {3}.".format(backup, problem, controller.service, files.marker),
            restored=False,
        )
    try:
        controller.bring_back(before)
    except (ProofError, SlurmCommandError, OSError) as problem:
        return ApplyError(
            "The configuration of before was put back from {0}, but slurmctld does not work with it either: {1}\n"
            "Start it by hand: journalctl -u {2}; systemctl restart {2}".format(backup, problem, controller.service),
            restored=False,
        )
    files.unmark()
    return ApplyError(
        "The configuration of before is back and slurmctld answers with it. Mend what it complained about, then run "
        "again.",
        restored=True,
    )


def mend(controller: Controller, files: FileSet) -> str:
    """Deal with what a killed run left: keep a configuration that works, undo one that doesn't.

    Returns:
        What was found and done; empty when no run was killed.

    Raises:
        ApplyError: slurmctld works with neither configuration.
    """
    note = files.marked()
    if note is None:
        return ""
    expected = Expected(set(note["added"]), set(note["removed"]))
    now = _wait(controller)
    wanted = (set(note["nodes"]) - expected.removed) | expected.added
    if now and not now.edited and wanted <= set(now.nodes) and not expected.removed & set(now.nodes):
        files.unmark()
        return "an earlier run was killed before its proof; slurmctld works with its configuration, which stays"
    # No state is known from then, so the nodes only have to be known again.
    nodes: Dict[str, Dict[str, Any]] = {name: {"state": ["UNKNOWN"], "reason": ""} for name in note["nodes"]}
    controllers = [{"host": host, "mode": "", "up": True} for host in note["up"]]
    before = Seen(controllers, nodes, {}, {"main_pid": note["main_pid"], "load": note["load"]})
    with _on_signals(signal.SIG_IGN):
        outcome = undo(controller, files, note["backup"], before)
    if not outcome.restored:
        raise outcome
    return "an earlier run was killed before its proof; its configuration was not in use, so that of before is back"


def _note(before: Seen, expected: Expected) -> Dict[str, Any]:
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "nodes": sorted(before.nodes),
        "added": sorted(expected.added),
        "removed": sorted(expected.removed),
        "up": sorted(before.up),
        "main_pid": before.daemon["main_pid"],
        "load": before.daemon["load"],
    }


def _wait(controller: Controller) -> "Seen | None":
    deadline = time.monotonic() + _STARTING
    while True:
        try:
            return controller.see()
        except ProofError:
            if time.monotonic() > deadline or controller.is_gone():
                return None
            time.sleep(0.5)


def _stop(number: int, _frame: Any) -> None:
    raise InterruptedBySignal("stopped by {0}".format(signal.Signals(number).name))


@contextlib.contextmanager
def _on_signals(handler: Any) -> Iterator[None]:
    """Handle the signals that end a module in another way for a while."""
    kept = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
