"""AppHubs: whether each answers, and what a check finds."""

from __future__ import annotations

import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from slurmscale.models import Cluster
from slurmscale.operations import Operation

from .recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .service import Service
    from .visitor import Visitor

LOOK = (("checking", "", "Check the servers"),)
GONE = {
    "where": "http://apphub:8081", "check": "files", "subject": "munge_0.5.16-1_amd64.deb", "ok": False,
    "code": "apphub-file-missing", "reason": "HTTP 404 Not Found.", "remedy": "Publish again.",
}  # fmt: skip
WELL = GONE | {"check": "key", "subject": "signing key", "ok": True, "code": "", "reason": "as published", "remedy": ""}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def apphub() -> Iterator[str]:
    """Yield the address of a server that answers."""
    server = HTTPServer(("127.0.0.1", 0), _Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_each_apphub_is_up_or_says_why_not(visit: Callable[..., Visitor], service: Service, apphub: str) -> None:
    store = service.scaling.store
    store.remove_cluster("lab")
    store.save_cluster(Cluster("lab", controller="ctl1", apphub_urls=(apphub, "http://127.0.0.1:9")))
    visitor = visit("vera", "slurm/apphub")
    rows = visitor.page.get_by_role("table", name="AppHub").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text=apphub)).to_contain_text("up")
    expect(rows.filter(has_text="127.0.0.1:9")).to_contain_text("refused")
    expect(visitor.button("Check AppHub")).to_have_count(0)  # a viewer may not


@pytest.mark.parametrize("service", [["n1"]], indirect=True)
def test_a_check_shows_what_is_wrong_first(visit: Callable[..., Visitor], service: Service) -> None:
    check = service.recordings[Operation.CHECK_APPHUB] = Recording(LOOK, report={"findings": [GONE, WELL]})
    gate = check.wait_before(0)
    visitor = visit("otto", "slurm/apphub")
    expect(visitor.find(".empty")).to_contain_text("A check finds those of its inventory.")
    visitor.button("Check AppHub").click()
    expect(visitor.find("main").get_by_role("progressbar")).to_be_visible()
    expect(visitor.button("Check AppHub")).to_be_disabled()
    gate.set()
    rows = visitor.page.get_by_role("table", name="What was found").locator("tbody tr")
    expect(rows).to_have_count(2)
    for text in (*(GONE[name] for name in ("where", "subject", "code", "reason", "remedy")),):
        expect(rows.first).to_contain_text(str(text))
    expect(visitor.find("main")).to_contain_text("1 of 2 checks found something wrong.")
    expect(visitor.button("Check AppHub")).to_be_enabled()


@pytest.mark.parametrize("service", [["n1"]], indirect=True)
def test_a_check_that_could_not_be_made_says_why(visit: Callable[..., Visitor], service: Service) -> None:
    why = {"code": "host-unreachable", "reason": "apphub does not answer.", "remedy": "Check its address."}
    service.recordings[Operation.CHECK_APPHUB] = Recording(LOOK, {"ctl": (0, why)})
    visitor = visit("otto", "slurm/apphub")
    visitor.button("Check AppHub").click()
    expect(visitor.find("main .notice")).to_contain_text("Check its address.")
