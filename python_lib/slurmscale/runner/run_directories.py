"""Makes and removes the private directories of runs, and finds those whose maker was killed.

A maker holds a lock on its directory, which ends with the process whatever ends it: no record has to be made first, no
process has to be identified, and it holds for containers that share the directory for temporary files. Where a
directory takes no lock, as on NFS, nothing is taken for abandoned.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PREFIX = "slurmscale-run-"
_NAME = re.compile(re.escape(_PREFIX) + r"\w{8}")
_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made in it is private
_SHORT = Path("/tmp")  # noqa: S108 - mkdtemp makes it private
_LONGEST_PARENT = 22
"""ssh listens at first at PARENT/NAME/cp/ with 40 digits and 17 more characters, of which a socket takes 107."""
_locks: dict[Path, int] = {}


def make() -> Path:
    """Make a private directory and hold it; its path must be short, for ssh's sockets lie in it."""
    usual = Path(tempfile.gettempdir())
    parent = usual if len(str(usual)) <= _LONGEST_PARENT else _SHORT
    while True:
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        if _hold(made):
            return made


def _hold(made: Path) -> bool:
    """Say whether it is held; before it was, another process may have removed it as abandoned."""
    try:
        descriptor = os.open(made, os.O_RDONLY)
    except FileNotFoundError:
        return False
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if not made.exists():
        os.close(descriptor)
        return False
    _locks[made] = descriptor
    return True


def artifacts(run_dir: Path) -> Path:
    """Return where a run's events pass through, for milliseconds each: in memory where the system offers that.

    A careless task may print a password; masked it is kept, but unmasked it must not touch a disk.
    """
    return _MEMORY / run_dir.name if os.access(_MEMORY, os.W_OK) else run_dir / "artifacts"


def make_artifacts(run_dir: Path) -> Path:
    """Make that directory and hold it as well: it stays when somebody else removes the run's."""
    made = artifacts(run_dir)
    while True:
        made.mkdir(mode=0o700)
        if _hold(made):
            return made


def remove(run_dir: Path) -> None:
    """Remove a run's private directory; nothing else is ever removed."""
    if _NAME.fullmatch(run_dir.name) and _is_private(run_dir):
        shutil.rmtree(artifacts(run_dir), ignore_errors=True)
        shutil.rmtree(run_dir, ignore_errors=True)
    for path in (run_dir, artifacts(run_dir)):
        if (descriptor := _locks.pop(path, None)) is not None:
            os.close(descriptor)


def remove_abandoned(end: Callable[[Path], None]) -> None:
    """Remove this user's directories that no process holds any more.

    Args:
        end: Ends what still works in such a directory.
    """
    for parent in dict.fromkeys((Path(tempfile.gettempdir()), _SHORT, _MEMORY)):
        for path in parent.glob(f"{_PREFIX}*"):
            if _NAME.fullmatch(path.name) and _is_private(path):
                with contextlib.suppress(OSError), _locked(path):
                    end(path)
                    remove(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a directory; raises OSError when somebody else does."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _is_private(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
