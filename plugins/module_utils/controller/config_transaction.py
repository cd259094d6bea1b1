# Apache License 2.0 (see LICENSE)
"""Changes configuration files, applies and verifies them in one step, which is rolled back when it fails."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.slurmctld_control import (
    ClusterState,
    Controller,
    NodeChange,
    SlurmctldError,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm.commands import SlurmCommandError

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.config_files import Changes, FileSet
    from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.restart_policy import ApplyMethod

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
#: A slurmctld that a killed run was just restarting gets this long to answer before it is touched.
_STARTING = 10.0


class InterruptedBySignal(BaseException):
    """The module was asked to stop. Like KeyboardInterrupt no error of the program."""


class ApplyError(FailureError):
    """The new configuration didn't work.

    Attributes:
        restored: Whether the previous one is in place and slurmctld answers with it.
    """

    def __init__(self, code: Code, reason: str, remedy: str) -> None:
        super().__init__(code, reason, remedy)
        self.restored = code is Code.CONFIGURATION_ROLLED_BACK


def apply_changes(
    controller: Controller,
    files: FileSet,
    changes: Changes,
    method: ApplyMethod,
    goal: Tuple[ClusterState, NodeChange],
) -> str:
    """Replace files, apply and verify them; put the previous ones back when that fails.

    Args:
        controller: Whose files they are.
        files: Where they lie.
        changes: The files with their texts before and after.
        method: How slurmctld takes them.
        goal: The cluster as it was, and which nodes must be known afterwards.

    Returns:
        The backup's directory.

    Raises:
        ApplyError: It failed; the code says whether slurmctld answers with the previous configuration.
        InterruptedBySignal: The module was stopped; the previous configuration is back and works.
    """
    before, change = goal
    backup = files.back_up(changes)
    with _on_signals(_stop):
        try:
            files.begin(backup, _note(before, change))
            files.replace(changes)
            controller.apply(method, before, change)
            files.finish()
        except BaseException as problem:
            with _on_signals(signal.SIG_IGN):
                outcome = roll_back(controller, files, backup, before)
            if isinstance(problem, InterruptedBySignal) and outcome.restored:
                raise
            reason = f"{problem}\n{outcome.failure.reason}"
            raise ApplyError(outcome.failure.code, reason, outcome.failure.remedy) from problem
    return backup


def roll_back(controller: Controller, files: FileSet, backup: str, before: ClusterState) -> ApplyError:
    """Put a backup back, make slurmctld work with it, and tell how that went."""
    try:
        files.restore(backup)
    except (OSError, ValueError) as problem:
        return ApplyError(
            Code.CONFIGURATION_NOT_RESTORED,
            f"The previous configuration can't be put back from {backup}: {problem}.",
            f"Put it back by hand, see that {controller.service} works, then delete {files.marker}.",
        )
    try:
        controller.recover(before)
    except (SlurmctldError, SlurmCommandError, OSError) as problem:
        return ApplyError(
            Code.CONFIGURATION_NOT_RESTORED,
            f"The previous configuration was put back from {backup}, but slurmctld does not work with it either: "
            f"{problem}",
            f"Start it by hand: journalctl -u {controller.service}; systemctl restart {controller.service}",
        )
    files.finish()
    files.discard(backup)
    return ApplyError(
        Code.CONFIGURATION_ROLLED_BACK,
        "The previous configuration is back and slurmctld answers with it.",
        "Correct what slurmctld reported, then run again.",
    )


def recover_interrupted(controller: Controller, files: FileSet) -> str:
    """Recover from a killed run: keep a configuration that works, roll back one that doesn't.

    Returns:
        What was found and done; empty when no run was killed.

    Raises:
        ApplyError: slurmctld works with neither configuration.
    """
    note = files.interrupted()
    if note is None:
        return ""
    change = NodeChange(set(note["added"]), set(note["removed"]))
    now = _wait(controller)
    wanted = (set(note["nodes"]) - change.removed) | change.added
    if now and not now.edited and wanted <= set(now.nodes) and not change.removed & set(now.nodes):
        files.finish()
        return "an earlier run was killed before it ended; slurmctld works with its configuration, which stays"
    # No state is known from then, so the nodes only have to be known again.
    nodes: Dict[str, Dict[str, Any]] = {name: {"state": ["UNKNOWN"], "reason": ""} for name in note["nodes"]}
    controllers = [{"host": host, "mode": "", "up": True} for host in note["up"]]
    before = ClusterState(controllers, nodes, {}, {"main_pid": note["main_pid"], "load": note["load"]})
    with _on_signals(signal.SIG_IGN):
        outcome = roll_back(controller, files, note["backup"], before)
    if not outcome.restored:
        raise outcome
    return "an earlier run was killed before it ended; its configuration was not in use, so the previous one is back"


def _note(before: ClusterState, change: NodeChange) -> Dict[str, Any]:
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "nodes": sorted(before.nodes),
        "added": sorted(change.added),
        "removed": sorted(change.removed),
        "up": sorted(before.up),
        "main_pid": before.daemon["main_pid"],
        "load": before.daemon["load"],
    }


def _wait(controller: Controller) -> "ClusterState | None":
    deadline = time.monotonic() + _STARTING
    while True:
        try:
            return controller.read_state()
        except SlurmctldError:
            if time.monotonic() > deadline or controller.is_gone():
                return None
            time.sleep(0.5)


def _stop(number: int, _frame: Any) -> None:
    raise InterruptedBySignal(f"stopped by {signal.Signals(number).name}")


@contextlib.contextmanager
def _on_signals(handler: Any) -> Iterator[None]:
    """Handle the signals that would end the module, while the block runs."""
    kept = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
