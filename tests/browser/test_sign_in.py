"""Who may see the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from .service import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from .service import Service
    from .visitor import Visitor


def sign_in(visitor: Visitor, name: str, password: str) -> None:
    visitor.page.get_by_label("User").fill(name)
    visitor.page.get_by_label("Password").fill(password)
    visitor.button("Sign in").click()


def test_a_wrong_password_is_refused_and_the_right_one_leads_where_one_was_going(visit: Callable[..., Visitor]) -> None:
    visitor = visit(None, "slurm/runs")
    sign_in(visitor, "ada", "not her password")
    expect(visitor.page.get_by_role("alert")).to_contain_text("not right")
    expect(visitor.page.get_by_label("User")).to_have_value("ada")
    expect(visitor.page.get_by_label("Password")).to_have_value("")
    sign_in(visitor, "ada", PASSWORD)
    visitor.heading("Runs")
    cookies = visitor.context.cookies()
    assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]
    assert visitor.page.evaluate("JSON.stringify([localStorage, sessionStorage])") == "[{},{}]"


def test_a_session_that_ends_asks_to_sign_in_and_leads_back(visit: Callable[..., Visitor], service: Service) -> None:
    service.run("node01").wait(60)
    visitor = visit("ada", "slurm/runs")
    expect(visitor.find("tbody tr")).to_have_count(1)
    # the stream tells it at once
    service.accounts.tokens.remove(visitor.token.id)
    expect(visitor.page.get_by_role("status")).to_contain_text("Your session has ended.")
    sign_in(visitor, "ada", PASSWORD)
    visitor.heading("Runs")
    expect(visitor.find("tbody tr")).to_have_count(1)


def test_signing_out_ends_the_session(visit: Callable[..., Visitor], service: Service) -> None:
    visitor = visit()
    visitor.heading("Status")
    visitor.button("Sign out").click()
    expect(visitor.button("Sign in")).to_be_visible()
    assert service.accounts.holder(visitor.session) is None


def test_a_view_that_is_forbidden_names_the_permission(visit: Callable[..., Visitor]) -> None:
    visitor = visit("vera", "slurm/audit")
    expect(visitor.page.get_by_role("main")).to_contain_text("audit:read")
    expect(visitor.page.get_by_role("link", name="Audit")).to_have_count(0)
