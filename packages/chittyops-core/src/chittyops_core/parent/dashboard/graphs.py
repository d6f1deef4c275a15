"""The metrics of a child over a range of time, as its page draws them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from attrs import frozen
from markupsafe import Markup

from chittyops_core.parent import samples
from chittyops_core.parent.dashboard.numbers import base_of
from chittyops_core.parent.dashboard.sparkline import Curve, Point, sparkline

__all__ = ["RANGES", "Metric", "Opened", "Range", "curves", "metric", "opened"]

MAX_POINTS, MAX_OPENED = 96, 240
"""Points of a small picture, and of one that is opened."""
MIN_POINTS = 12

COUNTER = "_total"
"""What names of counters end with (Prometheus, OpenMetrics); shown is how fast they grow."""


@frozen
class Range:
    """A span of time that ends now."""

    key: str
    words: str
    seconds: float


RANGES = (
    Range("1h", "1 h", 3600.0), Range("24h", "24 h", 86_400.0),
    Range("7d", "7 d", 7 * 86_400.0), Range("30d", "30 d", 30 * 86_400.0),
)  # fmt: skip


@frozen
class Metric:
    """A metric as a small picture with its numbers."""

    name: str
    href: str
    last: float | None
    low: float | None
    high: float | None
    picture: Markup
    is_open: bool


@frozen
class Opened:
    """A metric as a large picture, and its numbers as a table."""

    name: str
    picture: Markup
    samples: tuple[tuple[int, float | None], ...]


def curves(
    reader: sa.Connection, child: str, names: Sequence[str], since: float, until: float,
    rhythm_s: float, *, is_large: bool = False,
) -> list[Curve]:  # fmt: skip
    """Return metrics between two times, with no more points than a child that syncs every
    *rhythm_s* can fill; counters as their growth per second.
    """
    fitting = int((until - since) // max(rhythm_s, 1.0))
    points = min(max(fitting, MIN_POINTS), MAX_OPENED if is_large else MAX_POINTS)
    found = samples.series(reader, child, names, since, until, points)
    found_curves = [
        Curve(
            name,
            tuple(
                Point(at + found.step / 2, low, mean, high)
                for at, low, mean, high in zip(
                    found.times, line.low, line.mean, line.high, strict=True
                )
                if low is not None and mean is not None and high is not None
                and all(map(math.isfinite, (low, mean, high)))
            ),
            found.step,
        )
        for name, line in found.lines.items()
    ]  # fmt: skip
    return [
        curve.rate() if base_of(curve.name).endswith(COUNTER) else curve for curve in found_curves
    ]


def metric(
    curve: Curve, since: float, until: float, marks: Iterable[float], *, href: str, is_open: bool
) -> Metric:
    """Return a curve as a small picture that leads to the large one."""
    picture = sparkline(curve, since, until, marks)
    return Metric(curve.name, href, curve.last, curve.low, curve.high, picture, is_open)


def opened(curve: Curve, since: float, until: float, marks: Iterable[float]) -> Opened:
    """Return a curve as a large picture; its table has an empty row where it has a gap."""
    rows: list[tuple[int, float | None]] = []
    for run in curve.runs():
        if rows:
            rows.append((int(rows[-1][0] + curve.step), None))
        rows += [(int(point.at), point.mean) for point in run]
    return Opened(curve.name, sparkline(curve, since, until, marks), tuple(rows))
