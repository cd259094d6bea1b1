"""Runs the playbook check_apphub, which says what is wrong with the AppHubs of an inventory."""

from __future__ import annotations

from typing import Any

from slurmscale import settings
from slurmscale.runner import project
from slurmscale.runner.ansible import AnsibleJob
from slurmscale.runner.protocol import Launch
from slurmscale.runs.wait_for_report import report_of

_LIMIT = 900.0
"""Seconds: every published file is downloaded, but a check that takes longer has no end."""


def check(config: settings.Settings, inventory: str) -> list[dict[str, Any]]:
    """Check the AppHubs; nothing is changed.

    Args:
        config: Settings.
        inventory: Path of an Ansible inventory.

    Returns:
        What was found, each with where, check, subject, ok, found and remedy.

    Raises:
        RefusedError: They could not be checked; the text says why.
    """
    content = project.find(config.project_dir)
    password = config.vault_password
    job = AnsibleJob(
        Launch(
            playbook=content.playbook("check_apphub.yml"),
            environment=content.environment() | settings.blanked_environment(),
            inventory=(inventory,),
            vault_password=password.get_secret_value() if password else None,
            timeout=_LIMIT,
            report=True,
        )
    )
    findings: list[dict[str, Any]] = report_of(job)["findings"]
    return findings
