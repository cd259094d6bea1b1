# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Makes directories, writes and removes files: each atomically, and only when it differs."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.ini_list_option import read
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.options import (
    Attributes,
    FileError,
    WantedFile,
    WantedWords,
)

# Ansible's own limit for what is shown in a diff.
DIFF_LIMIT = 104448
HIDDEN = "(secret content, not shown)\n"


@dataclass
class Change:
    """What was (or in check mode would be) done to one path."""

    changed: bool = False
    diffs: List[Dict[str, Any]] = field(default_factory=list)


def _lstat(path: str) -> Optional[os.stat_result]:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _name_of(kind: str, number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name if kind == "user" else grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def compare_attributes(info: os.stat_result, wanted: Attributes) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Compare a path's attributes with the wanted ones.

    Args:
        info: What is there.
        wanted: What must be.

    Returns:
        Before and after, holding only what differs.
    """
    before, after = {}, {}
    mode = stat.S_IMODE(info.st_mode)
    if wanted.mode is not None and wanted.mode != mode:
        before["mode"], after["mode"] = f"{mode:04o}", f"{wanted.mode:04o}"
    if wanted.uid is not None and wanted.uid != info.st_uid:
        before["owner"], after["owner"] = _name_of("user", info.st_uid), str(wanted.owner)
    if wanted.gid is not None and wanted.gid != info.st_gid:
        before["group"], after["group"] = _name_of("group", info.st_gid), str(wanted.group)
    return before, after


def _set_attributes(path: str, wanted: Attributes) -> None:
    if wanted.uid is not None or wanted.gid is not None:
        os.chown(path, -1 if wanted.uid is None else wanted.uid, -1 if wanted.gid is None else wanted.gid)
    if wanted.mode is not None:
        os.chmod(path, wanted.mode)


def _diff(path: str, before: Any, after: Any, what: str = "") -> Dict[str, Any]:
    header = f"{path} ({what})" if what else path
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def _shown(content: Optional[bytes], *, secret: bool) -> str:
    if content is None:
        return ""
    if secret:
        return HIDDEN
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return f"(binary content, {len(content)} bytes)\n"
    return text if len(content) <= DIFF_LIMIT else f"({len(content)} bytes, too large to show)\n"


def _content_diff(item: WantedFile, old: Optional[bytes], *, private: bool) -> Dict[str, Any]:
    diff = _diff(item.path, _shown(old, secret=item.secret or private), _shown(item.content, secret=item.secret))
    if diff["before"] == diff["after"]:
        diff["after"] = diff["after"].replace(")\n", ", changed)\n")
    return diff


def put_directory(path: str, wanted: Attributes, label: Callable[[str, str], None], *, check_mode: bool) -> Change:
    """Make a directory, and its parents, with the wanted attributes.

    Args:
        path: The directory. A link to a directory counts as one.
        wanted: Its attributes; parents that had to be made are 0755.
        label: Called with each directory that was made, as what is labelled and as what it is, to give it its SELinux
            context: what is made before its package gets that of its parent otherwise.
        check_mode: Change nothing.

    Returns:
        What was done.

    Raises:
        FileError: Something else is in the way.
        OSError: It can't be made.
    """
    if os.path.isdir(path):
        before, after = compare_attributes(os.stat(path), wanted)
        change = Change(changed=bool(after), diffs=[_diff(path, before, after, "attributes")] if after else [])
    elif os.path.lexists(path):
        raise FileError(Code.FILE_NOT_WRITTEN, f"{path} must be a directory, but is something else.", "Move it away.")
    else:
        change = Change(changed=True, diffs=[_diff(path, {"state": "absent"}, {"state": "directory"})])
        if not check_mode:
            missing = [path]
            while not os.path.isdir(os.path.dirname(missing[0])):
                missing.insert(0, os.path.dirname(missing[0]))
            os.makedirs(path, 0o755)
            for made in missing:
                label(made, made)
            os.chmod(path, 0o755 if wanted.mode is None else wanted.mode)
    if change.changed and not check_mode:
        _set_attributes(path, wanted)
    return change


def replace_file(path: str, content: bytes, prepare: Callable[[str], None]) -> None:
    """Write beside the target and rename, so that a reader finds the old or the new file, with its final owner.

    When this returns, the file and its name are on the disk.

    Args:
        path: The file; a link in its place is replaced.
        content: What it must hold.
        prepare: Called with the path of the new file before it takes its place: gives it owner, mode and security
            label. Until then only root can read it.

    Raises:
        OSError: It can't be written; the old file is as it was.
    """
    directory = os.path.dirname(path)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".slurmscale-")
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            prepare(temporary)
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException as problem:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        # A full disk names no file.
        if isinstance(problem, OSError) and not problem.filename:
            raise OSError(problem.errno, problem.strerror, path) from problem
        raise
    sync_directory(directory)


def sync_directory(path: str) -> None:
    """Bring the names in a directory on to the disk, as far as its file system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write(path: str, content: bytes, attributes: Attributes, label: Callable[[str, str], None]) -> None:
    def prepare(temporary: str) -> None:
        _set_attributes(temporary, attributes)
        label(temporary, path)

    replace_file(path, content, prepare)


def put_file(item: WantedFile, label: Callable[[str, str], None], *, check_mode: bool) -> Change:
    """Write a file when its content, mode, owner or group differs.

    Args:
        item: The file. A link in its place is replaced by the file itself.
        label: Called with the finished temporary file and the target, to give it its SELinux context.
        check_mode: Change nothing.

    Returns:
        What was done.

    Raises:
        FileError: Something that is no file is in the way.
        OSError: It can't be read or written.
    """
    info = _lstat(item.path)
    if info is not None and not (stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode)):
        raise FileError(Code.FILE_NOT_WRITTEN, f"{item.path} must be a file, but is something else.", "Move it away.")
    old: Optional[bytes] = None
    private = False
    change = Change()
    if info is not None and stat.S_ISREG(info.st_mode):
        with open(item.path, "rb") as handle:
            old = handle.read()
        # What nobody else could read there may be a secret that is no more wanted.
        private = not info.st_mode & (stat.S_IRGRP | stat.S_IROTH)
        before, after = compare_attributes(info, item.attributes)
        if after:
            change.diffs.append(_diff(item.path, before, after, "attributes"))
    if old != item.content:
        change.diffs.append(_content_diff(item, old, private=private))
        if not check_mode:
            _write(item.path, item.content, item.attributes, label)
    elif change.diffs and not check_mode:
        _set_attributes(item.path, item.attributes)
    change.changed = old is None or bool(change.diffs)
    return change


