"""When to ask the parent again (docs/protocol.md sections 7.5 and 8). Pure, but for chance."""

from __future__ import annotations

import hashlib
import math
import random

import tenacity
from attrs import frozen

__all__ = ["Rhythm", "backoff_s", "next_aligned_s", "phase", "retry_s"]

TAKEN_S = 0.5
"""A turn that comes sooner is the one that has just been taken: timers are not exact."""


@frozen
class Rhythm:
    """The bounds within which a parent paces its child, in seconds.

    Attributes:
        usual_s: Between syncs, until the parent has said.
        least_s: What `next_s` may be at least; a parent that says 0 is not asked in a loop.
        most_s: What it may be at most: no parent makes a child silent for a day.
        urgent_s: After a sync, until the next one may be made for what is urgent.
        backlog_s: Between two batches of what is owed.
        slow_s: Between questions to a parent that has not accepted this child, or no more.
        first_s: The first back-off is random between 0 and this; each further up to twice that.
        backoff_s: What a back-off is at most.
    """

    usual_s: float = 300.0
    least_s: float = 5.0
    most_s: float = 3600.0
    urgent_s: float = 15.0
    backlog_s: float = 1.0
    slow_s: float = 3600.0
    first_s: float = 5.0
    backoff_s: float = 300.0

    def next_s(self, said: object) -> float:
        """Return what a parent said as seconds within the bounds."""
        if isinstance(said, bool) or not isinstance(said, int | float) or math.isnan(said):
            return self.usual_s
        return float(min(max(said, self.least_s), self.most_s))


def phase(child: str) -> float:
    """Return where in an interval this child asks, from 0 to 1: spread over all children."""
    return int.from_bytes(hashlib.sha256(child.encode()).digest()[:8]) / 2**64


def next_aligned_s(at: float, interval_s: float, child: str) -> float:
    """Return the seconds from the time *at* to this child's next turn, at most the interval.

    A turn that is due this very moment was the one that has just been taken.
    """
    wait_s = (phase(child) * interval_s - at) % interval_s
    return wait_s if wait_s > min(TAKEN_S, interval_s * 0.01) else interval_s


def backoff_s(rhythm: Rhythm, failed: int) -> float:
    """Return full jitter: random(0, min(300, 5 * 2^n)) after failure n, counted from 1."""
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = max(failed, 1)
    return tenacity.wait_random_exponential(multiplier=rhythm.first_s, max=rhythm.backoff_s)(state)


def retry_s(rhythm: Rhythm, asked_s: float) -> float:
    """Return how long to wait when the parent asked for *asked_s*: never less, and not all at once.

    Whoever was told the same seconds at the same time comes back within as many more.
    """
    return asked_s + random.uniform(0, min(asked_s, rhythm.usual_s))  # noqa: S311
