"""Runs the application until the process is told to stop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
from typing import TYPE_CHECKING

import structlog
import uvicorn

from slurmscale.errors import RefusedError
from slurmscale.service.app import create_app
from slurmscale.service.processes.open_library import opened
from slurmscale.service.stream.websocket import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from slurmscale.scaling import Scaling
    from slurmscale.service.settings import ServiceSettings
    from slurmscale.service.stream.stream import Stream
    from slurmscale.settings import Settings

log = structlog.get_logger(__name__)

_CLOSING_SECONDS = 10
_BACKLOG = 2048
_SILENT_MILLISECONDS = 60_000


def serve(library: Settings, config: ServiceSettings, *, insecure: bool) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        library: Settings of the library.
        config: Settings of the service.
        insecure: Listen also on an address that other machines reach, without TLS and without a proxy that has it.

    Raises:
        RefusedError: The address is open to others, or in use, or another process serves this database.
    """
    if config.is_open and not (insecure or config.trusted_proxies):
        raise RefusedError(
            f"Other machines reach {config.host}, and passwords would cross the network as they are.",
            "Put a proxy with TLS in front and name it in SLURMSCALE_TRUSTED_PROXIES, or say --insecure.",
        )
    with _listening(config) as listener, opened(library, config) as scaling, _alone(scaling):
        server = Server(create_app(scaling, config), config)
        # uvicorn raises the signals again when it has ended, and they would end this process before it has closed all
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        host, port = listener.getsockname()[:2]
        log.info("serving", url=f"http://{f'[{host}]' if ':' in host else host}:{port}{config.root_path}/")
        server.run(sockets=[listener])
    log.info("stopped")


class Server(uvicorn.Server):
    """The server of an application.

    Args:
        app: The application.
        config: Settings of the service.
    """

    def __init__(self, app: FastAPI, config: ServiceSettings) -> None:
        self._stream: Stream = app.state.stream
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                log_config=None,
                root_path=config.root_path,
                server_header=False,
                proxy_headers=bool(config.trusted_proxies),
                forwarded_allow_ips=list(config.trusted_proxies),
                timeout_graceful_shutdown=_CLOSING_SECONDS,
                ws_max_size=MOST_BYTES,
                # with hundreds of viewers it takes more memory and time than it saves
                ws_per_message_deflate=False,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve."""
        for listener in sockets or ():
            # asyncio sets it only where a socket names its protocol; else the end of an answer waits up to 40 ms, until
            # the caller has acknowledged its beginning
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; those who watch are told first, else they would be waited for."""
        self._stream.sessions.close()
        await super().shutdown(sockets)


@contextlib.contextmanager
def _listening(config: ServiceSettings) -> Iterator[socket.socket]:
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        listener = socket.create_server((config.host, config.port), family=family, backlog=_BACKLOG)
    except OSError as exc:
        raise RefusedError(
            f"{config.host} port {config.port} cannot be listened on: {exc.strerror}.",
            "Choose another address with --host and --port.",
        ) from exc
    with listener:
        # who takes nothing of what it is sent for so long is cut off, also when it lives
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_MILLISECONDS)
        yield listener


@contextlib.contextmanager
def _alone(scaling: Scaling) -> Iterator[None]:
    """Keep a second process off a database of SQLite."""
    url = scaling.store.engine.url
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    with os.fdopen(os.open(f"{url.database}-serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise RefusedError(
                f"Another process serves the database {url.database}.",
                "Stop it, or use PostgreSQL (SLURMSCALE_DATABASE_URL), which many processes may serve.",
            ) from exc
        yield
