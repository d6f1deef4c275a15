"""A metric over time as a small picture that the server draws: no script is needed to see it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from attrs import frozen
from markupsafe import Markup

from chittyops_core.parent.dashboard.numbers import number

__all__ = ["Series", "sparkline"]

WIDTH, HEIGHT, EDGE = 240.0, 48.0, 3.0


@frozen
class Series:
    """One metric over a span of time.

    Attributes:
        name: As the child reports it.
        points: `(seconds since the epoch, value)`, oldest first; None where it said nothing.
    """

    name: str
    points: tuple[tuple[float, float | None], ...]

    @property
    def values(self) -> list[float]:
        return [v for _, v in self.points if v is not None and math.isfinite(v)]

    @property
    def last(self) -> float | None:
        values = self.values
        return values[-1] if values else None

    @property
    def low(self) -> float | None:
        return min(self.values, default=None)

    @property
    def high(self) -> float | None:
        return max(self.values, default=None)


def sparkline(
    series: Series, since: float, until: float, markers: Iterable[float] = ()
) -> Markup:
    """Return *series* between two times as an SVG; *markers* are times of deployments."""
    label = (
        f"{series.name}: last {number(series.last)}, lowest {number(series.low)}, "
        f"highest {number(series.high)}"
    )
    span = max(until - since, 1.0)
    lines = "".join(
        f'<path class="mark" d="M{(at - since) / span * WIDTH:.1f} 0V{HEIGHT:.0f}"/>'
        for at in markers
        if since <= at <= until
    )
    drawn = "".join(_run(run) for run in _runs(series, since, span))
    # Only numbers stand in the paths; the label is escaped by format.
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}{}</svg>'
    ).format(int(WIDTH), int(HEIGHT), label, Markup(lines), Markup(drawn))  # noqa: S704


def _runs(series: Series, since: float, span: float) -> list[list[tuple[float, float]]]:
    """Return places in the picture, a list for each run without a gap."""
    low, high = series.low, series.high
    if low is None or high is None:
        return []
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in series.points:
        if value is None or not math.isfinite(value):
            runs.append([])
            continue
        share = (value - low) / (high - low) if high > low else 0.5
        x = min(max((at - since) / span, 0.0), 1.0) * WIDTH
        runs[-1].append((x, HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE)))
    return [run for run in runs if run]


def _run(run: Sequence[tuple[float, float]]) -> str:
    if len(run) == 1:
        x, y = run[0]
        return f'<path class="line" d="M{x:.1f} {y:.1f}h.1"/>'
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run)
    area = f"{line}V{HEIGHT:.0f}H{run[0][0]:.1f}Z"
    return f'<path class="area" d="{area}"/><path class="line" d="{line}"/>'
