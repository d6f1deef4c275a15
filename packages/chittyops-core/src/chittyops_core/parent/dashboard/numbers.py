"""Times, numbers and sizes as a person reads them; each time also as one that a machine reads."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from markupsafe import Markup

__all__ = [
    "absolute",
    "ago",
    "base_of",
    "count",
    "duration",
    "labels_of",
    "machine_time",
    "measured",
    "number",
    "short",
    "title_of",
]

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_LATEST = 253_402_300_799.0
"""The last second of the year 9999: what a datetime can say."""


def absolute(at: float) -> str:
    """Return *at* in words, in UTC: `25 Nov 2026, 12:05:27 UTC`."""
    moment = _moment(at)
    return f"{moment.day} {moment:%b %Y, %H:%M:%S} UTC"


def machine_time(at: float) -> str:
    """Return *at* as RFC 3339 in UTC."""
    return _moment(at).isoformat(timespec="seconds").replace("+00:00", "Z")


def duration(seconds: float) -> str:
    """Return a duration in its largest unit, rounded down: `3 min`."""
    if not math.isfinite(seconds):
        return "for ever"
    seconds = max(0.0, seconds)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size):,} {unit}"
    return "0 s"


def ago(at: float | None, now: float, never: str = "never") -> Markup:
    """Return *at* as seen from *now*, as an HTML `time` that a script keeps true."""
    if at is None or not math.isfinite(at):
        return Markup('<span class="soft">{}</span>').format(never)
    past = now - at
    if abs(past) < 5:
        words = "just now"
    elif past > 0:
        words = f"{duration(past)} ago"
    else:
        words = f"in {duration(-past)}"
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(
        machine_time(at), absolute(at), words
    )


def count(value: int, one: str, many: str | None = None) -> str:
    """Return `1 host` or `1,234 hosts`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def number(value: float | None) -> str:
    """Return a measured value with three digits that count: `12.3 k`, `0.042`."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            scaled = value / {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}[unit]
            return f"{_three(scaled)} {unit}"
    return _three(value)


def measured(value: float | None, name: str) -> str:
    """Return a value in the unit that the metric's *name* ends with: `.percent`, `bytes`, `.s`."""
    if value is None:
        return "–"
    words = base_of(name).replace("_", ".").split(".")
    unit = words[-1] if words[-1] != "total" else words[-2] if len(words) > 1 else ""
    rate = "/s" if words[-1] == "total" else ""
    if unit in ("s", "seconds") and not rate:
        return f"{number(value * 1000)} ms" if abs(value) < 1 else f"{number(value)} s"
    if unit == "bytes":
        return f"{number(value)}{'' if number(value)[-1].isalpha() else ' '}B{rate}"
    if unit == "ratio":
        return f"{number(value * 100)} %"
    return f"{number(value)}{_SUFFIXES.get(unit, '')}{rate}"


_SUFFIXES = {"percent": " %", "celsius": " °C"}
_LABEL = re.compile(r'"((?:[^"\\]|\\.)*)"')


def base_of(name: str) -> str:
    """Return a metric's name without its labels."""
    return name.partition("{")[0]


def title_of(name: str) -> str:
    """Return what a person calls a metric: `chittyops_service_up_ratio{...}` is `Up ratio`."""
    words = base_of(name).removeprefix("chittyops_").replace("_", " ").strip()
    words = words.removeprefix("service ").removeprefix("host ")
    return words[:1].upper() + words[1:] or name


def labels_of(name: str) -> str:
    """Return what a metric is of: the values of its labels."""
    return " · ".join(_LABEL.findall(name.partition("{")[2]))


def short(identifier: str | None, length: int = 12) -> str:
    """Return the beginning of an id, a release or a commit."""
    return (identifier or "")[:length]


def _three(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) < 0.001 or abs(value) >= 1e6:
        return f"{value:.2e}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(min(max(at, 0.0), _LATEST), UTC)
