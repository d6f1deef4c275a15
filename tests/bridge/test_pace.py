"""When to ask again (docs/protocol.md sections 7.5 and 8)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.bridge.pace import Rhythm, backoff_s, next_aligned_s, phase, retry_s


@given(st.floats(0, 1e11), st.floats(5, 3600), st.text(max_size=20))
def test_the_next_turn_comes_within_the_interval(at: float, interval_s: float, child: str) -> None:
    """Never later than the parent asked for: it would be overdue."""
    assert 0 < next_aligned_s(at, interval_s, child) <= interval_s


def test_children_are_spread_evenly_whenever_they_begin() -> None:
    """10,000 children that begin at one moment: no second has twice its share."""
    turns = Counter(int(next_aligned_s(1e9, 300.0, f"ch_{n}")) for n in range(10_000))

    assert max(turns.values()) <= 2 * 10_000 / 300
    assert len(turns) == 300


@given(st.floats(0, 1e10))
def test_a_turn_just_taken_is_not_due_again(at: float) -> None:
    due = at + next_aligned_s(at, 300.0, "x")

    assert next_aligned_s(due, 300.0, "x") > 290
    assert 0 <= phase("x") < 1


@pytest.mark.parametrize(("failed", "most"), [(1, 5), (2, 10), (4, 40), (7, 300), (5000, 300)])
def test_a_back_off_is_anywhere_below_its_limit(failed: int, most: float) -> None:
    """Full jitter: random(0, min(300, 5 * 2^n)), however often it failed."""
    waits = [backoff_s(Rhythm(), failed) for _ in range(300)]

    assert 0 <= min(waits) < most * 0.1
    assert most * 0.9 < max(waits) <= most


def test_whoever_is_told_to_wait_waits_at_least_so_long_and_not_all_equally() -> None:
    waits = [retry_s(Rhythm(), 10.0) for _ in range(300)]

    assert min(waits) >= 10
    assert max(waits) - min(waits) > 8


@pytest.mark.parametrize(
    ("said", "taken"),
    [(60, 60), (0, 5), (-1, 5), (1e9, 3600), (float("inf"), 3600), (float("nan"), 300),
     ("60", 300), (None, 300), (True, 300), ([60], 300)],
)  # fmt: skip
def test_what_a_parent_says_is_taken_within_bounds(said: object, taken: float) -> None:
    assert Rhythm().next_s(said) == taken
