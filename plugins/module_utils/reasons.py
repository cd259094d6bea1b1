# Apache License 2.0 (see LICENSE)
"""Reasons that users read: every finding, refusal and failure is a code, a reason and a remedy.

A code is a contract: programs decide by it, and docs/reference/reasons.md lists them all. The reason and the remedy are
sentences for people; nothing reads them back. Standard library only, as modules bring this to managed hosts.
"""

from __future__ import annotations

import enum
from typing import Any, Dict, NamedTuple


class Code(str, enum.Enum):
    """Every code, with what it means in general."""

    def __new__(cls, value: str, meaning: str) -> "Code":  # noqa: PYI034 - Python 3.8 has no Self
        """Make a member that is its own text and knows its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    meaning: str

    # Any task.
    TASK_FAILED = "task-failed", "A task of Ansible failed for a reason that has no code of its own."
    HOST_UNREACHABLE = "host-unreachable", "Ansible cannot log in to the host, or lost the connection to it."

    # What was asked for.
    REQUEST_INVALID = "request-invalid", "The call names no nodes, unknown nodes, or an option that does not exist."

    # The command and library slurmscale.
    NODES_IN_USE = "nodes-in-use", "Another run works on some of the nodes."
    CLUSTER_UNUSABLE = "cluster-unusable", "The cluster is not known, or its inventory cannot be used."
    CREDENTIALS_NEEDED = "credentials-needed", "Passwords or keys are never stored and have to be given again."
    NOT_FOUND = "not-found", "There is no such run, task or log."
    PLAYBOOKS_MISSING = "playbooks-missing", "The playbooks of slurmscale are not installed."
    DATABASE_UNAVAILABLE = "database-unavailable", "The database of slurmscale cannot be opened, read or written."
    ANSIBLE_NOT_STARTED = "ansible-not-started", "ansible-playbook is missing, too old, or could not be started."
    INTERNAL_ERROR = "internal-error", "A mistake in slurmscale itself; please report it."


class Failure(NamedTuple):
    """Why something is not as it should be, and what to do.

    Attributes:
        code: For programs.
        reason: What is needed and what was found, as a sentence.
        remedy: What to do, as a sentence; empty when the reason says it.
    """

    code: Code
    reason: str
    remedy: str = ""

    @property
    def message(self) -> str:
        """Reason and remedy as one text."""
        return " ".join(part for part in (self.reason.strip(), self.remedy.strip()) if part)

    def as_dict(self) -> Dict[str, str]:
        """Return the form in which results, facts and reports hold it."""
        return {"code": Code(self.code).value, "reason": self.reason, "remedy": self.remedy}


class FailureError(Exception):
    """Something failed for a reason with a code; every error that modules report derives from it.

    Args:
        code: For programs.
        reason: What is needed and what was found, as a sentence.
        remedy: What to do, as a sentence.
    """

    def __init__(self, code: Code, reason: str, remedy: str = "") -> None:
        self.failure = Failure(code, reason, remedy)
        super().__init__(self.failure.message)


def fail(module: Any, failure: Failure, **result: Any) -> None:
    """End a module with a failure: `msg` for people, `failure` for programs.

    Args:
        module: The AnsibleModule.
        failure: Why.
        **result: What the module returns beside it.
    """
    module.fail_json(msg=failure.message, failure=failure.as_dict(), **result)
