"""Seals the secrets of runs with the secret keys of the service."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from slurmscale.errors import Code, RefusedError
from slurmscale.service.access.keys import derive, read_keys

if TYPE_CHECKING:
    from slurmscale.service.settings import ServiceSettings
    from slurmscale.settings import Settings
    from slurmscale.store.repository import Store

_TABLE = "run_secrets"


class RunSealer:
    """Seals with the first of some keys, and opens with any.

    Args:
        keys: The secret keys.
    """

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in derive(keys, _TABLE)])

    def seal(self, owner: str, text: str) -> str:
        """Seal a text that belongs to a run, or to a cluster: it can be opened for nothing else."""
        return self._fernet.encrypt(json.dumps([_TABLE, owner, text]).encode()).decode()

    def open(self, owner: str, sealed: str) -> str:
        """Return a text that was sealed for a run or a cluster.

        Raises:
            RefusedError: It was sealed with another key, or for something else.
        """
        try:
            table, sealed_for, text = json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            table = sealed_for = text = None
        if (table, sealed_for) != (_TABLE, owner):
            raise RefusedError(
                f"The secrets of {owner} were sealed with another key.",
                "Put that key back into the secret key file, behind the new one.",
                code=Code.REQUEST_INVALID,
            )
        return str(text)


def sealer(config: ServiceSettings, library: Settings) -> RunSealer | None:
    """Return what seals secrets; None without a key file: a key that lies beside the database protects nothing in it.

    Raises:
        RefusedError: The file can't be used.
    """
    if config.secret_key_file is None:
        return None
    return RunSealer(read_keys(config.secret_key_file, library.data_dir))


def rotate(store: Store, sealer: RunSealer) -> int:
    """Seal all secrets anew with the first key.

    Returns:
        How many.

    Raises:
        RefusedError: Some were sealed with a key that is not there.
    """
    done = 0
    for run_id, sealed in store.run_secrets().items():
        done += store.replace_run_secret(run_id, sealed, sealer.seal(run_id, sealer.open(run_id, sealed)))
    return done
