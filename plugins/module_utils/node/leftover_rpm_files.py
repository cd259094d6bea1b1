# Apache License 2.0 (see LICENSE)
"""Removes what rpm leaves when it is killed: parts of files, and the scriptlets it had written down."""

from __future__ import annotations

import fcntl
import os
import re
from typing import Iterator, List, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands

#: rpm writes FILE as FILE;TIME first, the time at which its transaction was made, in hexadecimal.
_PART = re.compile(r".+;([0-9a-f]{8})")
_SCRIPTLET = re.compile(r"rpm-tmp\.\w{6}")
#: How far from each other the beginning of a transaction and the last sign of life of its dnf are at most.
_LONGEST = 24 * 3600
#: In the directory of rpm's database, which is another one on some systems.
_LOCK = ".rpm.lock"


def remove_rpm_remains(killed: float, root: str = "/") -> Optional[List[str]]:
    """Remove what a transaction left that was killed.

    Args:
        killed: When it still lived, in seconds since the epoch.
        root: Where the file system begins.

    Returns:
        What was removed; None when another transaction is at work, rpm is not there, or something can't be removed.
    """
    database = commands.run(["rpm", "--eval", "%{_dbpath}"], timeout=10).stdout.strip()
    try:
        descriptor = os.open(os.path.join(root, database.lstrip("/"), _LOCK), os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        paths = [*_parts(killed, root), *_scriptlets(killed, root)]
        for path in paths:
            os.unlink(path)
    except OSError:
        return None
    else:
        return paths
    finally:
        os.close(descriptor)


def _parts(killed: float, root: str) -> Iterator[str]:
    for top in (os.path.join(root, "etc"), os.path.join(root, "usr")):
        for directory, _, names in os.walk(top):
            for name in names:
                found = _PART.fullmatch(name)
                if found and abs(killed - int(found.group(1), 16)) <= _LONGEST:
                    yield os.path.join(directory, name)


def _scriptlets(killed: float, root: str) -> Iterator[str]:
    directory = os.path.join(root, "var/tmp")
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        path = os.path.join(directory, name)
        if _SCRIPTLET.fullmatch(name) and abs(killed - os.lstat(path).st_mtime) <= _LONGEST:
            yield path
