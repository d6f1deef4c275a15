"""One bar per day: 90 of them, of which a narrow screen shows the last 30."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from chittyops_core.monitor.page.markup import Safe, escape, percent, share
from chittyops_core.monitor.page.snapshot import Component, ComponentStatus, Day, uptime

__all__ = ["DAYS", "KEY", "bars", "calendar", "in_calendar"]

DAYS = 90
_STEP, _WIDTH, _HEIGHT = 10, 7, 32
_SHAPES = {
    ComponentStatus.NO_DATA: ("n", 4),
    ComponentStatus.OPERATIONAL: ("o", 16),
    ComponentStatus.DEGRADED_PERFORMANCE: ("d", 21),
    ComponentStatus.PARTIAL_OUTAGE: ("p", 26),
    ComponentStatus.MAJOR_OUTAGE: ("m", 32),
}
"""Class and height of a bar: the worse the day, the taller. The height tells what the colour tells,
and trouble stands out."""
_BAD = list(_SHAPES)[2:]
_NAMED_DAYS = 10
"""How many bad days the text alternative names; a listener has heard enough then."""


def calendar(today: date) -> list[Day]:
    """Return the 90 days that end with *today*, all without data."""
    return [Day(today - timedelta(days=back), 0, 0) for back in range(DAYS - 1, -1, -1)]


def in_calendar(days: Sequence[Day], blank: Sequence[Day]) -> list[Day]:
    """Return *blank* (from `calendar`) with those of *days* put in their places."""
    by_date = {day.date: day for day in days}
    return [by_date.get(day.date, day) for day in blank]


def bars(component: Component, days: Sequence[Day]) -> Safe:
    """Return the bars of *days* (from `in_calendar`) as an SVG image with a text alternative."""
    drawn = "".join([_bar(place, day) for place, day in enumerate(days)])
    label = escape(_in_words(component, days))
    return Safe(
        f'<svg viewBox="0 0 {DAYS * _STEP} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{drawn}</svg>'
    )


def _bar(place: int, day: Day) -> str:
    """Return one bar. Nothing here comes from outside but numbers and a date: no escaping."""
    name, height = _SHAPES[day.status]
    x = place * _STEP + (_STEP - _WIDTH) / 2
    if day.total:
        failed = day.total - day.good
        seen = f"{share(day.good, day.total)}, {failed} of {day.total} checks failed"
    else:
        seen = "no data"
    return (
        f'<rect class="{name}" x="{x}" y="{_HEIGHT - height}" width="{_WIDTH}" height="{height}" '
        f'rx="1.5"><title>{day.date}: {seen}</title></rect>'
    )


def _in_words(component: Component, days: Sequence[Day]) -> str:
    bad = [day for day in days if day.status in _BAD]
    unseen = sum(not day.total for day in days)
    words = [f"{component.name}, uptime over {DAYS} days: {percent(uptime(days))}."]
    if bad:
        ranked = sorted(bad, key=lambda day: day.good / day.total)[:_NAMED_DAYS]
        named = ", ".join(f"{day.date} {share(day.good, day.total)}" for day in ranked)
        words.append(f"{len(bad)} {'day' if len(bad) == 1 else 'days'} below 99.9%: {named}.")
    if unseen:
        words.append(f"{unseen} {'day' if unseen == 1 else 'days'} without data.")
    return " ".join(words)


def _key() -> Safe:
    words = ("no data", "99.9% or more", "99% to 99.9%", "95% to 99%", "below 95%")
    entries = "".join(
        f'<li><svg viewBox="0 0 7 {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true" '
        f'focusable="false"><rect class="{name}" y="{_HEIGHT - height}" width="7" '
        f'height="{height}" rx="1.5"/></svg>{what}</li>'
        for (name, height), what in zip(_SHAPES.values(), words, strict=True)
    )
    return Safe(f'<ul class="key" aria-label="What the bars mean">{entries}</ul>')


KEY = _key()
