"""The status page as HTML: one file, no script, no request to anywhere.

Built by hand and not by a template engine: the host runtime has none, and these few templates are
literals whose values `markup.fill` escapes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import quote

from chittyops_core.monitor.page import sections
from chittyops_core.monitor.page.markup import Safe, date_time, fill, join
from chittyops_core.monitor.page.snapshot import Incident, Indicator, Page, overall
from chittyops_core.monitor.page.style import sheet
from chittyops_core.monitor.page.words import SPRITE

__all__ = ["REFRESH_S", "render_incident", "render_missing", "render_page"]

REFRESH_S = 60
"""How often the page loads itself again, for a visitor who asked for it (WCAG 2.1, 3.2.5)."""

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">{refresh}
<title>{title}</title>
<link rel="alternate" type="application/atom+xml" title="Incidents" href="{root}history.atom">
<link rel="icon" href="data:image/svg+xml,{favicon}">
<style>{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to content</a>
{sprite}<header>{logo}{heading}</header>
<main id="content" tabindex="-1">
{content}
</main>
<footer class="soft">
<p>Updated {updated}. All times are UTC.</p>
<ul>{links}</ul>
</footer>
</body>
</html>
"""


def render_page(page: Page, *, is_refreshing: bool = False) -> str:
    """Return the front page; with *is_refreshing* it loads itself again every minute."""
    state = overall(page)
    content = [
        sections.banner(page),
        sections.open_incidents(page),
        sections.maintenances(page),
        sections.components(page),
        sections.history(page),
    ]
    refresh = ("./", "Stop refreshing") if is_refreshing else (f"?refresh={REFRESH_S}", _OFFER)
    return _document(
        page,
        title=f"{state.description} – {page.name}",
        heading=fill("<h1><bdi>{name}</bdi></h1>", name=page.name),
        content=join(content),
        links=[*_LINKS, refresh],
        is_refreshing=is_refreshing,
    )


def render_incident(page: Page, incident: Incident) -> str:
    """Return the page of one incident; it links to the front page with a relative address."""
    return _document(
        page,
        title=f"{incident.name} – {page.name}",
        heading=_home(page, "../"),
        content=sections.incident(page, incident),
        links=[("../", "Current status"), ("../history.atom", "Atom feed")],
        root="../",
    )


def render_missing(page: Page) -> str:
    """Return what a visitor reads at an address where there is nothing."""
    content = Safe("<h1>Not found</h1><p>There is no page at this address.</p>")
    return _document(
        page,
        title=f"Not found – {page.name}",
        heading=_home(page, page.url + "/"),
        content=content,
        links=[(page.url + "/", "Current status")],
        root=page.url + "/",
    )


_LINKS = (("history.atom", "Atom feed"), ("api/v2/summary.json", "JSON"))
_OFFER = "Refresh every minute"
_FAVICON_COLOURS = {
    Indicator.NONE: "2f9e63",
    Indicator.MAINTENANCE: "4a86d8",
    Indicator.MINOR: "cf9f2e",
    Indicator.MAJOR: "e0701c",
    Indicator.CRITICAL: "d93a50",
}


def _document(
    page: Page,
    *,
    title: str,
    heading: Safe,
    content: Safe,
    links: Iterable[tuple[str, str]],
    root: str = "",
    is_refreshing: bool = False,
) -> str:
    refresh = Safe(f'\n<meta http-equiv="refresh" content="{REFRESH_S}">')
    colour = _FAVICON_COLOURS[overall(page).indicator]
    favicon = (
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>"
        f"<circle cx='8' cy='8' r='7' fill='#{colour}'/></svg>"
    )
    return fill(
        _DOCUMENT,
        refresh=refresh if is_refreshing else Safe(""),
        title=title,
        root=root,
        favicon=quote(favicon),
        style=Safe(sheet(page.brand.accent)),
        sprite=SPRITE,
        logo=_logo(page),
        heading=heading,
        content=content,
        updated=date_time(page.updated_at),
        links=join(
            fill('<li><a href="{href}">{words}</a></li>', href=href, words=words)
            for href, words in links
        ),
    )


def _home(page: Page, href: str) -> Safe:
    template = '<p class="brand"><a href="{href}"><bdi>{name}</bdi></a></p>'
    return fill(template, href=href, name=page.name)


def _logo(page: Page) -> Safe:
    """Return the logo; its alternative is empty, for the name stands beside it."""
    logo = page.brand.logo
    if logo is None:
        return Safe("")
    data = base64.b64encode(logo.data).decode()
    return fill('<img src="data:{type};base64,{data}" alt="">', type=logo.media_type, data=data)
