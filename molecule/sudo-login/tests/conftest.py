"""Playbooks run by an ordinary user of the control machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
from testing import INVENTORY, ROOT, ctl1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ctl1"]
# An account that every system has and that may not use sudo. It may read everything, as the checkout and its Python may
# be in root's home.
READS = "=-all,+dac_read_search"
NOBODY = [
    "setpriv",
    "--reuid=nobody",
    "--regid=nogroup",
    "--clear-groups",
    f"--inh-caps{READS}",
    f"--ambient-caps{READS}",
]


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """Yield the home directory of nobody, with a copy of the lab's inventory in it."""
    # Not one of pytest's: ssh's control sockets lie in it, whose paths have at most 108 characters.
    home = Path(tempfile.mkdtemp(prefix="lab-"))
    shutil.copytree(INVENTORY, home / "inventory")
    hosts = home / "inventory" / "hosts.yml"
    hosts.write_text(hosts.read_text().replace(str(INVENTORY), str(home / "inventory")))
    for path in (home, *home.rglob("*")):
        shutil.chown(path, "nobody", "nogroup")
    yield home
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def start_as_nobody(home: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that says how a command is started as nobody in its home directory."""
    environment = {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
        "SLURMSCALE_PROJECT_DIR": str(ROOT),
    }

    def start(*command: str, **variables: str) -> dict[str, Any]:
        return {"args": [*NOBODY, *command], "cwd": home, "env": {**environment, **variables}}

    return start


@pytest.fixture(scope="session")
def as_nobody(start_as_nobody: Callable[..., dict[str, Any]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command as nobody in its home directory."""

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            **start_as_nobody(*command, **variables),
            timeout=400,
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return run
