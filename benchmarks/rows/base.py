"""What a row is, and how its two sides are measured by turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from attrs import field, frozen

__all__ = ["LeftOut", "Row", "by_turns"]


class LeftOut(Exception):
    """A row cannot be measured here; the message says what to install."""


@frozen
class Row:
    """One figure of ours beside its peer's, of the same run.

    Attributes:
        what: What was measured.
        peer: Beside what.
        unit: Of both figures.
        ours: One figure a round.
        theirs: The peer's, by the same rounds.
        limit: What the ratio of medians may be.
        is_gain: Whether the peer's figure is divided by ours, and *limit* is the least.
    """

    what: str
    peer: str
    unit: str
    ours: tuple[float, ...] = field(converter=tuple)
    theirs: tuple[float, ...] = field(converter=tuple)
    limit: float
    is_gain: bool = False

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(self.ours), statistics.median(self.theirs)

    @property
    def ratio(self) -> float:
        ours, theirs = self.medians
        return theirs / ours if self.is_gain else ours / theirs

    @property
    def goal(self) -> str:
        return f"{'>=' if self.is_gain else '<='} {self.limit:g}x"

    @property
    def is_met(self) -> bool:
        return self.ratio >= self.limit if self.is_gain else self.ratio <= self.limit


def by_turns(
    rounds: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Call both *rounds* times, the one first that was second before; return their figures.

    So what else the machine does falls on both.
    """
    figures: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for side in ((0, 1), (1, 0))[number % 2]:
            figures[side].append((ours, theirs)[side]())
    return figures
