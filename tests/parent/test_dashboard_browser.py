"""The dashboard in a real browser: axe, 360 pixels, hostile names, no script, live rows, keys.

Needs what the status page's browser tests need: Debian's `chromium`, `playwright` and
`axe-playwright-python`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from chittyops_core.parent import tally
from chittyops_core.parent.access import Role
from chittyops_core.parent.live import Change
from chittyops_core.parent.schema import child_state, session
from parent.dashboard_site import HOSTILE_CHILD, Site, site
from parent.fleet_data import child_id

CHROMIUM = shutil.which("chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")
if CHROMIUM is None:
    pytest.skip("the browser chromium is missing", allow_module_level=True)

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES = {"light": TAGS, "dark": ["color-contrast"]}
ALIKE = """() => document.querySelectorAll(
  'tbody tr:nth-child(n+7), .grid li:nth-child(n+5), .events li:nth-child(n+4)')
  .forEach(e => e.remove())"""
"""Leaves a few of the many that are alike, so that axe is quick."""
WIDE = """() => [...document.querySelectorAll(
  'main *:not(svg *, .unseen, thead *, thead, .rows *, #plot *)')]
  .filter(e => e.getBoundingClientRect().width
    && e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => location.pathname + ' ' + e.outerHTML.slice(0, 120))"""
ONE = f"/children/{child_id(1)}"
METRIC = "metric=host.cpu.used.percent"
EMPTY_PAGES = ("/", "/services", "/activity", "/tokens", "/account", "/nowhere")
LOADED_PAGES = (
    "/", "/?q=web&status=operational&kind=chitty-apps", ONE, f"{ONE}?{METRIC}&range=7d",
    f"/children/{HOSTILE_CHILD}", f"{ONE}/revoke", "/services", "/activity", "/tokens",
    "/operators",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A parent without a child."""
    with site(tmp_path_factory.mktemp("empty")) as made:
        yield made


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A parent with 150 children, one of them hostile."""
    with site(tmp_path_factory.mktemp("loaded"), children=150, sampled=3) as made:
        yield made


@contextmanager
def signed_in(browser: Any, site: Site, role: Role = Role.ADMIN, **how: Any) -> Iterator[Any]:
    """Open a tab of an operator; afterwards nothing was complained about or asked of others."""
    told: list[str] = []
    asked: list[str] = []
    context = browser.new_context(**how)
    context.add_cookies([site.cookie(role)])
    tab = context.new_page()
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("dialog", lambda dialog: told.append(f"dialog {dialog.message}"))
    yield tab
    context.close()
    assert [text for text in told if "404" not in text] == []
    assert [url for url in asked if not url.startswith(f"{site.url}/")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["empty", "loaded"])
def test_axe_finds_nothing_on_any_page(
    browser: Any, request: pytest.FixtureRequest, which: str, scheme: str
) -> None:
    """WCAG 2.2 A and AA and axe's best practices; in the dark the contrast, for the rest is alike.

    Nothing foreign is asked for, and the browser complains about nothing.
    """
    axe = pytest.importorskip(
        "axe_playwright_python", reason="the package axe-playwright-python is missing"
    )
    source = resources.files(axe).joinpath("axe.min.js").read_text()
    where = request.getfixturevalue(which)
    found = {}
    with signed_in(browser, where, color_scheme=scheme) as tab:
        for path in EMPTY_PAGES if which == "empty" else LOADED_PAGES:
            tab.goto(where.url + path)
            tab.evaluate(ALIKE)
            tab.evaluate(source)
            result = tab.evaluate("rules => axe.run({runOnly: rules})", RULES[scheme])
            found[path] = [
                (one["id"], node["html"][:200], node["failureSummary"][:300])
                for one in result["violations"] for node in one["nodes"]
            ]  # fmt: skip

    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_nothing_is_wider_than_a_phone(browser: Any, loaded: Site, empty: Site) -> None:
    """At 360 pixels nothing is cut off or pushed out, whatever names a child gives."""
    too_wide = []
    for where, pages in ((loaded, LOADED_PAGES), (empty, EMPTY_PAGES)):
        with signed_in(browser, where, viewport={"width": 360, "height": 780}) as tab:
            for path in pages:
                tab.goto(where.url + path)
                width = tab.evaluate("document.documentElement.scrollWidth")
                too_wide += tab.evaluate(WIDE)
                assert (path, width) == (path, 360)

    assert too_wide == []


def test_what_a_child_says_is_never_markup_cross_site_scripting_attack(
    browser: Any, loaded: Site
) -> None:
    """On every page that shows it, and in what a live page is sent."""
    with signed_in(browser, loaded) as tab:
        for path in (
            "/?q=hacked&state=any", f"/children/{HOSTILE_CHILD}?metric=a.percent",
            f"/children/{HOSTILE_CHILD}/revoke", "/services?q=board", "/services", "/tokens",
        ):  # fmt: skip
            tab.goto(loaded.url + path)
            loaded.parent.live.publish([Change(HOSTILE_CHILD, "status")])
            assert tab.evaluate("typeof hacked") == "undefined"
            assert tab.evaluate("() => [...document.scripts].filter(s => !s.src).length") == 0
            assert "{{7*7}}" not in tab.content() or "49" not in tab.title()
            assert (
                tab.evaluate(
                    "() => [...document.querySelectorAll('[href^=\"javascript:\"]')].length"
                )
                == 0
            )


def test_a_row_and_the_counts_change_while_the_page_is_open(browser: Any, loaded: Site) -> None:
    """By server-sent events: only what changed is replaced, and where one reads stays."""
    with signed_in(browser, loaded) as tab:
        tab.goto(f"{loaded.url}/?status=operational")
        tab.wait_for_selector("#live.on")
        row = tab.locator("[data-row]").nth(3)
        row.locator("a").focus()
        changed = row.get_attribute("id").removeprefix("c-")
        before = int(tab.inner_text("#n-status-major_outage"))

        def fail(writer: sa.Connection) -> None:
            c = child_state.c
            writer.execute(
                child_state.update().where(c.child == changed).values(status="major_outage")
            )
            tally.settle(writer, [changed])

        loaded.parent.database.write(fail)
        loaded.parent.live.publish([Change(changed, "status")])
        tab.wait_for_function(
            "id => document.getElementById('c-' + id).innerText.includes('Major outage')",
            arg=changed,
        )
        tab.wait_for_function(
            "n => document.getElementById('n-status-major_outage').innerText === n",
            arg=str(before + 1),
        )

        assert tab.evaluate("document.activeElement.closest('tr').id") == f"c-{changed}"
        assert tab.locator("[data-row]").nth(3).get_attribute("id") == f"c-{changed}"


def test_a_childs_page_is_true_while_it_is_open(browser: Any, loaded: Site) -> None:
    """Its head says what it says now."""
    with signed_in(browser, loaded) as tab:
        tab.goto(loaded.url + ONE)
        tab.wait_for_selector("#live.on")
        c = child_state.c
        loaded.parent.database.write(
            lambda writer: writer.execute(
                child_state.update().where(c.child == child_id(1)).values(lag=4321)
            )
        )
        loaded.parent.live.publish([Change(child_id(1), "metrics")])
        tab.wait_for_function(
            "() => document.getElementById('child-head').innerText.includes('4,321 items')"
        )


def test_a_page_whose_session_ended_goes_to_sign_in(browser: Any, loaded: Site) -> None:
    """Nothing more is told to whoever was signed out elsewhere."""
    context = browser.new_context()
    context.add_cookies([loaded.cookie(Role.AUDITOR)])
    tab = context.new_page()
    tab.goto(f"{loaded.url}/")
    tab.wait_for_selector("#live.on")
    loaded.parent.database.write(
        lambda writer: writer.execute(
            session.delete().where(
                session.c.operator.in_(sa.text("SELECT id FROM operator WHERE role = 'auditor'"))
            )
        )
    )
    shown = tab.locator("[data-row]").first.get_attribute("id").removeprefix("c-")
    loaded.parent.live.publish([Change(shown, "metrics")])
    tab.wait_for_url(f"{loaded.url}/login*")
    context.close()


def test_without_a_script_everything_is_read_and_done(browser: Any, loaded: Site) -> None:
    """A host is looked for, accepted, labelled and revoked; a token made and withdrawn."""
    with signed_in(browser, loaded, java_script_enabled=False) as tab:
        tab.goto(f"{loaded.url}/")
        tab.click("#asks >> text=Accept >> nth=0")
        assert "asks at most" not in tab.inner_text("main")
        tab.click("main button.primary")
        assert "Accepted. Its next sync" in tab.inner_text("main")
        accepted = tab.url.partition("?")[0]
        tab.fill("#labels-text", "ring=canary\nowner=clerk & sons")
        tab.click("text=Keep labels")
        assert "owner=clerk & sons" in tab.inner_text("#child-head")
        tab.goto(f"{loaded.url}/?label=ring%3Dcanary")
        assert tab.locator("[data-row]").count() == 1
        tab.goto(f"{accepted}?{METRIC}")
        tab.click("text=Revoke …")
        tab.fill("#reason", "sold")
        tab.click("main button.danger")
        assert "Reason: sold" in tab.inner_text("main")
        tab.goto(f"{loaded.url}/tokens")
        tab.fill("#name", "two hosts")
        tab.fill("#uses", "2")
        tab.click("form[action='/tokens'] button")
        command = tab.inner_text("#made-command")
        assert command.startswith(f"chittyops enroll {loaded.url} chittyops1.")
        tab.goto(f"{loaded.url}/tokens")
        assert tab.locator("#made-command").count() == 0
        tab.locator("tr", has_text="two hosts").locator("button").click()
        assert "Withdrawn" in tab.locator("tr", has_text="two hosts").inner_text()


def test_filters_are_saved_shared_and_forgotten(browser: Any, loaded: Site) -> None:
    """One operator's shared filter is another's link."""
    with signed_in(browser, loaded) as tab:
        tab.goto(f"{loaded.url}/?kind=cook-county&overdue=yes")
        tab.click("text=Save this filter")
        tab.fill("#filter-name", "Late courts")
        tab.check("[name=is_shared]")
        tab.click("details.save button")
        assert tab.url.startswith(f"{loaded.url}/?overdue=yes&kind=cook-county")
        with signed_in(browser, loaded, Role.VIEWER) as other:
            other.goto(f"{loaded.url}/")
            other.click("text=Late courts")
            assert other.url == f"{loaded.url}/?overdue=yes&kind=cook-county"
            assert other.locator("text=Forget").count() == 0
        tab.click("text=Forget")
        assert tab.locator("text=Late courts").count() == 0


def test_the_keyboard_alone_is_enough(browser: Any, loaded: Site) -> None:
    """Skip link first; `/` searches while one types; j and k go through the rows."""
    with signed_in(browser, loaded) as tab:
        tab.goto(f"{loaded.url}/")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent") == "Skip to content"
        tab.keyboard.press("j")
        tab.keyboard.press("j")
        tab.keyboard.press("k")
        assert (
            tab.evaluate(
                "() => document.activeElement === document.querySelectorAll('[data-row] th a')[0]"
                " && getComputedStyle(document.activeElement).outlineStyle"
            )
            == "solid"
        )
        name = tab.locator("[data-row] th a").nth(5).inner_text()
        tab.keyboard.press("/")
        tab.keyboard.type(name)
        tab.wait_for_function("() => document.querySelectorAll('[data-row]').length === 1")
        assert name in tab.inner_text("#list")
        tab.wait_for_url("**q=*")


def test_the_opened_metric_has_the_schemes_colours_and_a_table(browser: Any, loaded: Site) -> None:
    """axe sees nothing in a canvas, so its pixels are looked at: axis text can be read."""
    lightest = (
        "() => { const c = document.querySelector('#plot canvas');"
        " const d = c.getContext('2d').getImageData(0, 0, 60, c.height).data; let most = 0;"
        " for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200) most = Math.max(most, d[i]);"
        " return most }"
    )
    with signed_in(browser, loaded, color_scheme="dark") as tab:
        tab.goto(f"{loaded.url}{ONE}?{METRIC}&range=24h")
        tab.wait_for_selector("#plot canvas")
        tab.click("text=The data as a table")

        assert tab.evaluate(lightest) > 130
        assert tab.locator("#samples tbody tr").count() > 100


def test_the_first_load_of_any_page_is_small(loaded: Site) -> None:
    """At most 80 kB by gzip, in all, with fifty rows or twenty metrics."""
    sizes = {}
    cookies = {"chittyops": loaded.cookies[Role.ADMIN]}
    with httpx.Client(base_url=loaded.url, cookies=cookies, headers={"Accept": "text/html"}) as web:
        for path in LOADED_PAGES:
            answer = web.get(path)
            assert answer.status_code == 200
            sizes[path] = answer.num_bytes_downloaded
            for asset in _assets(answer.text):
                sizes[path] += web.get(asset).num_bytes_downloaded

    assert {path: size for path, size in sizes.items() if size > 80_000} == {}


def _assets(page: str) -> set[str]:
    return set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
