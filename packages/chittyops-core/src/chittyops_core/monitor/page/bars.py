"""One bar per day: 90 of them, of which a narrow screen shows the last 30."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from chittyops_core.monitor.page.markup import Safe, escape, percent
from chittyops_core.monitor.page.snapshot import Component, ComponentStatus, Day, uptime

__all__ = ["DAYS", "KEY", "bars", "calendar"]

DAYS = 90
_STEP, _WIDTH, _HEIGHT = 10, 7, 34
_LOW = {
    ComponentStatus.DEGRADED_PERFORMANCE: ("d", 25),
    ComponentStatus.PARTIAL_OUTAGE: ("p", 17),
    ComponentStatus.MAJOR_OUTAGE: ("m", 9),
}
"""Class and height of a bar that is not full: the worse the day, the shorter, so that the height
tells what the colour tells."""
_NAMED_DAYS = 10
"""How many bad days the text alternative names; a listener has heard enough then."""


def calendar(days: Sequence[Day], today: date) -> list[Day]:
    """Return the 90 days that end with *today*; one that is not in *days* has no data."""
    by_date = {day.date: day for day in days}
    dates = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    return [by_date.get(d) or Day(d, 0, 0) for d in dates]


def bars(component: Component, days: Sequence[Day]) -> Safe:
    """Return the bars of *days* (from `calendar`) as an SVG image with a text alternative."""
    drawn = "".join([_bar(place, day) for place, day in enumerate(days)])
    label = escape(_in_words(component, days))
    return Safe(
        f'<svg viewBox="0 0 {DAYS * _STEP} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{drawn}</svg>'
    )


def _bar(place: int, day: Day) -> str:
    """Return one bar. Nothing here comes from outside but numbers and a date: no escaping."""
    x = place * _STEP + (_STEP - _WIDTH) / 2
    status = day.status
    if status is ComponentStatus.NO_DATA:
        title = f"<title>{day.date}: no data</title>"
        return f'<rect class="n" x="{x}" y="29" width="{_WIDTH}" height="5" rx="1">{title}</rect>'
    ratio = percent(uptime((day,)))
    failed = day.total - day.good
    title = f"<title>{day.date}: {ratio}, {failed} of {day.total} checks failed</title>"
    if status is ComponentStatus.OPERATIONAL:
        return f'<rect class="o" x="{x}" width="{_WIDTH}" height="34" rx="1.5">{title}</rect>'
    name, height = _LOW[status]
    return (
        f'<g>{title}<rect class="{name}t" x="{x}" width="{_WIDTH}" height="34" rx="1.5"/>'
        f'<rect class="{name}" x="{x}" y="{_HEIGHT - height}" width="{_WIDTH}" '
        f'height="{height}" rx="1.5"/></g>'
    )


def _in_words(component: Component, days: Sequence[Day]) -> str:
    bad = [day for day in days if day.status in _LOW]
    unseen = sum(not day.total for day in days)
    words = [f"{component.name}, uptime over {DAYS} days: {percent(uptime(days))}."]
    if bad:
        ranked = sorted(bad, key=lambda day: day.good / day.total)[:_NAMED_DAYS]
        named = ", ".join(f"{day.date} {percent(uptime((day,)))}" for day in ranked)
        words.append(f"{len(bad)} {'day' if len(bad) == 1 else 'days'} below 99.9%: {named}.")
    if unseen:
        words.append(f"{unseen} {'day' if unseen == 1 else 'days'} without data.")
    return " ".join(words)


def _key() -> Safe:
    entries = [("o", "", 34, "99.9% or more")]
    limits = ("99% to 99.9%", "95% to 99%", "below 95%")
    entries += [(c, c + "t", h, w) for (c, h), w in zip(_LOW.values(), limits, strict=True)]
    entries.append(("n", "", 5, "no data"))
    return Safe(
        '<ul class="key" aria-label="What the bars mean">'
        + "".join(
            '<li><svg viewBox="0 0 7 34" preserveAspectRatio="none" aria-hidden="true" '
            'focusable="false">'
            + (f'<rect class="{track}" width="7" height="34" rx="1.5"/>' if track else "")
            + f'<rect class="{name}" y="{34 - height}" width="7" height="{height}" rx="1"/>'
            f"</svg>{words}</li>"
            for name, track, height, words in entries
        )
        + "</ul>"
    )


KEY = _key()
