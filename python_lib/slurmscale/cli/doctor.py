"""The command doctor: is everything here that a run needs?"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import typer

from slurmscale import inventory as inventories
from slurmscale import project, settings
from slurmscale.cli import common  # noqa: TC001 - typer reads the annotations
from slurmscale.cli.work import common_epilog
from slurmscale.errors import RefusedError, SlurmscaleError
from slurmscale.states import Operation
from slurmscale.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable


_OLDEST_CORE = (2, 17)
_OK, _WARNING, _FAILED = "ok", "warning", "failed"


def doctor(inventory: common.InventoryOption = None) -> None:
    """Check this machine: Ansible, playbooks, database, ssh, and the inventory when one is named."""
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
    bad = False
    for name, check in checks:
        state, text = _run(check)
        bad |= state == _FAILED
        colour = {_OK: "green", _WARNING: "yellow", _FAILED: "red"}[state]
        typer.echo(f"{typer.style(f'{state:8}', fg=colour)} {name}: {text}")
    raise typer.Exit(int(bad))


class _Remark(Exception):  # noqa: N818 - not an error: something is missing that only some runs need
    pass


def _run(check: Callable[[], str]) -> tuple[str, str]:
    try:
        return _OK, check()
    except _Remark as exc:
        return _WARNING, str(exc)
    except SlurmscaleError as exc:
        return _FAILED, str(exc)


def _playbooks(config: settings.Settings) -> str:
    content = project.find(config.project_dir)
    for operation in Operation:
        content.playbook(operation)
    return str(content.root)


def _environment(config: settings.Settings) -> dict[str, str]:
    return os.environ | project.find(config.project_dir).environment()


def _ansible(config: settings.Settings) -> str:
    environment = _environment(config)
    path = shutil.which("ansible-playbook", path=environment["PATH"])
    if path is None:
        raise RefusedError("ansible-playbook is not there. Install ansible-core 2.17 or newer beside slurmscale.")
    done = subprocess.run([path, "--version"], env=environment, capture_output=True, text=True, check=False, timeout=60)
    first = done.stdout.partition("\n")[0]
    version = first.partition("core ")[2].rstrip("]")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _OLDEST_CORE:
        raise RefusedError(f"ansible-core 2.17 or newer is needed, but {path} says {first or done.stderr.strip()}.")
    return f"{version} ({path})"


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
    app.command(epilog=common_epilog(("slurmscale doctor --inventory inventories/lab/hosts.yml",)))(doctor)
