"""What a run needs of whatever runs its playbook: `ansible` does, `fake` replays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurmscale.models import Failure


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to be run.

    Attributes:
        playbook: The playbook.
        environment: Environment for Ansible, without secrets.
        inventory: Paths of inventories.
        added: Dynamic inventory that is handed over through memory.
        extra_vars: Extra variables, without secrets.
        forks: Hosts worked on at the same time.
        check: Ansible's check mode.
        timeout: Seconds after which the run is stopped.
        verbosity: Number of v's.
        diff: Ansible prints what changes in files.
        vault_password: Handed over through memory.
        vault_password_file: File or program that gives the vault's password.
        report: The playbook writes a report on the nodes into a file, to be named by the variable `report`.
    """

    playbook: Path
    environment: dict[str, str]
    inventory: tuple[str, ...] = ()
    added: dict[str, Any] = field(default_factory=dict, repr=False)
    extra_vars: dict[str, Any] = field(default_factory=dict)
    forks: int = 50
    check: bool = False
    timeout: float | None = None
    verbosity: int = 0
    diff: bool = False
    vault_password: str | None = field(default=None, repr=False)
    vault_password_file: str | None = None
    report: bool = False


class Job(Protocol):
    """A running playbook; `fake` has another one."""

    pid: int | None
    stopped: Failure | None
    """Why it was stopped from here; None when it was not."""
    error: Failure | None
    """Why ansible-playbook could not be run to its end."""

    @property
    def run_dir(self) -> Path | None:
        """The private directory, if there is one."""

    def start(self) -> None:
        """Begin."""

    def stream(self, tick: float) -> Iterator[dict[str, Any] | None]:
        """Yield the events as they come, and None whenever `tick` seconds passed; ends with the playbook."""

    def plan_lines(self, wait: float = 0.0) -> list[dict[str, Any]]:
        """Return the plan's lines that are new; wait for the first of them for some seconds at most."""

    def report(self) -> dict[str, Any]:
        """Return the report that the playbook wrote; empty when it wrote none."""

    def stop(self, reason: Failure, *, force: bool = False) -> None:
        """End the work, here and on the nodes."""

    def close(self) -> None:
        """Clean up."""
