"""Logins of clusters that are kept: sealed with the secret keys of the service, and opened where a run begins."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from slurmscale.errors import RefusedError
from slurmscale.store.logins import KeptLogin, Logins

if TYPE_CHECKING:
    from slurmscale.models import Cluster, Credentials
    from slurmscale.runs.request import Sealer
    from slurmscale.store.engine import Database

_SECRET = ("password", "private_key", "become_password")


class ClusterLogins:
    """The logins that are kept.

    Args:
        database: Where they are kept.
        sealer: Seals them; without one none is kept, and none that is kept is used.
    """

    def __init__(self, database: Database, sealer: Sealer | None) -> None:
        self._records = Logins(database)
        self._sealer = sealer

    def keep(self, cluster: str, given: Credentials, fingerprint: str = "") -> KeptLogin:
        """Keep a login in place of what was kept of its cluster.

        Args:
            cluster: A known cluster.
            given: Password, private key or password of sudo, and the login name that they are for.
            fingerprint: Of the private key.

        Raises:
            RefusedError: There is no key to seal it with, or nothing to be kept.
            StoreError: It can't be written.
        """
        sealer = self.check(given)
        secret = {name: getattr(given, name) for name in _SECRET if getattr(given, name)}
        sealed = sealer.seal(_owner(cluster), json.dumps(secret))
        login = KeptLogin(cluster, given.user, ",".join(secret), sealed, fingerprint, 0.0)
        return self._records.save(login)

    def check(self, given: Credentials) -> Sealer:
        """Return what seals a login; raises RefusedError when it can't be kept."""
        if self._sealer is None:
            raise RefusedError(
                "A login is kept only when it can be sealed, and the service has no file of secret keys.",
                "Set SLURMSCALE_SECRET_KEY_FILE, or give the login with each request.",
            )
        if not any(getattr(given, name) for name in _SECRET):
            raise RefusedError("There is nothing to be kept.", "Give a password or a private key.")
        return self._sealer

    def about(self, cluster: str) -> KeptLogin | None:
        """Return what is kept of a cluster; None when nothing is."""
        return self._records.find(cluster)

    def clusters(self) -> frozenset[str]:
        """Return the clusters of which a login is kept."""
        return frozenset(login.cluster for login in self._records.all())

    def forget(self, cluster: str) -> bool:
        """Remove what is kept of a cluster; returns whether there was something."""
        return self._records.remove(cluster)

    def with_login(self, cluster: Cluster) -> Cluster:
        """Return a cluster with the login that is kept of it, if there is one.

        Raises:
            RefusedError: It was sealed with a key that is not there.
        """
        kept = self._records.find(cluster.name) if self._sealer is not None else None
        if kept is None or self._sealer is None:
            return cluster
        secret = json.loads(self._sealer.open(_owner(cluster.name), kept.sealed))
        if "private_key" in secret:
            secret["private_key_file"] = None
        login = dataclasses.replace(cluster.credentials, user=kept.user or cluster.credentials.user, **secret)
        return dataclasses.replace(cluster, credentials=login)

    def reseal(self) -> int:
        """Seal all anew with the first key.

        Returns:
            How many.

        Raises:
            RefusedError: One was sealed with a key that is not there.
        """
        done = 0
        for kept in self._records.all() if self._sealer is not None else ():
            owner = _owner(kept.cluster)
            sealed = self._sealer.seal(owner, self._sealer.open(owner, kept.sealed))  # type: ignore[union-attr] # there is one
            done += self._records.replace_sealed(kept, sealed)
        return done


def _owner(cluster: str) -> str:
    """Return whose secrets they are; no run has such an id."""
    return f"cluster {cluster}"
