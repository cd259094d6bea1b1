"""Finds the parts of the service, which may not be installed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from slurmscale.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
