"""A metric over time as a small picture that the server draws: no script is needed to see it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from attrs import evolve, frozen
from markupsafe import Markup

from chittyops_core.parent.dashboard.numbers import measured

__all__ = ["Curve", "Point", "sparkline"]

WIDTH, HEIGHT, EDGE = 240.0, 48.0, 3.0

Place = tuple[float, float, float, float]


@frozen
class Point:
    """What a metric was during a short span.

    Attributes:
        at: When, in seconds since the epoch.
        low: The lowest value.
        mean: The mean.
        high: The highest.
    """

    at: float
    low: float
    mean: float
    high: float


@frozen
class Curve:
    """One metric over a span of time.

    Attributes:
        name: As the child reports it.
        points: Those where it said something, oldest first.
        step: Seconds from one to the next, where none is missing.
    """

    name: str
    points: tuple[Point, ...]
    step: float

    @property
    def last(self) -> float | None:
        return self.points[-1].mean if self.points else None

    @property
    def low(self) -> float | None:
        return min((each.low for each in self.points), default=None)

    @property
    def high(self) -> float | None:
        return max((each.high for each in self.points), default=None)

    def rate(self) -> Curve:
        """Return how fast a counter grew, per second; one that began anew is passed over."""
        grown = [
            (later.at, (later.mean - earlier.mean) / (later.at - earlier.at))
            for earlier, later in pairwise(self.points)
            if later.at > earlier.at
        ]
        points = tuple(Point(at, value, value, value) for at, value in grown if value >= 0)
        return evolve(self, points=points)

    def runs(self) -> Iterator[list[Point]]:
        """Yield the points between gaps; one that is missing alone is none, for clocks waver."""
        run: list[Point] = []
        for point in self.points:
            if run and point.at - run[-1].at > 2.5 * self.step:
                yield run
                run = []
            run.append(point)
        if run:
            yield run


def sparkline(curve: Curve, since: float, until: float, marks: Iterable[float] = ()) -> Markup:
    """Return *curve* between two times as an SVG; *marks* are times of deployments."""
    label = (
        f"{curve.name}: last {measured(curve.last, curve.name)}, "
        f"lowest {measured(curve.low, curve.name)}, highest {measured(curve.high, curve.name)}"
    )
    span = max(until - since, 1.0)
    lines = "".join(
        f'<path class="mark" d="M{(at - since) / span * WIDTH:.1f} 0V{HEIGHT:.0f}"/>'
        for at in marks
        if since <= at <= until
    )
    runs = "".join(_drawn(run) for run in _runs(curve, since, span))
    # Only numbers stand in the paths; format escapes the label.
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}{}</svg>'
    ).format(int(WIDTH), int(HEIGHT), label, Markup(lines), Markup(runs))  # noqa: S704


def _runs(curve: Curve, since: float, span: float) -> Iterator[list[Place]]:
    """Yield places in the picture (x, low, mean, high), a list for each run without a gap."""
    low, high = curve.low, curve.high
    if low is None or high is None or not math.isfinite(high - low):
        return
    for run in curve.runs():
        yield [
            (
                min(max((point.at - since) / span, 0.0), 1.0) * WIDTH,
                _y(point.low, low, high), _y(point.mean, low, high), _y(point.high, low, high),
            )
            for point in run
        ]  # fmt: skip


def _y(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE)


def _drawn(run: Sequence[Place]) -> str:
    if len(run) == 1:
        x, _, mean, _ = run[0]
        return f'<path class="line" d="M{x:.1f} {mean:.1f}h.1"/>'
    line = "L".join(f"{x:.1f} {mean:.1f}" for x, _, mean, _ in run)
    area = f"M{line}V{HEIGHT:.0f}H{run[0][0]:.1f}Z"
    drawn = f'<path class="area" d="{area}"/>'
    if any(low - high > 0.5 for _, low, _, high in run):
        top = "L".join(f"{x:.1f} {high:.1f}" for x, _, _, high in run)
        back = "L".join(f"{x:.1f} {low:.1f}" for x, low, _, _ in reversed(run))
        drawn += f'<path class="area" d="M{top}L{back}Z"/>'
    return f'{drawn}<path class="line" d="M{line}"/>'
