# Apache License 2.0 (see LICENSE)
"""Replaces configuration files as one set that can be put back, by this run or, when it was killed, by the next.

The way back is kept before anything is changed: a hard link to each file, and a marker that names them. Putting a file
back is a rename, which needs no room on the disk and brings back its owner, mode and labels. The marker is removed when
slurmctld works with the files in place; a run that finds one knows that an earlier run was interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.files.writer import replace_file, sync_directory

#: Beside slurm.conf, for root only.
BACKUP_DIR = "slurmscale-backup"
KEPT_BACKUPS = 5
CANDIDATE_PREFIX = ".slurmscale-candidate-"
_MANIFEST = "manifest.json"
_MARKER = "in-progress.json"

Changes = Dict[str, Tuple[Optional[str], Optional[str]]]


def write_atomically(path: str, text: str, like: str) -> None:
    """Replace a file in one step; a reader sees the old or the new text.

    Args:
        path: The file; a link is followed.
        text: What it shall hold.
        like: The file whose owner, mode and security label it gets when it doesn't exist yet.
    """
    target = os.path.realpath(path)
    model = target if os.path.exists(target) else like

    def prepare(temporary: str) -> None:
        _copy_attributes(model, temporary)
        os.utime(temporary)

    replace_file(target, text.encode("utf-8", "surrogateescape"), prepare)


class FileSet:
    """The files that belong to one slurm.conf.

    Args:
        conf: The slurm.conf. Files that it includes are written before it and removed after it, so that no
            command that reads it meanwhile misses one.
    """

    def __init__(self, conf: str) -> None:
        self.conf = conf
        self.directory = os.path.dirname(conf)
        self.backups = os.path.join(self.directory, BACKUP_DIR)
        self.marker = os.path.join(self.backups, _MARKER)

    def back_up(self, changes: Changes) -> str:
        """Keep the files that the changes will replace, on the disk when this returns.

        Returns:
            The backup's directory.
        """
        os.makedirs(self.backups, mode=0o700, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S")
        backup = tempfile.mkdtemp(prefix=stamp + "-", dir=self.backups)
        manifest: Dict[str, Optional[str]] = {}
        for number, (path, (before, _after)) in enumerate(sorted(changes.items())):
            manifest[path] = None
            if before is not None:
                manifest[path] = f"{number}-{os.path.basename(path)}"
                _link_or_copy(os.path.realpath(path), os.path.join(backup, str(manifest[path])))
        _write_note(os.path.join(backup, _MANIFEST), manifest)
        sync_directory(self.backups)
        self._prune(backup)
        return backup

    def begin(self, backup: str, facts: Dict[str, Any]) -> None:
        """Note, until `finish`, that the files in place may not work, and from which backup to restore."""
        _write_note(self.marker, dict(facts, backup=backup))

    def finish(self) -> None:
        """Note that slurmctld works with the files in place."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.marker)
        sync_directory(self.backups)

    def interrupted(self) -> Optional[Dict[str, Any]]:
        """Return the note of a run that was killed before it finished or restored, or None."""
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
        """Put the files of a backup back, and remove those that didn't exist.

        It can be repeated, and needs no room on the disk when the backup holds links.
        """
        with open(os.path.join(backup, _MANIFEST), encoding="utf-8") as stream:
            manifest: Dict[str, Optional[str]] = json.load(stream)
        # slurm.conf last when it names files that are gone, first when it doesn't name those that go.
        for path in sorted(manifest, key=lambda one: one == self.conf):
            saved = manifest[path]
            if saved is not None:
                _put_back(os.path.join(backup, saved), os.path.realpath(path))
        for path, saved in manifest.items():
            if saved is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        sync_directory(self.directory)

    def discard(self, backup: str) -> None:
        """Remove a backup whose files are in place again: an edit of a linked file would change it, too."""
        shutil.rmtree(backup, ignore_errors=True)

    @contextlib.contextmanager
    def candidate(self, changes: Changes, files: List[str]) -> Iterator[str]:
        """Lay the changed configuration out beside the real one and yield its slurm.conf.

        Args:
            changes: What would be changed.
            files: slurm.conf and all it includes; those with a path of their own are taken in by name.
        """
        for name in os.listdir(self.directory):
            # Left by a run that was killed; nobody else works here while the lock is held.
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
        """Keep the last backups; that of an interrupted run isn't old, as such a run is dealt with first."""
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


def _link_or_copy(source: str, copy: str) -> None:
    """Keep a file under a second name. Where that can't be a link, as on another file system, it is a copy."""
    try:
        os.link(source, copy)
    except OSError:
        shutil.copy2(source, copy)
        _copy_attributes(source, copy)
    handle = os.open(copy, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put_back(copy: str, target: str) -> None:
    # One that was not replaced is left alone; a rename on to another link of itself would do nothing, either.
    if os.path.exists(target) and os.path.samefile(copy, target):
        return
    temporary = target + ".slurmscale-restore"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        _link_or_copy(copy, temporary)
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    sync_directory(os.path.dirname(target))


def _copy_attributes(source: str, target: str) -> None:
    """Give a file the owner, mode, times and security label of another one."""
    status = os.stat(source)
    # Changing the owner may clear bits of the mode, so the mode comes after it.
    os.chown(target, status.st_uid, status.st_gid)
    shutil.copystat(source, target)


def _write_note(path: str, content: Dict[str, Any]) -> None:
    replace_file(path, json.dumps(content).encode("utf-8"), lambda _temporary: None)
