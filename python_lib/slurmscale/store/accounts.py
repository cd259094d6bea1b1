"""Users of the service and their tokens. Of a token only its digest is kept, of a password only its hash."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from slurmscale.errors import NotFoundError, RefusedError
from slurmscale.store.notices import Change, Kind
from slurmscale.store.tables import tokens, users

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection, RowMapping

    from slurmscale.store.engine import Database

_USED_RESOLUTION = 60.0
"""Seconds between two records of a token's use: a write per request would be too much."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who uses the service.

    Attributes:
        role: Name of a role, which says what the user may do.
        clusters: The clusters it is limited to; None for all.
        password_hash: As argon2 writes it; None for a user that only has tokens.
        disabled: Whether neither password nor tokens are accepted.
    """

    id: str
    name: str
    role: str
    clusters: tuple[str, ...] | None = None
    password_hash: str | None = None
    disabled: bool = False
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Token:
    """What a user proves itself with.

    Attributes:
        kind: `session` of a login, or `token` that somebody made.
        digest: SHA-256 of the token.
        permissions: What it is limited to; None for all that its user may do.
        clusters: The clusters it is limited to; None for all of its user.
    """

    id: str
    user_id: str
    kind: str
    name: str
    digest: str
    created_at: float
    expires_at: float
    permissions: tuple[str, ...] | None = None
    clusters: tuple[str, ...] | None = None
    last_used_at: float | None = None


def new_id() -> str:
    """Return a random id."""
    return secrets.token_hex(6)


class Users:
    """The users.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, user: User) -> User:
        """Record a new user.

        Raises:
            RefusedError: There is one of that name.
        """
        now = time.time()
        user = replace(user, created_at=now, updated_at=now)
        with self._database.explained("write"):
            try:
                with self._database.begin() as connection:
                    connection.execute(insert(users).values(**_row(user)))
            except IntegrityError as exc:
                raise RefusedError(f"There is a user {user.name} already.", "Choose another name.") from exc
        return user

    def change(self, user_id: str, *, keeping: str | None = None, **values: Any) -> None:
        """Change columns of a user.

        Args:
            user_id: The user.
            keeping: A role of which somebody must be left who may sign in.
            values: The columns.

        Raises:
            NotFoundError: There is no such user.
            RefusedError: Nobody would be left in that role.
        """
        with self._database.explained("write"), self._database.begin() as connection:
            changed = connection.execute(
                update(users).where(users.c.id == user_id).values(**values, updated_at=time.time())
            ).rowcount
            if not changed:
                raise NotFoundError(f"There is no user {user_id}.")
            _require_one(connection, keeping)
            if values.get("disabled") or "password_hash" in values:
                # whoever signed in with the old password is to sign in again
                connection.execute(delete(tokens).where(tokens.c.user_id == user_id, tokens.c.kind == "session"))
            self._database.notices.add(connection, Change(Kind.ACCOUNTS))

    def remove(self, user_id: str, *, keeping: str | None = None) -> None:
        """Delete a user and its tokens; arguments and errors as of `change`."""
        with self._database.explained("write"), self._database.begin() as connection:
            if not connection.execute(delete(users).where(users.c.id == user_id)).rowcount:
                raise NotFoundError(f"There is no user {user_id}.")
            _require_one(connection, keeping)
            self._database.notices.add(connection, Change(Kind.ACCOUNTS))

    def all(self) -> list[User]:
        """Return all users by name."""
        with self._database.explained("read"), self._database.engine.connect() as connection:
            return [_user(row) for row in connection.execute(select(users).order_by(users.c.name)).mappings()]

    def named(self, name: str) -> User | None:
        """Return the user of a name; None when there is none."""
        return self._one(users.c.name == name)

    def get(self, user_id: str) -> User | None:
        """Return the user of an id; None when there is none."""
        return self._one(users.c.id == user_id)

    def _one(self, condition: Any) -> User | None:
        with self._database.explained("read"), self._database.engine.connect() as connection:
            row = connection.execute(select(users).where(condition)).mappings().first()
        return _user(row) if row else None


class Tokens:
    """The tokens of the users.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: Token) -> None:
        """Record a new token, and forget those of the user that have expired."""
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(
                delete(tokens).where(tokens.c.user_id == token.user_id, tokens.c.expires_at < time.time())
            )
            connection.execute(insert(tokens).values(**_row(token)))

    def with_user(self, token_id: str) -> tuple[Token, User] | None:
        """Return a token with its user; None when there is no such token."""
        return next(iter(self.with_users([token_id])), None)

    def with_users(self, token_ids: Collection[str]) -> list[tuple[Token, User]]:
        """Return those tokens that there are, each with its user."""
        query = select(tokens, users).join(users, users.c.id == tokens.c.user_id).where(tokens.c.id.in_(token_ids))
        count = len(tokens.c)
        with self._database.explained("read"), self._database.engine.connect() as connection:
            return [
                (
                    _token(dict(zip(tokens.c.keys(), row[:count], strict=True))),
                    _user(dict(zip(users.c.keys(), row[count:], strict=True))),
                )
                for row in connection.execute(query)
            ]

    def of_user(self, user_id: str | None = None) -> list[Token]:
        """Return the tokens of a user, or of all, newest first."""
        query = select(tokens).order_by(tokens.c.created_at.desc(), tokens.c.id)
        if user_id is not None:
            query = query.where(tokens.c.user_id == user_id)
        with self._database.explained("read"), self._database.engine.connect() as connection:
            return [_token(row) for row in connection.execute(query).mappings()]

    def remove(self, token_id: str, **only: str) -> bool:
        """Delete a token.

        Args:
            token_id: The token.
            only: Columns and what they must be, such as the user's id.

        Returns:
            Whether there was one.
        """
        condition = [tokens.c.id == token_id, *(tokens.c[name] == value for name, value in only.items())]
        with self._database.explained("write"), self._database.begin() as connection:
            removed = bool(connection.execute(delete(tokens).where(*condition)).rowcount)
            if removed:
                self._database.notices.add(connection, Change(Kind.ACCOUNTS))
        return removed

    def record_use(self, token: Token) -> None:
        """Remember that a token was used, to the minute."""
        now = time.time()
        if token.last_used_at is not None and now - token.last_used_at < _USED_RESOLUTION:
            return
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(update(tokens).where(tokens.c.id == token.id).values(last_used_at=now))


def _require_one(connection: Connection, role: str | None) -> None:
    if role is None:
        return
    able = select(func.count()).select_from(users).where(users.c.role == role, ~users.c.disabled)
    if not connection.execute(able).scalar():
        raise RefusedError(f"Nobody would be left with the role {role}.", "Give it to somebody else first.")


def _row(record: User | Token) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}


def _user(row: RowMapping | dict[Any, Any]) -> User:
    return User(**_tuples(row))


def _token(row: RowMapping | dict[Any, Any]) -> Token:
    return Token(**_tuples(row))


def _tuples(row: RowMapping | dict[Any, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
