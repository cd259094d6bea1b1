"""Knows where the playbooks lie: in a checkout, or in the installed package."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from slurmscale.errors import ProjectError

_COLLECTION = Path("ansible_collections/ai_infra/slurm")
_CALLBACKS = ("ai_infra.slurm.slurm_plan", "ai_infra.slurm.slurm_workers")

_ANSIBLE_SETTINGS = {
    "ANSIBLE_GATHERING": "explicit",
    "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
    "ANSIBLE_PIPELINING": "true",
    "ANSIBLE_TIMEOUT": "15",
    "ANSIBLE_SSH_ARGS": (
        "-o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
    ),
    "ANSIBLE_SSH_CONTROL_PATH": "%(directory)s/%%C",
    "ANSIBLE_SSH_RETRIES": "1",
}
"""What ansible.cfg of the checkout says, for the installed package, which has none. What the user sets wins."""


@dataclass(frozen=True, slots=True)
class Project:
    """The Ansible content.

    Attributes:
        root: Directory of the collection: playbooks, roles, plugins.
        collections: Directory that holds `ansible_collections`.
        config: The checkout's ansible.cfg; None when installed.
    """

    root: Path
    collections: Path
    config: Path | None = None

    def playbook(self, name: str) -> Path:
        """Return a playbook by its file name.

        Raises:
            ProjectError: It is not there.
        """
        path = self.root / "playbooks" / name
        if not path.is_file():
            raise ProjectError(
                f"The playbook {path} is missing. Install slurmscale anew, or set SLURMSCALE_PROJECT_DIR."
            )
        return path

    def environment(self) -> dict[str, str]:
        """Return what Ansible needs in its environment, from a checkout as well as installed."""
        own = os.environ
        settings = {name: own.get(name, value) for name, value in _ANSIBLE_SETTINGS.items()}
        if self.config is not None:
            # the file says the same, and what the user changed in it counts
            settings = {"ANSIBLE_CONFIG": own.get("ANSIBLE_CONFIG", str(self.config))}
        home = os.path.expanduser("~/.ansible/collections")  # noqa: PTH111 - a text among others, not a path to use
        wider = own.get("ANSIBLE_COLLECTIONS_PATH", f"{home}:/usr/share/ansible/collections")
        enabled = [name for name in own.get("ANSIBLE_CALLBACKS_ENABLED", "").split(",") if name]
        return settings | {
            "ANSIBLE_ROLES_PATH": os.pathsep.join(
                filter(None, (str(self.root / "roles"), own.get("ANSIBLE_ROLES_PATH")))
            ),
            "ANSIBLE_COLLECTIONS_PATH": f"{self.collections}{os.pathsep}{wider}",
            "ANSIBLE_CALLBACKS_ENABLED": ",".join(dict.fromkeys([*enabled, *_CALLBACKS])),
            # an interpreter outside of an activated virtual environment still finds its own ansible-playbook
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), own.get("PATH", os.defpath))),
        }


def find(chosen: Path | None = None) -> Project:
    """Find the Ansible content.

    Args:
        chosen: A checkout to use instead of what belongs to this package.

    Raises:
        ProjectError: There is none.
    """
    if chosen is not None:
        return _checkout(chosen.expanduser().absolute())
    package = Path(__file__).resolve().parents[1]
    content = package / "_content"
    if (content / _COLLECTION / "playbooks").is_dir():
        return Project(content / _COLLECTION, content)
    return _checkout(package.parents[1])


def _checkout(root: Path) -> Project:
    if not (root / "playbooks").is_dir() or not (root / "galaxy.yml").is_file():
        raise ProjectError(
            f"There are no playbooks in {root}. Install slurmscale with `pip install .`, or set SLURMSCALE_PROJECT_DIR"
            " to a checkout."
        )
    config = root / "ansible.cfg"
    return Project(root, root / ".collections", config if config.is_file() else None)
