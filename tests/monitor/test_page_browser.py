"""The status page in a real browser: nothing is too wide, nothing is fetched, axe finds nothing.

Needs Debian's `chromium` and the packages `playwright` and `axe-playwright-python` (it carries
axe-core); Playwright drives the browser that is there and downloads none.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from chittyops_core.monitor.page import Brand, Logo, Page, respond
from status_page import hostile_page, page_in_trouble, page_that_is_well

CHROMIUM = shutil.which("chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")
if CHROMIUM is None:
    pytest.skip("the browser chromium is missing", allow_module_level=True)

SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect width="9" height="9"/></svg>'
)
PAGES: dict[str, Callable[[], Page]] = {
    "trouble": page_in_trouble,
    "well": lambda: page_that_is_well(Brand("#ffee00", Logo("image/svg+xml", SVG))),
    "hostile": lambda: hostile_page("<b>W</b>" + "W" * 300),
}
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@contextmanager
def served(page: Page) -> Iterator[str]:
    """Serve *page* on a port of this machine, as the agent does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            response = respond(
                self.command, address.path, address.query, dict(self.headers), lambda: page
            )
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


@contextmanager
def opened(browser: Any, address: str, **how: Any) -> Iterator[Any]:
    """Open *address*; afterwards nothing was complained about and nothing else was asked for."""
    told: list[str] = []
    asked: list[str] = []
    context = browser.new_context(**how)
    tab = context.new_page()
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    yield tab
    context.close()
    assert not told
    assert [url for url in asked if not url.startswith("data:")] == [address]


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
@pytest.mark.parametrize("kind", PAGES)
def test_nothing_is_wider_than_the_screen(browser: Any, kind: str, width: int) -> None:
    """WCAG 2.1, 1.4.10 asks for 320 px; a name of 300 letters is broken and not pushed out."""
    with served(PAGES[kind]()) as root:
        how = {"viewport": {"width": width, "height": 800}}
        with opened(browser, f"{root}/", **how) as tab:
            too_wide = tab.evaluate(
                "() => [...document.querySelectorAll('body *:not(svg *)')].filter(e => {"
                " const b = e.getBoundingClientRect();"
                " return b.width && b.right > innerWidth + 1 && !e.closest('.bars')"
                " }).map(e => e.outerHTML.slice(0, 80))"
            )
            assert tab.evaluate("document.documentElement.scrollWidth") <= width

    assert too_wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("path", "width"), [("/", 360), ("/", 1280), ("/incidents/slow", 360), ("/nowhere", 360)]
)
def test_axe_finds_nothing(browser: Any, path: str, width: int, scheme: str) -> None:
    """WCAG 2.1 A and AA and axe's best practices, in both schemes."""
    axe = pytest.importorskip(
        "axe_playwright_python", reason="the package axe-playwright-python is missing"
    )
    source = resources.files(axe).joinpath("axe.min.js").read_text()
    with served(page_in_trouble()) as root:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
        tab = context.new_page()
        tab.goto(root + path)
        tab.evaluate(source)
        found = tab.evaluate("tags => axe.run({runOnly: tags})", TAGS)
        context.close()

    assert [(one["id"], [n["html"] for n in one["nodes"]]) for one in found["violations"]] == []
    assert len(found["passes"]) > 15


def test_a_narrow_screen_shows_thirty_days_and_a_wide_one_ninety(browser: Any) -> None:
    """The bars that are left out are cut off on the left, so that today is always there."""
    count = (
        "() => { const box = document.querySelector('.bars').getBoundingClientRect();"
        " return [...document.querySelectorAll('.bars')[0].querySelectorAll('rect')].filter(r =>"
        " r.getBoundingClientRect().left >= box.left - 1).length }"
    )
    with served(page_that_is_well()) as root:
        for width, expected, words in ((360, 30, "30 days ago"), (1280, 90, "90 days ago")):
            how = {"viewport": {"width": width, "height": 800}}
            with opened(browser, f"{root}/", **how) as tab:
                assert tab.evaluate(count) == expected
                assert words in tab.inner_text(".foot")


def test_the_keyboard_reaches_the_content_first_and_focus_is_seen(browser: Any) -> None:
    """WCAG 2.1, 2.4.1 and 2.4.7."""
    with served(page_in_trouble()) as root:
        with opened(browser, f"{root}/") as tab:
            tab.keyboard.press("Tab")
            focused = tab.evaluate(
                "() => { const e = document.activeElement, b = e.getBoundingClientRect();"
                " return [e.textContent, b.left >= 0, getComputedStyle(e).outlineStyle] }"
            )

    assert focused == ["Skip to content", True, "solid"]


def test_the_style_is_accepted_and_a_strangers_is_not(browser: Any) -> None:
    """The hash of the policy fits; what a name could smuggle in is refused by the browser too."""
    with served(page_in_trouble()) as root:
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(f"{root}/")
        border = tab.evaluate("getComputedStyle(document.body).borderTopWidth")
        tab.evaluate(
            "() => { const s = document.createElement('style');"
            " s.textContent = 'body{border-top-width:9px}'; document.head.append(s) }"
        )
        after = tab.evaluate("getComputedStyle(document.body).borderTopWidth")
        context.close()

    assert (border, after) == ("4px", "4px")


def test_paper_is_white_also_for_who_reads_in_the_dark(browser: Any) -> None:
    """Printing takes the light scheme, and no skip link."""
    with served(page_in_trouble()) as root:
        with opened(browser, f"{root}/", color_scheme="dark") as tab:
            tab.emulate_media(media="print", color_scheme="dark")
            colours = tab.evaluate(
                "() => [getComputedStyle(document.querySelector('.card')).backgroundColor,"
                " getComputedStyle(document.querySelector('.skip')).display]"
            )

    assert colours == ["rgb(255, 255, 255)", "none"]
