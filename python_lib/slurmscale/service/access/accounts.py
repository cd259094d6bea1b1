"""Users, their passwords and their tokens: who somebody is."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
import zlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from slurmscale.errors import NotFoundError, RefusedError
from slurmscale.inventory.names import check_cluster, shown
from slurmscale.service.access.permissions import Permission, Role
from slurmscale.store.accounts import Token, Tokens, User, Users, new_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from slurmscale.store.engine import Database

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
_TOKEN = re.compile(r"slsc_([0-9a-f]{12})([0-9a-f]{64})([0-9a-f]{8})")
_SHORTEST_PASSWORD = 12
_LONGEST_PASSWORD = 1024
_LONGEST_NAME = 100
_HOUR = 3600.0
_DAY = 24 * _HOUR


class Accounts:
    """The users of the service.

    Args:
        database: Where they are kept.
        hasher: Hashes passwords; tests give a quick one.
    """

    def __init__(self, database: Database, hasher: PasswordHasher | None = None) -> None:
        self.users = Users(database)
        self.tokens = Tokens(database)
        self._hasher = hasher or PasswordHasher()

    @cached_property
    def _unknown_password_hash(self) -> str:
        """The hash of a password that nobody knows."""
        return self._hasher.hash(secrets.token_hex(16))

    # -- users

    def add_user(
        self, name: str, role: Role, *, password: str | None = None, clusters: Iterable[str] | None = None
    ) -> User:
        """Make a user.

        Args:
            name: Its name.
            role: What it may do.
            password: Its password; without one it can't sign in, and only has tokens.
            clusters: The clusters it is limited to; all when None.

        Raises:
            RefusedError: The name or the password is not allowed, or the name is taken.
        """
        if not _NAME.fullmatch(name):
            raise RefusedError(
                f"{shown(name)} is not allowed as the name of a user.",
                "Use small letters, digits, dots, hyphens, underscores and @, at most 63 characters.",
            )
        hashed = None if password is None else self.hash(password)
        limited = None if clusters is None else tuple(check_cluster(cluster) for cluster in clusters)
        return self.users.add(User(new_id(), name, Role(role).value, limited, hashed))

    def find_user(self, text: str) -> User:
        """Return the user of a name or an id.

        Raises:
            NotFoundError: There is none.
        """
        user = self.users.named(text) or self.users.get(text)
        if user is None:
            raise NotFoundError(f"There is no user {shown(text)}.", "See: slurmscale user list")
        return user

    def change_user(self, user: User, **values: Any) -> User:
        """Change the role, the clusters, the password or the state of a user, and return it as it is then.

        Args:
            user: The user.
            values: `role`, `clusters`, `password`, `disabled`.

        Raises:
            RefusedError: The password is not allowed, or there would be no admin left.
        """
        if "password" in values:
            values["password_hash"] = self.hash(values.pop("password"))
        if values.get("clusters") is not None:
            values["clusters"] = [check_cluster(cluster) for cluster in values["clusters"]]
        self.users.change(user.id, keeping=_role_to_keep(user), **values)
        return self.find_user(user.id)

    def remove_user(self, user: User) -> None:
        """Delete a user and its tokens.

        Raises:
            RefusedError: There would be no admin left.
        """
        self.users.remove(user.id, keeping=_role_to_keep(user))

    def hash(self, password: str) -> str:
        """Return the hash of a new password.

        Raises:
            RefusedError: It is too short or too long.
        """
        if not _SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise RefusedError(
                f"A password has {_SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters.", "Choose another one."
            )
        return self._hasher.hash(password)

    def sign_in(self, name: str, password: str) -> User | None:
        """Return the user of a name and a password; None when they do not fit. Takes the same time in all cases."""
        user, nobody = self.users.named(name), self._unknown_password_hash
        known = user.password_hash if user is not None else None
        try:
            self._hasher.verify(known or nobody, password)
        except (VerificationError, InvalidHashError):
            return None
        return user if user is not None and known and not user.disabled else None

    # -- tokens

    def new_session(self, user: User, hours: float, of: Token | None = None) -> tuple[str, Token]:
        """Make the token of a login.

        Args:
            user: Who signed in.
            hours: How long it lasts.
            of: The token that was used to sign in: the session may not do more, nor last longer.
        """
        seconds = hours * _HOUR
        if of is None:
            return self._new(user, "session", "login", seconds)
        seconds = min(seconds, of.expires_at - time.time())
        return self._new(user, "session", of.name, seconds, permissions=of.permissions, clusters=of.clusters)

    def new_token(
        self,
        user: User,
        name: str,
        days: float,
        *,
        permissions: Iterable[str] | None = None,
        clusters: Iterable[str] | None = None,
    ) -> tuple[str, Token]:
        """Make a token.

        Args:
            user: Whose it is.
            name: What it is for.
            days: How long it lasts.
            permissions: What it is limited to; all that its user may do when None.
            clusters: The clusters it is limited to; all of its user when None.

        Returns:
            The token, which is never shown again, and its record.

        Raises:
            RefusedError: A name, a permission or the time is not allowed.
        """
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise RefusedError(f"A token's name has 1 to {_LONGEST_NAME} printable characters.", "Correct it.")
        limited = None if permissions is None else tuple(_permission(one) for one in permissions)
        bound = None if clusters is None else tuple(check_cluster(cluster) for cluster in clusters)
        return self._new(user, "token", name, days * _DAY, permissions=limited, clusters=bound)

    def _new(self, user: User, kind: str, name: str, seconds: float, **limits: Any) -> tuple[str, Token]:
        token_id = new_id()
        body = f"{token_id}{secrets.token_hex(32)}"
        text = f"slsc_{body}{_checksum(body)}"
        now = time.time()
        token = Token(token_id, user.id, kind, name, _digest(text), now, now + seconds, **limits)
        self.tokens.add(token)
        return text, token

    def holder(self, text: str) -> tuple[Token, User] | None:
        """Return a token's record and its user; None when it is not valid."""
        parts = _TOKEN.fullmatch(text)
        if parts is None or parts[3] != _checksum(parts[1] + parts[2]):
            return None
        found = self.tokens.with_user(parts[1])
        if found is None:
            return None
        token, user = found
        return found if hmac.compare_digest(token.digest, _digest(text)) and _valid(token, user) else None

    def valid(self, token_ids: Collection[str]) -> list[tuple[Token, User]]:
        """Return the records of those tokens that are still valid, each with its user."""
        return [(token, user) for token, user in self.tokens.with_users(token_ids) if _valid(token, user)]


def _valid(token: Token, user: User) -> bool:
    return token.expires_at >= time.time() and not user.disabled


def _role_to_keep(user: User) -> str | None:
    return Role.ADMIN.value if user.role == Role.ADMIN else None


def _permission(text: str) -> str:
    try:
        return Permission(text).value
    except ValueError as exc:
        raise RefusedError(
            f"{shown(text)} is no permission.", f"There are: {', '.join(one.value for one in Permission)}."
        ) from exc


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(body: str) -> str:
    """Let scanners tell a token from other texts without asking anybody."""
    return f"{zlib.crc32(body.encode()):08x}"
