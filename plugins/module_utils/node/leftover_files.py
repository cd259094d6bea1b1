# Apache License 2.0 (see LICENSE)
"""Removes what modules of Ansible leave when they are killed: directories with their code and temporary files.

Of these, a file that dnf makes at the beginning of a transaction tells that rpm was killed as well.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from typing import Callable, List, Optional, Pattern

from ansible_collections.ai_infra.slurm.plugins.module_utils.node.leftover_rpm_files import remove_rpm_remains
from ansible_collections.ai_infra.slurm.plugins.module_utils.node.processes import list_processes

_KINDS = re.compile(r"ansible_[\w.]+_payload_\w{8}|ansible-moduletmp-[\d.]+-\w{8}")
#: What Python's tempfile makes; in a directory where nothing but modules do.
_DNF = re.compile(r"tmp[a-z0-9_]{8}")
_PYTHON = re.compile(r"(platform-)?python[\d.]*")


def temporary_directory() -> str:
    """Return the directory for temporary files that belongs to Ansible; it is made when it is missing."""
    path = os.path.expanduser("~/.ansible/tmp")
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError:
        return ""
    return path


def remove_remains(place: Optional[str] = None, own: Optional[str] = None, root: str = "/") -> List[str]:
    """Remove what modules left that were run by the same user and are gone.

    Such a directory belongs to a process from before it is made. It is not told which; so nothing is removed as long
    as any other module runs on this machine.

    Args:
        place: The directory for temporary files, by default this user's.
        own: The one that belongs to Ansible, likewise.
        root: Where the file system begins.

    Returns:
        What was removed.
    """
    own = own or os.path.expanduser("~/.ansible/tmp")
    # Listed before the processes: a module that begins meanwhile is in neither list.
    directories = [path for one in (place or tempfile.gettempdir(), own) for path in _own(one, _KINDS, stat.S_ISDIR)]
    of_dnf = _own(own, _DNF, stat.S_ISREG)
    if not (directories or of_dnf) or _others_at_work(root):
        return []
    removed = []
    for path in of_dnf:
        # It stays as long as what it tells of can't be removed.
        of_rpm = remove_rpm_remains(os.lstat(path).st_mtime, root)
        if of_rpm is not None:
            os.unlink(path)
            removed += [*of_rpm, path]
    for path in directories:
        shutil.rmtree(path, ignore_errors=True)
    return removed + [path for path in directories if not os.path.lexists(path)]


def _own(place: str, kind: Pattern[str], is_type: Callable[[int], bool]) -> List[str]:
    try:
        names = os.listdir(place)
    except OSError:
        return []
    paths = (os.path.join(os.path.realpath(place), name) for name in sorted(names) if kind.fullmatch(name))
    return [path for path in paths if _is_own(path, is_type) and not __file__.startswith(path + os.sep)]


def _is_own(path: str, is_type: Callable[[int], bool]) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return is_type(found.st_mode) and found.st_uid == os.geteuid()


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
