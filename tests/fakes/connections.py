"""Watches what the product must never do: wait for a connection to the database while it has one."""

from __future__ import annotations

import threading
import traceback
import weakref
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection


@pytest.fixture(autouse=True)
def one_connection_for_each_thread() -> Iterator[None]:
    """Fail when a thread takes a second connection of an engine: as soon as a pool's worth of threads do, all wait."""
    taken: dict[tuple[int, int], weakref.WeakSet[Connection]] = defaultdict(weakref.WeakSet)
    second: list[str] = []

    def watch(connection: Connection) -> None:
        mine = taken[threading.get_ident(), id(connection.engine.pool)]
        if any(not one.closed for one in mine):
            second.append("".join(traceback.format_stack(limit=12)[:-1]))
        mine.add(connection)

    event.listen(Engine, "engine_connect", watch)
    yield
    event.remove(Engine, "engine_connect", watch)
    assert not second, second[0]
