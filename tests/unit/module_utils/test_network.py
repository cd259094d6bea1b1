"""Looking at the network from a machine, against real sockets of this one."""

from __future__ import annotations

import http.server
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.node import network
from ansible_collections.ai_infra.slurm.plugins.modules import slurm_cluster_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_address[1]
        running.shutdown()


@pytest.fixture
def closed() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know no nobody.invalid at once: a machine's name server may take longer to say so than the probe waits."""
    resolve = socket.getaddrinfo

    def answer(name: str, *arguments: Any, **options: Any) -> list[Any]:
        if name == "nobody.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.usefixtures("unknown_name")
def test_everything_is_looked_at_in_one_go(server: int, closed: int) -> None:
    names = ["localhost", "nobody.invalid"]
    targets = [f"127.0.0.1:{server}", f"127.0.0.1:{closed}", f"nobody.invalid:{server}"]
    urls = [f"http://127.0.0.1:{server}/healthz", f"http://127.0.0.1:{server}/none", f"http://127.0.0.1:{closed}/"]
    found = network.NetworkProbe(names, targets, urls, timeout=3).result()
    assert found["resolve"]["localhost"]
    assert found["resolve"]["nobody.invalid"] == []
    assert [found["connect"][target]["state"] for target in targets] == ["open", "refused", "unresolved"]
    assert [found["urls"][url]["ok"] for url in urls] == [True, False, False]
    assert "404" in found["urls"][urls[1]]["message"]
    assert "refused" in found["urls"][urls[2]]["message"]


def test_a_resolver_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: (released.wait(60), [])[1])
    found = network.NetworkProbe(["slow"], ["slow:1"], timeout=0.2).result()
    released.set()
    assert found["resolve"] == {"slow": []}
    assert found["connect"]["slow:1"]["state"] == "filtered"


def test_the_names_of_a_whole_cluster_are_resolved_by_some_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    names, resolvers = [f"n{number}" for number in range(500)], set()

    def answer(name: str, *_arguments: Any, **_options: Any) -> list[Any]:
        resolvers.add(threading.get_ident())
        return [(0, 0, 0, "", (f"192.0.2.{name[1:]}", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    found = network.NetworkProbe(names).result()["resolve"]
    assert found == {name: [f"192.0.2.{name[1:]}"] for name in names}
    assert len(resolvers) <= 32


def test_a_port_that_gives_no_answer_is_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_arguments: Any, **_options: Any) -> None:
        raise socket.timeout  # noqa: UP041 - what Python 3.8 raises

    monkeypatch.setattr(socket, "create_connection", silent)
    assert network.connect("127.0.0.1:1", 2) == {"state": "filtered", "message": "no answer within 2 s"}


def test_a_proxy_is_used_when_stated_and_the_environments_is_not(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert network.fetch(f"http://127.0.0.1:{server}/healthz", 3)["ok"]
    assert not network.fetch(f"http://127.0.0.1:{server}/healthz", 3, "http://127.0.0.1:1")["ok"]


def test_the_controller_looks_at_the_network_only(run_module: Callable[..., dict[str, Any]], closed: int) -> None:
    result = run_module(slurm_cluster_info, resolve=["localhost"], connect=[f"127.0.0.1:{closed}"])
    assert "cluster" not in result
    assert result["network"]["connect"][f"127.0.0.1:{closed}"]["state"] == "refused"


def test_a_peer_is_another_machine_by_a_name_that_resolves_else_by_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"me": ["127.0.1.1"], "ctl1": ["10.0.0.2", "10.1.0.2"]}
    monkeypatch.setattr(network, "resolve", lambda name: known.get(name, []))
    monkeypatch.setattr(network, "connect", lambda _target, _timeout: {"state": "open", "message": ""})
    assert network.NetworkProbe(["gone", "me", "ctl1"], ["10.2.0.2:6817"]).peer() == "10.0.0.2"
    assert network.NetworkProbe(["gone", "me"], ["ctl1:6817", "10.2.0.2:6817"]).peer() == "10.2.0.2"
    assert network.NetworkProbe(["gone"]).peer() == ""
