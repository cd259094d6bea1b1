# Apache License 2.0 (see LICENSE)
"""Replaces configuration files as one set that can be put back, by this run or, when it was killed, by the next.

Before the first file is replaced a backup is complete and a marker names it. The marker goes when the configuration
has been proven or put back; a run that finds one knows that it has to look first.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import json
import os
import shutil
import tempfile
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

#: Beside slurm.conf, for root only.
BACKUP_DIR = "slurmscale-backup"
KEPT_BACKUPS = 5
CANDIDATE_PREFIX = ".slurmscale-candidate-"
_MANIFEST = "manifest.json"
_MARKER = "unproven.json"

Changes = Dict[str, Tuple[Optional[str], Optional[str]]]


class BusyError(Exception):
    """Another run holds the lock."""


@contextlib.contextmanager
def lock(path: str, timeout: float, purpose: str) -> Iterator[None]:
    """Hold the one lock of all runs on this controller.

    The file stays: removing it would let two runs lock two files of the same name.

    Raises:
        BusyError: Another process kept it longer than `timeout` seconds; the message names it.
        OSError: The lock file can't be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    holder = os.pread(handle, 500, 0).decode("utf-8", "replace").strip() or "an unknown process"
                    raise BusyError(
                        "another slurm_nodes run holds {0} since more than {1:g} s: {2}. Wait for it and run again; "
                        "the lock goes with its process.".format(path, timeout, holder)
                    ) from None
                time.sleep(0.2)
        os.ftruncate(handle, 0)
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        os.pwrite(handle, "process {0}, started {1}, {2}\n".format(os.getpid(), started, purpose).encode(), 0)
        yield
    finally:
        os.close(handle)


def write_atomically(path: str, text: str, like: str) -> None:
    """Replace a file in one step; a reader sees the old or the new text.

    Args:
        path: The file; a link is followed.
        text: What it shall hold.
        like: The file whose owner, mode and security label it gets when it doesn't exist yet.
    """
    target = os.path.realpath(path)
    model = target if os.path.exists(target) else like
    handle, temporary = tempfile.mkstemp(prefix=".slurmscale-", dir=os.path.dirname(target))
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(text)
            stream.flush()
            shutil.copystat(model, temporary)
            status = os.stat(model)
            os.chown(temporary, status.st_uid, status.st_gid)
            os.utime(temporary)
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException as problem:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(problem, OSError) and not problem.filename:
            raise OSError(problem.errno, problem.strerror, path) from problem
        raise
    _sync_directory(os.path.dirname(target))


