"""The history of incidents as an Atom feed (RFC 4287)."""

from __future__ import annotations

from chittyops_core.monitor.page.markup import Safe, fill, instant, join, segment
from chittyops_core.monitor.page.snapshot import Incident, Page
from chittyops_core.monitor.page.words import said

__all__ = ["MAX_ENTRIES", "render_feed"]

MAX_ENTRIES = 25

_FEED = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en">
<id>{url}/history.atom</id>
<title>{name} – incident history</title>
<updated>{updated}</updated>
<author><name>{name}</name></author>
<link rel="self" type="application/atom+xml" href="{url}/history.atom"/>
<link rel="alternate" type="text/html" href="{url}/"/>
{entries}</feed>
"""
_ENTRY = """<entry>
<id>{url}/incidents/{id}</id>
<title>{name}</title>
<published>{created}</published>
<updated>{updated}</updated>
<link rel="alternate" type="text/html" href="{url}/incidents/{id}"/>
<content type="html">{content}</content>
</entry>
"""


def render_feed(page: Page) -> str:
    """Return the newest 25 incidents; an entry keeps its id through all its updates."""
    incidents = page.incidents[:MAX_ENTRIES]
    changed = max((one.updated_at for one in incidents), default=page.updated_at)
    return fill(
        _FEED,
        url=page.url,
        name=page.name,
        updated=instant(changed),
        entries=join(_entry(page, one) for one in incidents),
    )


def _entry(page: Page, one: Incident) -> Safe:
    content = join(
        fill(
            "<p><strong>{status}</strong> ({at}): {body}</p>",
            status=said(update.status),
            at=instant(update.at),
            body=update.body,
        )
        for update in one.updates
    )
    return fill(
        _ENTRY,
        url=page.url,
        id=segment(one.id),
        name=one.name,
        created=instant(one.created_at),
        updated=instant(one.updated_at),
        content=str(content),  # no longer Safe: HTML inside XML is escaped once more
    )
