"""What a customer may count on. Run: python -m pytest"""

import pytest

import shop


@pytest.fixture
def browser(tmp_path, monkeypatch):
    monkeypatch.setattr(shop, "STATE", tmp_path)
    return shop.app.test_client()


def test_the_shelf_is_shown(browser):
    """Every article with its price."""
    page = browser.get("/").text

    assert "Rye bread" in page and "$4.20" in page


def test_an_order_is_kept(browser):
    """It is counted on the next page."""
    page = browser.post("/orders", data={"article": "Plum jam"}, follow_redirects=True).text

    assert "ordered 1 times" in page


def test_an_unknown_article_is_refused(browser):
    """Only what is on the shelf can be ordered."""
    assert browser.post("/orders", data={"article": "' OR 1=1 --"}).status_code == 404


def test_health_asks_the_database(browser):
    """A shop that cannot read its file is not well."""
    assert browser.get("/healthz").json["status"] == "ok"
