"""Whether the AppHubs of the known clusters answer.

Only addresses that an administrator gave a cluster are asked, without following to others, and nothing of the answer
but its status is told.
"""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from slurmscale.periodic import PeriodicCall
from slurmscale.service.outgoing import connection_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurmscale.scaling import Scaling

_SECONDS = 5.0
_PAUSE = 60.0
_AT_ONCE = 8
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What an AppHub answered.

    Attributes:
        url: Its address.
        up: Whether it answered as a server of files does.
        detail: What was found instead; empty when it is up.
    """

    url: str
    up: bool
    detail: str = ""


def ask(urls: Iterable[str]) -> list[Answer]:
    """Ask AppHubs, some at a time."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(_ask, sorted(set(urls))))


def _ask(url: str) -> Answer:
    try:
        where = urlsplit(url)
        with connection_to(where, _SECONDS) as connection:
            connection.request("HEAD", where.path or "/")
            status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as exc:
        return Answer(url, up=False, detail=str(exc) or type(exc).__name__)
    up = status < _SERVER_ERROR
    return Answer(url, up, "" if up else f"It answers with status {status}.")


class ApphubWatch(PeriodicCall):
    """Asks the AppHubs of all known clusters every minute, for the figures.

    Args:
        scaling: The library.
    """

    def __init__(self, scaling: Scaling) -> None:
        # an answer that is waited for keeps nobody from stopping
        super().__init__(self._look, _PAUSE, "apphubs", "the AppHubs are not known for the moment", join=False)
        self._scaling = scaling
        self.up: dict[str, bool] = {}
        """What was found last, by address."""

    def _look(self) -> None:
        urls = [url for cluster in self._scaling.store.clusters() for url in cluster.apphub_urls]
        self.up = {answer.url: answer.up for answer in ask(urls)}
