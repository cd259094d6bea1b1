"""Downloads from servers that answer without end, or lead away from https."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Handler(http.server.BaseHTTPRequestHandler):
    """Announces a size, or none, and sends without end."""

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/announced":
            self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 16))

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http_client.Server]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.daemon_threads = True
        threading.Thread(target=served.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{served.server_address[1]}"
        yield http_client.Server({"url": url, "timeout": 5, "ca": "", "login": "", "proxy": ""})
        served.shutdown()


@pytest.mark.parametrize("path", ["announced", "unannounced"])
def test_an_answer_without_end_is_cut_off(server: http_client.Server, path: str) -> None:
    for download in (server.get, server.measure):
        with pytest.raises(FailureError, match="larger than 1 MB") as raised:
            download(path, 1 << 20)
        assert raised.value.failure.code is Code.APPHUB_LIMIT_EXCEEDED


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(FailureError) as raised:
        http_client.Server({"url": "file:///etc/passwd", "timeout": 5, "ca": "", "login": "", "proxy": ""})
    assert raised.value.failure.code is Code.APPHUB_ADDRESS_INVALID
