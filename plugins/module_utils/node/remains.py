# Apache License 2.0 (see LICENSE)
"""Removes what modules of Ansible leave when they are killed: directories with their code and temporary files."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from typing import List, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.processes import list_processes

_KINDS = re.compile(r"ansible_[\w.]+_payload_\w{8}|ansible-moduletmp-[\d.]+-\w{8}")
_PYTHON = re.compile(r"(platform-)?python[\d.]*")


def remove_remains(directories: Optional[List[str]] = None, root: str = "/") -> List[str]:
    """Remove what modules left that were run by the same user and are gone.

    Such a directory belongs to a process from before it is made. It is not told which; so nothing is removed as long
    as any other module is at work on this machine.

    Args:
        directories: Where modules make them; by default where this user's do.
        root: Where the file system with the processes begins.

    Returns:
        What was removed.
    """
    places = directories or [tempfile.gettempdir(), os.path.expanduser("~/.ansible/tmp")]
    # Listed before the processes: a module that begins meanwhile is in neither list.
    found = [path for place in places for path in _remains(place)]
    if not found or _others_at_work(root):
        return []
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return [path for path in found if not os.path.lexists(path)]


def _remains(place: str) -> List[str]:
    try:
        names = os.listdir(place)
    except OSError:
        return []
    paths = (os.path.join(os.path.realpath(place), name) for name in sorted(names) if _KINDS.fullmatch(name))
    return [path for path in paths if _is_own_directory(path) and not __file__.startswith(path + os.sep)]


def _is_own_directory(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _others_at_work(root: str) -> bool:
    """Say whether another module runs: Python that reads its program from its input, or from a file of Ansible's."""
    return any(
        process.pid != os.getpid()
        and (
            (len(process.argv) == 1 and _PYTHON.fullmatch(os.path.basename(process.argv[0])))
            or any("AnsiballZ_" in argument for argument in process.argv)
        )
        for process in list_processes(root)
    )
