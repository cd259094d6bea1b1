"""Asks the playbook check_apphub what is wrong with the AppHubs of an inventory."""

from __future__ import annotations

from typing import Any

from slurmscale import settings
from slurmscale.errors import Code, RefusedError
from slurmscale.models import Failure
from slurmscale.progress import events
from slurmscale.runner import project
from slurmscale.runner.ansible import AnsibleJob
from slurmscale.runner.protocol import Launch

_TICK = 1.0
_LIMIT = 900.0
"""Seconds: every published file is downloaded, but a check that takes longer has no end."""


def check(config: settings.Settings, inventory: str) -> list[dict[str, Any]]:
    """Look at the AppHubs; nothing is changed.

    Args:
        config: Settings.
        inventory: Path of an Ansible inventory.

    Returns:
        What was found, each with where, check, subject, ok, found and remedy.

    Raises:
        RefusedError: It could not be looked; the text says why.
    """
    content = project.find(config.project_dir)
    password = config.vault_password
    job = AnsibleJob(
        Launch(
            playbook=content.named("check_apphub.yml"),
            environment=content.environment() | settings.blanked_environment(),
            inventory=(inventory,),
            vault_password=password.get_secret_value() if password else None,
            timeout=_LIMIT,
            report=True,
        )
    )
    failure: Failure | None = None
    try:
        job.start()
        for raw in job.stream(_TICK):
            event = events.parse(raw) if raw else None
            if event and event.outcome is events.Outcome.FAILED and not event.ignored:
                failure = events.failure_of(event)
        findings: list[dict[str, Any]] | None = job.report().get("findings")
        if findings is None:
            why = failure or job.stopped or job.error or Failure(Code.ANSIBLE_FAILED, "The playbook wrote no report.")
            raise RefusedError(why.reason, why.remedy, code=why.code)
        return findings
    finally:
        job.close()
