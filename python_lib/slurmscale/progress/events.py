"""Reads ansible-runner's events. Pure: dictionaries in, small records out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from slurmscale.clean_text import clean
from slurmscale.errors import Code
from slurmscale.models import Failure

_LONGEST_TEXT = 16_000


class Kind(Enum):
    """What an event means for progress."""

    PLAYBOOK_START = auto()
    PLAY_START = auto()
    TASK_START = auto()
    HOST_START = auto()
    RESULT = auto()
    HEARTBEAT = auto()
    STATS = auto()
    OUTPUT = auto()


class Outcome(Enum):
    """How a task ended on a host."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNREACHABLE = "unreachable"


_KINDS = {
    "playbook_on_start": Kind.PLAYBOOK_START,
    "playbook_on_play_start": Kind.PLAY_START,
    "playbook_on_task_start": Kind.TASK_START,
    "playbook_on_handler_task_start": Kind.TASK_START,
    "runner_on_start": Kind.HOST_START,
    "runner_on_ok": Kind.RESULT,
    "runner_on_failed": Kind.RESULT,
    "runner_on_skipped": Kind.RESULT,
    "runner_on_unreachable": Kind.RESULT,
    "playbook_on_stats": Kind.STATS,
    "verbose": Kind.OUTPUT,
    "error": Kind.OUTPUT,
    "warning": Kind.OUTPUT,
    "deprecated": Kind.OUTPUT,
}
_OUTCOMES = {
    "runner_on_ok": Outcome.OK,
    "runner_on_failed": Outcome.FAILED,
    "runner_on_skipped": Outcome.SKIPPED,
    "runner_on_unreachable": Outcome.UNREACHABLE,
}
_OK_EVENTS = frozenset({"runner_on_ok", "runner_item_on_ok"})
OWN_ACTIONS = "ai_infra.slurm."
"""What the names of the collection's actions begin with."""
_KEYS_NOT_SHOWN = frozenset({"changed", "failed", "warnings", "deprecations", "invocation", "item", "ansible_loop_var"})


@dataclass(slots=True)
class Event:
    """One event, reduced to what progress and logs need."""

    kind: Kind
    name: str
    counter: int
    time: float
    host: str | None
    task_uuid: str
    task: str
    role: str
    play: str
    play_uuid: str
    action: str
    outcome: Outcome | None
    ignored: bool
    changed: bool
    res: dict[str, Any]
    data: dict[str, Any]
    text: str

    @property
    def full_name(self) -> str:
        """The task with its role, as Ansible prints it."""
        return clean(f"{self.role} : {self.task}" if self.role else self.task)


def parse(raw: dict[str, Any], now: float = 0.0) -> Event:
    """Read one event of ansible-runner.

    Args:
        raw: The event as ansible-runner gives it.
        now: Time to assume when the event carries none.

    Returns:
        The event; unknown kinds become heartbeats.
    """
    data = raw.get("event_data") or {}
    name = raw.get("event", "")
    created = raw.get("created")
    get = data.get
    res = get("res")
    res = res if isinstance(res, dict) else None
    return Event(
        kind=_KINDS.get(name, Kind.HEARTBEAT),
        name=name,
        counter=raw.get("counter", 0),
        time=_time(created) if isinstance(created, str) else (created or now),
        host=get("host"),
        task_uuid=get("task_uuid") or "",
        task=clean(get("task") or ""),
        role=get("role") or "",
        play=get("play") or "",
        play_uuid=get("play_uuid") or "",
        action=get("resolved_action") or get("task_action") or "",
        outcome=_OUTCOMES.get(name),
        ignored=bool(get("ignore_errors")),
        changed=bool(res and res.get("changed")),
        res=res or {},
        data=data,
        text=raw.get("stdout") or (_result_text(get("host"), res) if name in _OK_EVENTS and res is not None else ""),
    )


def _result_text(host: str | None, res: dict[str, Any]) -> str:
    """Say what Ansible's own text would say of a result that changed nothing; no run lets it make one."""
    if res.get("changed"):
        return ""
    said = f"ok: [{host}]"
    if "_ansible_item_label" in res:
        said += f" => (item={res['_ansible_item_label']})"
    if res.get("_ansible_verbose_always"):
        shown = {key: value for key, value in res.items() if not key.startswith("_") and key not in _KEYS_NOT_SHOWN}
        table = len(shown) == 1 and isinstance(shown.get("msg"), str) and "\n" in shown["msg"]
        said += f" =>\n{shown['msg']}" if table else f" => {json.dumps(shown, default=str)}"
    return "\n".join([*(f"[WARNING]: {warning}" for warning in res.get("warnings") or ()), said])


def _time(created: str) -> float:
    stamp = datetime.fromisoformat(created)
    # ansible-runner writes UTC; versions before 2.4 left the zone out
    return stamp.timestamp() if stamp.tzinfo else datetime.fromisoformat(created + "+00:00").timestamp()


def readable(text: str) -> str:
    """Return a text of a node without escape sequences, control characters and empty lines at its ends."""
    return clean(text).strip("\n")


def shortened(text: str) -> str:
    """Cut what is too long to be read; secrets must have been masked, for a half one would not be found."""
    if len(text) > _LONGEST_TEXT:
        return f"{text[:_LONGEST_TEXT]}\n... {len(text) - _LONGEST_TEXT} more characters"
    return text


def warnings_of(event: Event) -> list[str]:
    """Return what a module of the collection warned of; of others, Ansible warns of much that concerns nobody here."""
    if event.kind is not Kind.RESULT or not event.action.startswith(OWN_ACTIONS):
        return []
    return [readable(str(warning)) for warning in event.res.get("warnings") or ()]


def failure_of(event: Event) -> Failure:
    """Return why the task of an event failed.

    A task of the collection says it as data, `res.failure`; of others the first of the places is taken where modules
    put their reason.
    """
    reported = failure_as_data(event)
    if reported is not None:
        return reported
    text = failure_text(event.res)
    if event.outcome is Outcome.UNREACHABLE:
        return Failure(Code.HOST_UNREACHABLE, text, "Check that it is up, its address, user and key, then run again.")
    return Failure(Code.TASK_FAILED, text, f"It was the task '{event.full_name}'; the log shows its whole output.")


def failure_as_data(event: Event) -> Failure | None:
    """Return the failure that a task of the collection reported, of a loop the first one; None when there is none."""
    results = [item for item in event.res.get("results") or () if isinstance(item, dict) and item.get("failed")]
    found = (reported_failure(res.get("failure")) for res in (event.res, *results))
    return next(filter(None, found), None)


def reported_failure(found: Any) -> Failure | None:
    """Read a failure that Ansible content reported; None when there is none."""
    if not isinstance(found, dict) or not found.get("reason"):
        return None
    reason, remedy = (readable(str(found.get(name) or "")) for name in ("reason", "remedy"))
    return Failure(str(found.get("code") or Code.TASK_FAILED), reason, remedy)


def failure_text(res: dict[str, Any]) -> str:
    """Say why a task failed: the first of the places where modules put their reason.

    Args:
        res: The result of the failed task.

    Returns:
        The reason; never empty.
    """
    for item in res.get("results") or ():
        if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
            return failure_text(item)
    message = res.get("msg") or res.get("reason") or res.get("exception") or ""
    if isinstance(message, list):
        message = "\n".join(str(line) for line in message)
    message = str(message).strip()
    details = str(res.get("stderr") or res.get("module_stderr") or res.get("stdout") or "").strip()
    if details and (not message or message in ("non-zero return code", "MODULE FAILURE")):
        message = f"{message}: {details}" if message else details
    return readable(message) or "failed without a message"
