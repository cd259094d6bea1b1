"""The command doctor: is everything here that a run needs?"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import typer

from slurmscale import settings
from slurmscale.cli import output
from slurmscale.cli import shared_options as options
from slurmscale.errors import RefusedError, SlurmscaleError
from slurmscale.inventory import ansible_inventory as inventories
from slurmscale.operations import Operation
from slurmscale.runner import project
from slurmscale.runs import apphub_check as apphub
from slurmscale.store.repository import Store

if TYPE_CHECKING:
    from collections.abc import Callable


_OLDEST_CORE = "2.19.4"
_OK, _WARNING, _FAILED = "ok", "warning", "failed"


def doctor(
    inventory: options.InventoryOption = None,
    json: options.JsonOption = False,
) -> None:
    """Check this machine: Ansible, playbooks, database, ssh; and inventory and AppHub when an inventory is named.

    Of the AppHub, every published file is downloaded and compared, as by playbooks/check_apphub.yml.
    """
    config = settings.load()
    checks: list[tuple[str, Callable[[], str]]] = [
        ("playbooks", lambda: _playbooks(config)),
        ("ansible", lambda: _ansible(config)),
        ("database", lambda: _database(config)),
        ("ssh", _ssh),
        ("sshpass", _sshpass),
    ]
    chosen = inventory or config.inventory
    if chosen:
        checks.append(("inventory", lambda: _inventory(config, chosen)))
    results = []
    for name, check in checks:
        results.append({"check": name, **_run(check)})
        if not json:
            _show(results[-1])
    # what runs the playbook must be well itself
    if chosen and all(one["state"] != _FAILED for one in results):
        for one in _apphub(config, chosen):
            results.append(one)
            if not json:
                _show(one)
    if json:
        output.echo_json(results)
    raise typer.Exit(int(any(one["state"] == _FAILED for one in results)))


def _show(result: dict[str, str]) -> None:
    state = result["state"]
    colour = {_OK: "green", _WARNING: "yellow", _FAILED: "red"}[state]
    text = " ".join(filter(None, (result["reason"], result["remedy"])))
    typer.echo(f"{typer.style(f'{state:8}', fg=colour)} {result['check']}: {text}")


def _apphub(config: settings.Settings, chosen: str) -> list[dict[str, str]]:
    """Return what is wrong with each AppHub, or one line for each that is well."""
    try:
        findings = apphub.check(config, chosen)
    except SlurmscaleError as exc:
        return [{"check": "apphub", "state": _FAILED, **exc.as_dict()}]
    results = []
    for where in dict.fromkeys(one["where"] for one in findings):
        own = [one for one in findings if one["where"] == where]
        results += [
            {
                "check": f"apphub {where}",
                "state": _FAILED,
                "code": one["code"],
                "reason": f"{one['check']} {one['subject']}: {one['reason']}",
                "remedy": one["remedy"],
            }
            for one in own
            if not one["ok"]
        ] or [{"check": f"apphub {where}", **_result(_OK, f"{len(own)} checks, nothing is wrong")}]
    return results


class _Remark(Exception):  # noqa: N818 - not an error: something is missing that only some runs need
    pass


def _result(state: str, reason: str) -> dict[str, str]:
    return {"state": state, "code": "", "reason": reason, "remedy": ""}


def _run(check: Callable[[], str]) -> dict[str, str]:
    try:
        return _result(_OK, check())
    except _Remark as exc:
        return _result(_WARNING, str(exc))
    except SlurmscaleError as exc:
        return {"state": _FAILED, **exc.as_dict()}


def _playbooks(config: settings.Settings) -> str:
    content = project.find(config.project_dir)
    for operation in Operation:
        content.playbook(operation.playbook)
    return str(content.root)


def _environment(config: settings.Settings) -> dict[str, str]:
    return os.environ | project.find(config.project_dir).environment() | settings.blanked_environment()


def _ansible(config: settings.Settings) -> str:
    environment = _environment(config)
    path = shutil.which("ansible-playbook", path=environment["PATH"])
    if path is None:
        raise RefusedError(
            "ansible-playbook is not there.",
            f"Install ansible-core {_OLDEST_CORE} to 2.21 beside slurmscale.",
            code="ansible-not-started",
        )
    done = subprocess.run([path, "--version"], env=environment, capture_output=True, text=True, check=False, timeout=60)
    first = done.stdout.partition("\n")[0]
    version = first.partition("core ")[2].rstrip("]")
    if _numbers(version) < _numbers(_OLDEST_CORE):
        raise RefusedError(
            f"ansible-core {_OLDEST_CORE} or newer is needed, but {path} says {first or done.stderr.strip()}.",
            f"Install ansible-core {_OLDEST_CORE} to 2.21 beside slurmscale.",
            code="ansible-not-started",
        )
    return f"{version} ({path})"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def _database(config: settings.Settings) -> str:
    store = Store(config.url)
    try:
        return store.shown_url
    finally:
        store.close()


def _ssh() -> str:
    path = shutil.which("ssh")
    if path is None:
        raise RefusedError("ssh is not there. Install the OpenSSH client.")
    return path


def _sshpass() -> str:
    path = shutil.which("sshpass")
    if path is None:
        raise _Remark("not there; only logins with a password need it. Install sshpass, or use keys.")
    return path


def _inventory(config: settings.Settings, chosen: str) -> str:
    found = inventories.read([chosen], _environment(config))
    groups = {name: len(found.groups.get(name, [])) for name in ("slurm_controllers", "slurm_nodes", "apphub")}
    if not groups["slurm_controllers"]:
        raise RefusedError(f"{chosen} has no host in the group slurm_controllers. Add the controller to it.")
    return ", ".join(f"{name} {count}" for name, count in groups.items())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=output.epilog(("slurmscale doctor --inventory inventories/lab/hosts.yml",)))(doctor)
