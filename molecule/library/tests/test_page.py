"""Two real nodes are added and removed by clicks in a browser."""

from __future__ import annotations

import shutil
import threading
import time
from typing import TYPE_CHECKING

import pytest
import uvicorn
from argon2 import PasswordHasher
from playwright.sync_api import expect, sync_playwright
from slurmscale.models import Cluster
from slurmscale.service.access.accounts import Accounts
from slurmscale.service.access.permissions import Role
from slurmscale.service.app import create_app
from slurmscale.service.settings import ServiceSettings
from testing import INVENTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page
    from slurmscale.scaling import Scaling
    from testinfra.host import Host

NODES = "rocky3,ubuntu3"
PASSWORD = "a password of twelve"  # noqa: S105 - made up
MINUTES = 10 * 60_000


@pytest.fixture
def page(scaling: Scaling) -> Iterator[Page]:
    """Yield the page of a service for the lab, as an operator sees it who has just signed in."""
    scaling.add_cluster(Cluster("lab", str(INVENTORY / "hosts.yml")))
    accounts = Accounts(scaling.store, PasswordHasher())
    accounts.add_user("otto", Role.OPERATOR, password=PASSWORD)
    app = create_app(scaling, ServiceSettings(), accounts)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.1)
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(locale="en-GB")
        page.set_default_timeout(60_000)
        page.goto(f"http://127.0.0.1:{port}/slurm")
        page.get_by_label("User").fill("otto")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        yield page
        browser.close()
    server.should_exit = True
    thread.join(30)


def ended_well(page: Page, operation: str) -> None:
    """Wait for the end of the run that the page shows."""
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{operation} rocky3,ubuntu3", timeout=60_000)
    expect(page.locator(".title .pill")).not_to_contain_text("running", timeout=MINUTES)
    expect(page.locator(".title .pill")).to_contain_text("completed")


def test_two_nodes_are_added_and_removed_by_clicks(page: Page, ctl1: Host) -> None:
    page.get_by_role("link", name="Add nodes").first.click()
    page.get_by_label("Nodes", exact=False).first.fill(NODES)
    page.get_by_role("button", name="Check readiness").click()
    page.get_by_role("button", name="Plan 2 nodes").click(timeout=MINUTES)
    page.get_by_role("button", name="Add 2 nodes").click(timeout=MINUTES)
    ended_well(page, "scale-up")
    states = f"sinfo --noheader --Node --nodes {NODES} --format %N=%T"
    assert ctl1.check_output(states).split() == ["rocky3=idle", "ubuntu3=idle"]
    page.get_by_role("link", name="Remove nodes").click()
    page.get_by_label("Nodes", exact=False).first.fill(NODES)
    page.get_by_label("Also uninstall").check()
    page.get_by_label("Type the number of nodes").fill("2")
    page.get_by_role("button", name="Remove 2 nodes").click()
    ended_well(page, "scale-down")
    assert ctl1.check_output(states) == ""
