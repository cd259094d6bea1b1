"""What the processes of a service have in common: the library as they open it, one process or many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmscale.errors import RefusedError
from slurmscale.scaling import Scaling
from slurmscale.service.access.sealing import sealer
from slurmscale.store.run_queue import RunQueue

if TYPE_CHECKING:
    from slurmscale.service.settings import ServiceSettings
    from slurmscale.settings import Settings


def opened(library: Settings, config: ServiceSettings) -> Scaling:
    """Open the library: on PostgreSQL with the queue through which workers get the runs.

    Args:
        library: Settings of the library.
        config: Settings of the service.

    Raises:
        RefusedError: The processes have no secret keys in common.
        StoreError: The database can't be opened.
    """
    if library.url.startswith("sqlite"):
        return Scaling(library, sealer=sealer(config, library))
    if config.secret_key_file is None:
        raise RefusedError(
            "All processes that use one PostgreSQL need the same secret keys.",
            "Put the same key file on each of their machines, and name it in SLURMSCALE_SECRET_KEY_FILE.",
        )
    return Scaling(library, sealer=sealer(config, library), make_queue=RunQueue)