class FileSet:
    """The files that belong to one slurm.conf.

    Args:
        conf: The slurm.conf. Files that it includes are written before it and taken away after it, so that no
            command that reads it meanwhile misses one.
    """

    def __init__(self, conf: str) -> None:
        self.conf = conf
        self.directory = os.path.dirname(conf)
        self.backups = os.path.join(self.directory, BACKUP_DIR)
        self.marker = os.path.join(self.backups, _MARKER)

    def back_up(self, changes: Changes) -> str:
        """Copy what the changes will replace, and return the backup's directory."""
        os.makedirs(self.backups, mode=0o700, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S")
        backup = tempfile.mkdtemp(prefix=stamp + "-", dir=self.backups)
        manifest: Dict[str, Optional[str]] = {}
        for number, (path, (before, _after)) in enumerate(sorted(changes.items())):
            manifest[path] = None
            if before is not None:
                manifest[path] = "{0}-{1}".format(number, os.path.basename(path))
                copy = os.path.join(backup, str(manifest[path]))
                shutil.copy2(path, copy)
                status = os.stat(path)
                os.chown(copy, status.st_uid, status.st_gid)
        _write_json(os.path.join(backup, _MANIFEST), manifest)
        self._prune(backup)
        return backup

    def mark(self, backup: str, facts: Dict[str, Any]) -> None:
        """Note that the files in place are unproven until `unmark`, and from which backup to restore."""
        _write_json(self.marker, dict(facts, backup=backup))

    def unmark(self) -> None:
        """Note that the files in place work."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.marker)
        _sync_directory(self.backups)

    def marked(self) -> Optional[Dict[str, Any]]:
        """Return the note of a run that was killed before it could prove or restore, or None."""
        try:
            with open(self.marker, encoding="utf-8") as stream:
                return dict(json.load(stream))
        except (OSError, ValueError):
            return None

    def replace(self, changes: Changes) -> None:
        """Put all new texts in place."""
        for path in sorted(changes, key=lambda one: one == self.conf):
            after = changes[path][1]
            if after is not None:
                write_atomically(path, after, like=self.conf)
        for path, (_before, after) in changes.items():
            if after is None:
                os.unlink(path)

    def restore(self, backup: str) -> None:
        """Put the files of a backup back, and take away those that didn't exist."""
        with open(os.path.join(backup, _MANIFEST), encoding="utf-8") as stream:
            manifest: Dict[str, Optional[str]] = json.load(stream)
        # slurm.conf last when it names files that are gone, first when it doesn't name those that go.
        for path in sorted(manifest, key=lambda one: one == self.conf):
            saved = manifest[path]
            if saved is not None:
                copy = os.path.join(backup, saved)
                target = os.path.realpath(path)
                # One that was not replaced is left alone: there may be no room for it on a full disk.
                if os.path.exists(target) and filecmp.cmp(copy, target, shallow=False):
                    continue
                temporary = target + ".slurmscale-restore"
                shutil.copy2(copy, temporary)
                status = os.stat(copy)
                os.chown(temporary, status.st_uid, status.st_gid)
                os.utime(temporary)
                os.replace(temporary, target)
        for path, saved in manifest.items():
            if saved is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        _sync_directory(self.directory)

    @contextlib.contextmanager
    def candidate(self, changes: Changes, files: List[str]) -> Iterator[str]:
        """Lay the changed configuration out beside the real one and yield its slurm.conf.

        Args:
            changes: What would be changed.
            files: slurm.conf and all it includes; those with a path of their own are taken in by name.
        """
        for name in os.listdir(self.directory):
            # Left by a run that was killed; nobody else is here while the lock is held.
            if name.startswith(CANDIDATE_PREFIX):
                shutil.rmtree(os.path.join(self.directory, name), ignore_errors=True)
        directory = tempfile.mkdtemp(prefix=CANDIDATE_PREFIX, dir=self.directory)
        try:
            self._copy_companions(directory)
            for path in {*files, *changes}:
                text = changes[path][1] if path in changes else _text(path)
                if text is not None:
                    self._lay_out(directory, path, self._redirect(text, directory, files))
            yield os.path.join(directory, os.path.basename(self.conf))
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _place(self, directory: str, path: str) -> str:
        """Return where a file lies in the candidate: those from elsewhere keep their path below it."""
        inside = os.path.relpath(path, self.directory)
        return os.path.join(directory, inside.replace("..", "_up") if inside.startswith("..") else inside)

    def _redirect(self, text: str, directory: str, files: List[str]) -> str:
        """Let includes that name a full path lead to the candidate's copy."""
        for path in files:
            if path != self.conf:
                text = text.replace("nclude " + path, "nclude " + self._place(directory, path))
        return text

    def _lay_out(self, directory: str, path: str, text: str) -> None:
        place = self._place(directory, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(text)

    def _copy_companions(self, directory: str) -> None:
        """Copy gres.conf, cgroup.conf and the like, which Slurm looks for beside slurm.conf."""
        for name in os.listdir(self.directory):
            path = os.path.join(self.directory, name)
            if name.endswith((".conf", ".yaml")) and name != "slurmdbd.conf" and os.path.isfile(path):
                shutil.copy(path, os.path.join(directory, name))

    def _prune(self, newest: str) -> None:
        """Keep the last backups; the one that a marker names isn't old, as marked runs are mended first."""
        names = sorted(name for name in os.listdir(self.backups) if os.path.isdir(os.path.join(self.backups, name)))
        older = [name for name in names if name != os.path.basename(newest)]
        for name in older[: -(KEPT_BACKUPS - 1)]:
            shutil.rmtree(os.path.join(self.backups, name), ignore_errors=True)


def _text(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def _write_json(path: str, content: Dict[str, Any]) -> None:
    temporary = path + ".new"
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    _sync_directory(os.path.dirname(path))


def _sync_directory(path: str) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
