"""A real Chromium that looks at a real service, and what every page of it must keep to."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright
from slurmscale.store.repository import Store

from .service import Service
from .visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

_NO_BROWSER = "SLURMSCALE_TEST_WITHOUT_BROWSER"


# Of one file, not of the session: an event loop runs in this thread as long as the browser is there, and other tests
# of the same process start their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        if os.environ.get(_NO_BROWSER):
            pytest.skip(f"no Chromium here, and {_NO_BROWSER} is set")
        pytest.fail(
            "The page is tested in a browser, but there is no Chromium. Install Debian's package chromium,"
            f" or set {_NO_BROWSER}=1 to leave these tests out."
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database without records; making the tables takes longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "slurmscale.db"
    Store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def service(tmp_path: Path, empty_database: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    """Yield a service; a parameter names the nodes of its inventory."""
    shutil.copy(empty_database, tmp_path)
    service = Service(tmp_path, getattr(request, "param", ()))
    service.start()
    yield service
    service.close()


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Callable[..., Visitor]]:
    """Return a function that opens a browser window; what it must never do is looked at in the end."""
    visitors = []

    def visit(name: str | None = "ada", path: str = "slurm", **context: object) -> Visitor:
        visitor = Visitor(browser, service, **context)
        visitors.append(visitor)
        if name:
            visitor.sign_in(name)
        visitor.go(path)
        return visitor

    yield visit
    for visitor in visitors:
        visitor.close()
