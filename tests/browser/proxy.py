"""A proxy that publishes a service under a path, and breaks WebSockets as many do."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .service import Service

PREFIX = "/hpc"


class Proxy(ThreadingHTTPServer):
    """The proxy.

    Args:
        service: What it publishes.
    """

    daemon_threads = True

    def __init__(self, service: Service) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service
        self.refused = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where the service is for browsers."""
        return f"http://127.0.0.1:{self.server_port}{PREFIX}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def _pass_on(self) -> None:
        if self.headers.get("Upgrade"):
            self.server.refused += 1
            self.send_error(502)
            return
        if not self.path.startswith(PREFIX + "/"):
            self.send_error(404)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.service.port)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        upstream.request(self.command, self.path.removeprefix(PREFIX), body, dict(self.headers))
        answer = upstream.getresponse()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while part := answer.read1(65_536):
                self.wfile.write(part)
                self.wfile.flush()
        except OSError:
            pass  # the browser went away, or the service did
        finally:
            upstream.close()

    do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815 - the names that the library calls

    def log_message(self, *_: object) -> None:
        """Say nothing."""
