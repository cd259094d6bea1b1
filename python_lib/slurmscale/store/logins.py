"""How to log in to clusters and to their nodes, as far as it is secret: sealed, each with an id."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import and_, delete, insert, select, update

from slurmscale.store.tables import credentials

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from slurmscale.store.engine import Database


class KeptLogin(NamedTuple):
    """A login that is kept.

    Attributes:
        id: By which requests name it.
        cluster: The cluster.
        user: The login name; None for that of the cluster.
        kind: What is kept, with commas: password, private_key, become_password.
        sealed: The secrets.
        fingerprint: Of the private key; empty when there is none.
        for_cluster: Whether it is that of the cluster, used where a request names none; a cluster has one at most.
        updated_at: Seconds since the epoch.
    """

    id: str
    cluster: str
    user: str | None
    kind: str
    sealed: str
    fingerprint: str
    for_cluster: bool
    updated_at: float = 0.0


class Logins:
    """The logins that are kept.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[KeptLogin]:
        """Return all, by cluster, the oldest first."""
        ordered = select(credentials).order_by(credentials.c.cluster, credentials.c.updated_at, credentials.c.id)
        with self._database.explained("read"), self._database.engine.connect() as connection:
            return [KeptLogin(**row) for row in connection.execute(ordered).mappings()]

    def find(self, cluster: str) -> KeptLogin | None:
        """Return that of a cluster; None when none is kept."""
        return self._one(_of_cluster(cluster))

    def named(self, login_id: str) -> KeptLogin | None:
        """Return the one of an id; None when there is none."""
        return self._one(credentials.c.id == login_id)

    def save(self, login: KeptLogin) -> KeptLogin:
        """Keep one, that of a cluster in place of the one before, and return it with the time."""
        kept = login._replace(updated_at=time.time())
        with self._database.explained("write"), self._database.begin() as connection:
            if login.for_cluster:
                connection.execute(delete(credentials).where(_of_cluster(login.cluster)))
            connection.execute(insert(credentials).values(**kept._asdict()))
        return kept

    def replace_sealed(self, known: KeptLogin, sealed: str) -> bool:
        """Replace the sealed text of one; returns whether it was still the known one."""
        own = (credentials.c.id == known.id) & (credentials.c.sealed == known.sealed)
        with self._database.explained("write"), self._database.begin() as connection:
            return bool(connection.execute(update(credentials).where(own).values(sealed=sealed)).rowcount)

    def remove(self, login_id: str) -> bool:
        """Remove the one of an id; returns whether there was one."""
        own = delete(credentials).where(credentials.c.id == login_id)
        with self._database.explained("write"), self._database.begin() as connection:
            return bool(connection.execute(own).rowcount)

    def _one(self, condition: ColumnElement[bool]) -> KeptLogin | None:
        with self._database.explained("read"), self._database.engine.connect() as connection:
            row = connection.execute(select(credentials).where(condition)).mappings().first()
        return KeptLogin(**row) if row else None


def _of_cluster(cluster: str) -> ColumnElement[bool]:
    return and_(credentials.c.cluster == cluster, credentials.c.for_cluster)
