"""Text into HTML and XML, where nothing that a stranger named can become markup.

A template is a literal of this package; every value that is put into it is escaped, unless it is
`Safe`, which only this package makes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction
from urllib.parse import quote

__all__ = [
    "Safe",
    "date_time",
    "escape",
    "fill",
    "instant",
    "join",
    "percent",
    "seconds",
    "segment",
    "share",
]

_NOT_A_CHARACTER = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) and HTML forbid, lone surrogates among it."""


class Safe(str):
    """Markup that was escaped already."""

    __slots__ = ()


def escape(text: object) -> Safe:
    """Return *text* for element content or a quoted attribute; idempotent for `Safe`."""
    if isinstance(text, Safe):
        return text
    return Safe(html.escape(_NOT_A_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", str(text))))


def fill(template: str, **values: object) -> Safe:
    """Return *template* with each `{name}` replaced by its escaped value."""
    return Safe(template.format_map({name: escape(value) for name, value in values.items()}))


def join(parts: Iterable[Safe]) -> Safe:
    """Return *parts* one after the other."""
    return Safe("".join(parts))


def instant(at: float) -> str:
    """Return *at* (seconds since the epoch) as RFC 3339 in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def date_time(at: float) -> Safe:
    """Return *at* (seconds since the epoch) as an HTML `time`, in words, in UTC."""
    moment = datetime.fromtimestamp(at, UTC)
    words = f"{moment.day} {moment:%b %Y, %H:%M} UTC"
    return fill('<time datetime="{at}">{words}</time>', at=instant(at), words=words)


def segment(text: str) -> str:
    """Return *text* as one segment of an address; its slashes are no separators."""
    return quote(text, safe="", errors="replace")


def percent(ratio: Fraction | None) -> str:
    """Return *ratio* with two digits, cut and not rounded: 99.999 % is not 100 %."""
    return "no data" if ratio is None else share(ratio.numerator, ratio.denominator)


def share(part: int, total: int) -> str:
    """Return *part* of *total*, which is not 0, as `percent` would; it makes no fraction."""
    hundredths = part * 10_000 // total
    whole, rest = divmod(hundredths, 100)
    return f"{whole}%" if hundredths == 10_000 else f"{whole}.{rest:02}%"


def seconds(duration: float) -> str:
    """Return a duration in seconds in the unit that a person would use."""
    if duration < 0.001:
        return "< 1 ms"
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    return f"{duration:.1f} s"