def put_words(item: WantedWords, label: Callable[[str, str], None], *, check_mode: bool) -> Change:
    """List words in an option of a file, or take them out, and keep everything else, its owner and its mode.

    Args:
        item: The words.
        label: Called with the finished temporary file and the target, to give it its SELinux context.
        check_mode: Change nothing.

    Returns:
        What was done. Only the words of the option are shown: elsewhere in the file may be a password.

    Raises:
        FileError: Something that is no file is in the way.
        OSError: It can't be read or written.
    """
    info = _lstat(item.path)
    if info is not None and not stat.S_ISREG(info.st_mode):
        raise FileError(Code.FILE_NOT_WRITTEN, f"{item.path} must be a file, but is something else.", "Move it away.")
    old = read(item.path)
    new = item.option.remove(item.option.add(old, item.present), item.absent)
    if new == old:
        return Change()
    name = f"{item.option.options[0]} of [{item.option.section}]"
    before, after = ({name: " ".join(item.option.words(text))} for text in (old, new))
    if not check_mode:
        mode = 0o644 if info is None else stat.S_IMODE(info.st_mode)
        uid, gid = (None, None) if info is None else (info.st_uid, info.st_gid)
        attributes = Attributes(mode=mode, owner=None, group=None, uid=uid, gid=gid)
        _write(item.path, new.encode("utf-8", "surrogateescape"), attributes, label)
    return Change(changed=True, diffs=[_diff(item.path, before, after, "words")])


def remove(path: str, *, check_mode: bool) -> Change:
    """Remove a file, a link or an empty directory.

    Args:
        path: What must be gone.
        check_mode: Change nothing.

    Returns:
        What was done.

    Raises:
        FileError: It is a directory with something in it.
        OSError: It can't be removed.
    """
    info = _lstat(path)
    if info is None:
        return Change()
    directory = stat.S_ISDIR(info.st_mode)
    if directory and os.listdir(path):
        raise FileError(
            Code.FILE_NOT_WRITTEN,
            f"{path} must not exist, but is a directory that is not empty.",
            "Remove it when nothing in it is needed.",
        )
    if not check_mode:
        os.rmdir(path) if directory else os.unlink(path)
    return Change(changed=True, diffs=[_diff(path, {"state": "present"}, {"state": "absent"})])
