"""Badges: a small SVG with a name on the left and a fact on the right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from chittyops_core.monitor.page.markup import escape, fill, percent
from chittyops_core.monitor.page.snapshot import Component, ComponentStatus, uptime
from chittyops_core.monitor.page.words import look_of

__all__ = ["status_badge", "uptime_badge"]

_COLOURS = {
    "ok": "#146c3c",
    "info": "#1a56a8",
    "none": "#566170",
    "minor": "#7a5000",
    "major": "#9a3a00",
    "bad": "#b01228",
}
"""White text keeps 4.5 to 1 on each."""
_LEFT = "#3a4350"
_MAX_NAME = 40
"""Characters of a name that a badge shows; its title has them all."""
_FONT = "Verdana,'DejaVu Sans',sans-serif"
_WIDTHS = {**dict.fromkeys("ijlI.,:;'|!()[]ft/ r-", 4.2), **dict.fromkeys("mwMW@%", 10.8)}
_USUAL_WIDTH = 6.9
"""Widths of characters of Verdana at 11 px, in px, roughly: `textLength` does the rest."""

_BADGE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
    'aria-label="{title}"><title>{title}</title>'
    '<rect width="{width}" height="20" rx="3" fill="{colour}"/>'
    '<path d="M3 0h{flat}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="{left_colour}"/>'
    '<g fill="#fff" font-family="{font}" font-size="11" aria-hidden="true">'
    '<text x="7" y="14" textLength="{left_text}" lengthAdjust="spacingAndGlyphs">{left}</text>'
    '<text x="{right_x}" y="14" textLength="{right_text}" lengthAdjust="spacingAndGlyphs">{right}'
    "</text></g></svg>\n"
)


def status_badge(component: Component) -> str:
    """Return how *component* does now."""
    look = look_of(component.status)
    return _badge(component.name, look.words.lower(), look.tone)


def uptime_badge(component: Component, days: int, now: float) -> str:
    """Return the uptime of the last *days* days, today among them, at *now* (epoch seconds)."""
    first = datetime.fromtimestamp(now, UTC).date() - timedelta(days=days - 1)
    ratio = uptime(day for day in component.days if day.date >= first)
    return _badge(component.name, f"{percent(ratio)} / {days} d", _tone(ratio))


def _tone(ratio: Fraction | None) -> str:
    if ratio is None:
        return look_of(ComponentStatus.NO_DATA).tone
    for limit, tone in ((Fraction(999, 1000), "ok"), (Fraction(99, 100), "minor")):
        if ratio >= limit:
            return tone
    return "major" if ratio >= Fraction(95, 100) else "bad"


def _badge(name: str, fact: str, tone: str) -> str:
    shown = name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
    left_text, right_text = (_width(shown), _width(fact))
    flat = left_text + 14 - 3
    return fill(
        _BADGE,
        title=f"{name}: {fact}",
        width=left_text + right_text + 28,
        flat=flat,
        colour=_COLOURS[tone],
        left_colour=_LEFT,
        font=escape(_FONT),
        left=shown,
        right=fact,
        left_text=left_text,
        right_text=right_text,
        right_x=left_text + 21,
    )


def _width(text: str) -> int:
    return max(1, round(sum(_WIDTHS.get(character, _USUAL_WIDTH) for character in text)))
