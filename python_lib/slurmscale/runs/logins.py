"""Logins that are kept: sealed with the secret keys of the service, and opened where a run begins.

A cluster has one of its own, for all that is asked of it, and any number of others, which requests name by their id for
the nodes that they name.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from typing import TYPE_CHECKING

from slurmscale.errors import RefusedError
from slurmscale.inventory.names import check_credentials, shown
from slurmscale.models import Credentials
from slurmscale.store.logins import KeptLogin, Logins

if TYPE_CHECKING:
    from slurmscale.models import Cluster
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
        """Keep the login of a cluster in place of the one before, whose id it takes over.

        Args:
            cluster: A known cluster.
            given: Password, private key or password of sudo, and the login name that they are for.
            fingerprint: Of the private key.

        Raises:
            RefusedError: There is no key to seal it with, or nothing to be kept.
            StoreError: It can't be written.
        """
        known = self._records.find(cluster)
        return self._save(known.id if known else _new_id(), cluster, given, fingerprint, for_cluster=True)

    def add(self, cluster: str, given: Credentials, fingerprint: str = "") -> KeptLogin:
        """Keep a login that requests name by its id; parameters as in `keep`."""
        return self._save(_new_id(), cluster, given, fingerprint, for_cluster=False)

    def _save(
        self, login_id: str, cluster: str, given: Credentials, fingerprint: str, *, for_cluster: bool
    ) -> KeptLogin:
        sealer = self.check(given)
        secret = {name: getattr(given, name) for name in _SECRET if getattr(given, name)}
        login = KeptLogin(login_id, cluster, given.user, ",".join(secret), "", fingerprint, for_cluster)
        return self._records.save(login._replace(sealed=sealer.seal(_owner(login), json.dumps(secret))))

    def check(self, given: Credentials) -> Sealer:
        """Return what seals a login; raises RefusedError when it can't be kept."""
        check_credentials(given)
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

    def all(self) -> list[KeptLogin]:
        """Return all that are kept, by cluster, the oldest first."""
        return self._records.all()

    def named(self, login_id: str) -> KeptLogin | None:
        """Return the one of an id; None when there is none."""
        return self._records.named(login_id)

    def remove(self, login: KeptLogin) -> bool:
        """Remove one; returns whether it was still there."""
        return self._records.remove(login.id)

    def with_login(self, cluster: Cluster) -> Cluster:
        """Return a cluster with the login that is kept of it, if there is one.

        Raises:
            RefusedError: It was sealed with a key that is not there.
        """
        kept = self._records.find(cluster.name) if self._sealer is not None else None
        if kept is None or self._sealer is None:
            return cluster
        secret = json.loads(self._sealer.open(_owner(kept), kept.sealed))
        if "private_key" in secret:
            secret["private_key_file"] = None
        login = dataclasses.replace(cluster.credentials, user=kept.user or cluster.credentials.user, **secret)
        return dataclasses.replace(cluster, credentials=login)

    def opened(self, cluster: str, login_id: str | None) -> Credentials:
        """Return what a request of a cluster names by its id; empty credentials when it names none.

        Raises:
            RefusedError: The cluster has no such login, or it can't be opened.
        """
        if login_id is None:
            return Credentials()
        kept = self._records.named(login_id)
        if kept is None or kept.cluster != cluster:
            raise RefusedError(
                f"No credential {shown(login_id)} of cluster {cluster} is kept.",
                "Name another one, or give the login with the request.",
                code="credentials-needed",
            )
        if self._sealer is None:
            raise RefusedError(
                f"The credential {kept.id} is sealed, and there is no file of secret keys.",
                "Set SLURMSCALE_SECRET_KEY_FILE, or give the login with the request.",
                code="credentials-needed",
            )
        return Credentials(user=kept.user, **json.loads(self._sealer.open(_owner(kept), kept.sealed)))

    def reseal(self) -> int:
        """Seal all anew with the first key.

        Returns:
            How many.

        Raises:
            RefusedError: One was sealed with a key that is not there.
        """
        done = 0
        for kept in self._records.all() if self._sealer is not None else ():
            owner = _owner(kept)
            sealed = self._sealer.seal(owner, self._sealer.open(owner, kept.sealed))  # type: ignore[union-attr] # there is one
            done += self._records.replace_sealed(kept, sealed)
        return done


def _owner(login: KeptLogin) -> str:
    """Return whose secrets they are; no run has such an id."""
    return f"cluster {login.cluster}" if login.for_cluster else f"credential {login.id} of cluster {login.cluster}"


def _new_id() -> str:
    return secrets.token_hex(8)
