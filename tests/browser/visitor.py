"""Somebody with a browser window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

    from .service import Service

COOKIE = "__Host-slurmscale"
# Generous: the machine may be busy. What is there already does not wait.
expect.set_options(timeout=60_000)
_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


class Visitor:
    """A window of a browser, and what happens in it that must never happen.

    Args:
        browser: The browser.
        service: The service that it looks at.
        context: Further options of the window.
    """

    def __init__(self, browser: Browser, service: Service, **context: Any) -> None:
        self.service = service
        self.context = browser.new_context(**{"locale": "en-GB", "reduced_motion": "reduce"} | context)
        self.context.set_default_timeout(60_000)
        self.context.add_init_script(_NOTE_VIOLATIONS)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.allowed = [service.url]
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._requested(request.url))

    def _requested(self, url: str) -> None:
        if not url.startswith((*self.allowed, *(one.replace("http", "ws", 1) for one in self.allowed))):
            self.foreign.append(url)

    def sign_in(self, name: str) -> None:
        """Have the cookie of a user who is signed in."""
        user = self.service.accounts.find_user(name)
        self.session, self.token = self.service.accounts.new_session(user, 1)
        self.context.add_cookies(
            [{"name": COOKIE, "value": self.session, "url": self.service.url.replace("http", "https"), "secure": True}]
        )

    def go(self, path: str) -> None:
        """Open an address of the service."""
        self.page.goto(f"{self.service.url}/{path}")

    def find(self, selector: str, **more: Any) -> Locator:
        """Return what a selector finds."""
        return self.page.locator(selector, **more)

    def button(self, name: str) -> Locator:
        """Return the button of a name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def heading(self, text: str) -> None:
        """Wait for a view."""
        expect(self.page.get_by_role("heading", level=1)).to_contain_text(text)

    def close(self) -> None:
        """Close the window, and complain of what must not happen."""
        violations = self.page.evaluate("window.violations")
        self.context.close()
        assert (violations, self.errors, self.foreign) == ([], [], [])
