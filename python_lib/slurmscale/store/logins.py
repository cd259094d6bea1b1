"""How to log in to clusters, as far as it is secret: sealed, one of each cluster."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, insert, select, update

from slurmscale.store.tables import credentials

if TYPE_CHECKING:
    from slurmscale.store.engine import Database


class KeptLogin(NamedTuple):
    """A login that is kept.

    Attributes:
        cluster: The cluster.
        user: The login name; None for that of the cluster.
        kind: What is kept, with commas: password, private_key, become_password.
        sealed: The secrets.
        fingerprint: Of the private key; empty when there is none.
        updated_at: Seconds since the epoch.
    """

    cluster: str
    user: str | None
    kind: str
    sealed: str
    fingerprint: str
    updated_at: float


class Logins:
    """The logins of clusters.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[KeptLogin]:
        """Return all."""
        with self._database.explained("read"), self._database.engine.connect() as connection:
            return [KeptLogin(**row) for row in connection.execute(select(credentials)).mappings()]

    def find(self, cluster: str) -> KeptLogin | None:
        """Return that of a cluster; None when none is kept."""
        own = select(credentials).where(credentials.c.cluster == cluster)
        with self._database.explained("read"), self._database.engine.connect() as connection:
            row = connection.execute(own).mappings().first()
        return KeptLogin(**row) if row else None

    def save(self, login: KeptLogin) -> KeptLogin:
        """Keep one in place of what was kept of its cluster, and return it with the time."""
        kept = login._replace(updated_at=time.time())
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(delete(credentials).where(credentials.c.cluster == login.cluster))
            connection.execute(insert(credentials).values(**kept._asdict()))
        return kept

    def replace_sealed(self, known: KeptLogin, sealed: str) -> bool:
        """Replace the sealed text of one; returns whether it was still the known one."""
        own = (credentials.c.cluster == known.cluster) & (credentials.c.sealed == known.sealed)
        with self._database.explained("write"), self._database.begin() as connection:
            return bool(connection.execute(update(credentials).where(own).values(sealed=sealed)).rowcount)

    def remove(self, cluster: str) -> bool:
        """Remove that of a cluster; returns whether there was one."""
        own = delete(credentials).where(credentials.c.cluster == cluster)
        with self._database.explained("write"), self._database.begin() as connection:
            return bool(connection.execute(own).rowcount)
