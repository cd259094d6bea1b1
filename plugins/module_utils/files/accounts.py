# Apache License 2.0 (see LICENSE)
"""Checks accounts that lines of sysusers.d ask for, before and after systemd-sysusers makes them.

systemd-sysusers takes another number, and returns 0, when the one that is asked for belongs to somebody else. Slurm and
munge refuse messages between hosts on which their numbers differ.
"""

from __future__ import annotations

import grp
import pwd
from typing import Dict, Iterable, List, NamedTuple, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.options import FileError


class Account(NamedTuple):
    """A user or group that a line asks for; an id that is not stated is None.

    Attributes:
        kind: user or group.
        name: Its name.
        number: The uid of a user, the gid of a group.
        gid: The gid of a user's group.
        line: The line.
    """

    kind: str
    name: str
    number: Optional[int]
    gid: Optional[int]
    line: str


def parse(line: str) -> Account:
    """Read a line of sysusers.d that makes a user or a group.

    Raises:
        FileError: It is none.
    """
    words = line.split()
    if len(words) < 2 or words[0] not in {"u", "g"}:  # noqa: PLR2004 # kind and name
        raise FileError(
            Code.FILE_INVALID, f"sysusers needs lines such as 'u munge 991:991', but one of them is '{line}'."
        )
    first, _, second = (words[2] if len(words) > 2 else "-").partition(":")  # noqa: PLR2004 # the optional ids
    numbers = [int(text) if text.isdigit() else None for text in (first, second)]
    if words[0] == "g":
        return Account("group", words[1], numbers[0], None, line)
    return Account("user", words[1], numbers[0], numbers[1], line)


def _existing(account: Account) -> Optional[Account]:
    """Return the user or group of this name as it is on this host."""
    try:
        if account.kind == "group":
            return account._replace(number=grp.getgrnam(account.name).gr_gid)
        entry = pwd.getpwnam(account.name)
    except KeyError:
        return None
    return account._replace(number=entry.pw_uid, gid=entry.pw_gid)


def _holder(kind: str, number: int) -> Optional[str]:
    try:
        return grp.getgrgid(number).gr_name if kind == "group" else pwd.getpwuid(number).pw_name
    except KeyError:
        return None


def _require_same(wanted: Account, found: Account, code: Code, remedy: str) -> None:
    number = "gid" if wanted.kind == "group" else "uid"
    for what, needed, has in ((number, wanted.number, found.number), ("gid", wanted.gid, found.gid)):
        if needed is not None and needed != has:
            raise FileError(code, f"{wanted.kind} {wanted.name} needs {what} {needed}, but has {has} here.", remedy)


def _require_free(kind: str, number: Optional[int], wanted: Account, names: Iterable[str]) -> None:
    holder = None if number is None else _holder(kind, number)
    if holder is not None and holder not in names:
        what = "gid" if kind == "group" else "uid"
        command = "groupmod --gid" if kind == "group" else "usermod --uid"
        raise FileError(
            Code.ACCOUNT_ID_TAKEN,
            f"{wanted.kind} {wanted.name} needs {what} {number}, but the {kind} {holder} has it here.",
            f"Stop what runs as {holder} and give it another {what} ({command} NEW {holder}), with its files.",
        )


def find_missing(lines: Iterable[str]) -> List[Account]:
    """Return the accounts that do not exist, when all ids are right or free.

    Args:
        lines: What must exist.

    Raises:
        FileError: A line is malformed, an account has another id, or somebody else has the id.
    """
    accounts = [parse(line) for line in lines]
    names_of: Dict[Optional[int], List[str]] = {}
    for account in accounts:
        if account.kind == "group":
            names_of.setdefault(account.number, []).append(account.name)
    missing = []
    for account in accounts:
        found = _existing(account)
        if found:
            remedy = f"Stop what runs as {account.name}, change its number (usermod, groupmod) and chown its files."
            _require_same(account, found, Code.ACCOUNT_ID_DIFFERS, remedy)
            continue
        missing.append(account)
        _require_free(account.kind, account.number, account, [account.name])
        if account.kind == "user":
            _require_free("group", account.gid, account, [account.name, *names_of.get(account.gid, [])])
    return missing


def verify(accounts: Iterable[Account]) -> None:
    """Check that accounts were made as they were asked for.

    Args:
        accounts: What systemd-sysusers was to make.

    Raises:
        FileError: One is missing or has another id.
    """
    for account in accounts:
        found = _existing(account)
        command = "groupdel" if account.kind == "group" else "userdel"
        if not found:
            raise FileError(Code.ACCOUNT_NOT_MADE, f"systemd-sysusers did not make the {account.kind} {account.name}.")
        _require_same(
            account,
            found,
            Code.ACCOUNT_NOT_MADE,
            f"It was made just now: remove it with {command} {account.name}, and find out who has the number.",
        )
