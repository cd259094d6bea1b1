"""Finds the parts of the service, which may not be installed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from slurmscale import settings
from slurmscale.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurmscale.runs.request import Sealer


def sealer() -> Sealer | None:
    """Return what opens the secrets that are kept; None without a file of keys.

    Raises:
        RefusedError: The service is not installed, or the file can't be used.
    """
    with service():
        from slurmscale.service.access import sealing  # noqa: PLC0415 - it may not be installed
        from slurmscale.service.settings import ServiceSettings  # noqa: PLC0415 - likewise
    return sealing.sealer(settings.read(ServiceSettings), settings.load())


@contextlib.contextmanager
def service() -> Iterator[None]:
    """Say what is missing when an import in this block fails.

    Raises:
        RefusedError: The service is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        raise RefusedError(
            f"slurmscale[service] is not installed: there is no {exc.name}.", "pip install 'slurmscale[service]'"
        ) from exc
