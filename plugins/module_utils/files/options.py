# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Reads and checks the options that state what files a host must have."""

from __future__ import annotations

import base64
import binascii
import grp
import os
import pwd
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.ini_list_option import WordList

# Stands for a user or group that check mode tolerates: it differs from every real id, and chown ignores it.
UNKNOWN_ID = -1


class FileError(FailureError):
    """A file, directory or account is stated wrongly or can't be made."""


@dataclass(frozen=True)
class Attributes:
    """Mode, owner and group that a path must have; None leaves what is there."""

    mode: Optional[int]
    owner: Optional[str]
    group: Optional[str]
    uid: Optional[int]
    gid: Optional[int]


@dataclass(frozen=True)
class WantedFile:
    """One file with all that it must be."""

    path: str
    content: bytes
    attributes: Attributes
    secret: bool


@dataclass(frozen=True)
class WantedWords:
    """Words that an option of a file must list, and such that it must not."""

    path: str
    option: WordList
    present: List[str]
    absent: List[str]


def parse_mode(raw: Any, path: str) -> Optional[int]:
    """Turn a quoted octal mode into a number.

    Args:
        raw: The option as given; None means unstated.
        path: For the message.

    Returns:
        The mode, or None when it is unstated.

    Raises:
        FileError: It is not a string of three or four octal digits. Numbers are refused because YAML reads an
            unquoted 0400 as 256.
    """
    if raw is None:
        return None
    if not isinstance(raw, str) or not re.match(r"^[0-7]{3,4}$", raw):
        raise FileError(
            Code.FILE_INVALID, f"mode of {path} must be a quoted octal number such as '0644', but is {raw!r}."
        )
    return int(raw, 8)


def _lookup_id(kind: str, name: Optional[str], path: str, *, tolerate_unknown: bool) -> Optional[int]:
    if name is None:
        return None
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        if tolerate_unknown:
            return UNKNOWN_ID
        raise FileError(
            Code.OWNER_MISSING,
            f"{path} must belong to the {kind} '{name}', which does not exist on this host.",
            f"Create the {kind} first, or state another one.",
        ) from None


def _check_path(path: str) -> str:
    if not os.path.isabs(path):
        raise FileError(Code.FILE_INVALID, f"'{path}' must be an absolute path.")
    return os.path.normpath(path)


def attributes_of(item: Dict[str, Any], *, tolerate_unknown: bool, default_mode: Optional[int] = None) -> Attributes:
    """Resolve the mode, owner and group options of one item.

    Args:
        item: Options of one file or directory.
        tolerate_unknown: Accept names that don't exist (check mode: an earlier task would have made them).
        default_mode: Mode when none is stated.

    Returns:
        The attributes with their ids.

    Raises:
        FileError: A mode is malformed, or a name does not exist.
    """
    path, owner, group = item["path"], item.get("owner"), item.get("group")
    mode = parse_mode(item.get("mode"), path)
    return Attributes(
        mode=default_mode if mode is None else mode,
        owner=owner,
        group=group,
        uid=_lookup_id("user", owner, path, tolerate_unknown=tolerate_unknown),
        gid=_lookup_id("group", group, path, tolerate_unknown=tolerate_unknown),
    )


def wanted_file(item: Dict[str, Any], *, tolerate_unknown: bool) -> WantedFile:
    """Turn the options of one file into what is to be written.

    Args:
        item: Options path, content or content_base64, mode, owner, group, secret, follow.
        tolerate_unknown: Accept owners and groups that don't exist.

    Returns:
        The file.

    Raises:
        FileError: The options contradict each other.
    """
    path = _check_path(item["path"])
    if item.get("follow"):
        path = os.path.realpath(path)
    secret = bool(item.get("secret"))
    if item.get("content_base64") is None:
        if secret:
            raise FileError(
                Code.FILE_INVALID, f"{path} is secret, but is not given as content_base64, which is never logged."
            )
        content = item["content"].encode("utf-8", "surrogateescape")
    else:
        try:
            content = base64.b64decode(item["content_base64"], validate=True)
        except (binascii.Error, ValueError):
            raise FileError(Code.FILE_INVALID, f"content_base64 of {path} is not valid base64.") from None
    return WantedFile(
        path,
        content,
        attributes_of(item, tolerate_unknown=tolerate_unknown, default_mode=0o600 if secret else 0o644),
        secret,
    )


def wanted_words(item: Dict[str, Any]) -> WantedWords:
    """Turn the options path, section, options, present and absent into what is to be listed.

    Raises:
        FileError: The path is relative, no option is named, or a word is wanted and unwanted.
    """
    path = os.path.realpath(_check_path(item["path"]))
    both = sorted(set(item["present"]) & set(item["absent"]))
    if both or not item["options"]:
        problem = f"{', '.join(both)} is in present and in absent" if both else "options is empty"
        raise FileError(Code.FILE_INVALID, f"{problem} for {path}.")
    return WantedWords(path, WordList(item["section"], tuple(item["options"])), item["present"], item["absent"])


def check_paths(files: List[str], directories: List[str], absent: List[str]) -> None:
    """Refuse a path that is named twice.

    Args:
        files: Paths of files to write.
        directories: Paths of directories to make.
        absent: Paths to remove.

    Raises:
        FileError: A path is relative, or named more than once.
    """
    seen = set()
    for path in map(_check_path, files + directories + absent):
        if path in seen:
            raise FileError(Code.FILE_INVALID, f"{path} is named more than once in files, directories and absent.")
        seen.add(path)
