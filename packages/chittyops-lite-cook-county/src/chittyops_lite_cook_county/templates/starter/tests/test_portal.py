"""What a visitor and an auditor may count on. Run: python -m pytest"""

import os

import pytest

os.environ.setdefault("SECRET_KEY", "only-for-tests")

from portal import app


@pytest.fixture
def browser():
    return app.test_client()


def test_a_known_case_is_found(browser):
    """A case number leads to its title and its next date."""
    page = browser.get("/?case=2026-ch-000123").text

    assert "Smith v. Example Transit" in page


def test_an_unknown_case_says_so(browser):
    """A well-formed number without a case is told apart from a malformed one."""
    assert "No case has this number" in browser.get("/?case=2026-CH-999999").text
    assert "looks like" in browser.get("/?case=<script>").text


def test_input_is_escaped(browser):
    """What was typed never becomes markup."""
    assert "<script>" not in browser.get("/?case=<script>").text.replace("&lt;", "")


@pytest.mark.parametrize("header", ["Content-Security-Policy", "X-Frame-Options"])
def test_every_answer_has_its_headers(browser, header):
    """Errors too."""
    assert header in browser.get("/nowhere").headers


def test_the_session_cookie_is_guarded(browser):
    """Secure, HttpOnly and SameSite."""
    cookie = browser.get("/").headers["Set-Cookie"]

    assert all(flag in cookie for flag in ("Secure", "HttpOnly", "SameSite=Lax"))


def test_health_says_ok(browser):
    """The gate asks this path."""
    assert browser.get("/healthz").json["status"] == "ok"
