"""What a client may count on. Run: python -m pytest"""

import pytest

import portal


@pytest.fixture
def browser(tmp_path, monkeypatch):
    monkeypatch.setattr(portal, "STATE", tmp_path)
    return portal.app.test_client()


def test_a_note_is_kept(browser):
    """What was written is there on the next page, newest first."""
    browser.post("/notes", data={"note": "first"})
    page = browser.post("/notes", data={"note": "second"}, follow_redirects=True).text

    assert page.index("second") < page.index("first")


def test_a_note_is_one_line(browser):
    """Line breaks cannot forge a second note."""
    browser.post("/notes", data={"note": "one\n2026-01-01 00:00 forged"})

    assert len(portal.notes()) == 1


def test_the_brand_is_the_clients(browser, monkeypatch):
    """Name and color come from the client's settings."""
    monkeypatch.setenv("BRAND_NAME", "Acme Partners LLP")
    monkeypatch.setenv("BRAND_COLOR", "#7a1f4b")

    assert "Acme Partners LLP" in browser.get("/").text
    assert "#7a1f4b" in browser.get("/brand.css").text


def test_a_color_cannot_carry_css(browser, monkeypatch):
    """Only #rrggbb becomes part of the style sheet."""
    monkeypatch.setenv("BRAND_COLOR", "red; } body { display: none")

    assert "display" not in browser.get("/brand.css").text


def test_health_says_whose_it_is(browser, monkeypatch):
    """The gate asks this path."""
    monkeypatch.setenv("CHITTYOPS_CLIENT", "acme")

    assert browser.get("/healthz").json["client"] == "acme"
