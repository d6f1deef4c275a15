"""Quantile sketches."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.monitor.sketch import ACCURACY, SMALLEST, Sketch

SECONDS = st.one_of(st.just(0.0), st.floats(min_value=1e-8, max_value=1e8))
MANY = st.lists(SECONDS, min_size=1, max_size=200)


@pytest.mark.parametrize("value", [-0.001, math.nan, math.inf, -math.inf])
def test_what_is_no_duration_is_refused(value: float) -> None:
    """And nothing is counted."""
    sketch = Sketch([1.0])

    with pytest.raises(ValueError, match="duration"):
        sketch.add(value)

    assert len(sketch) == 1


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_quantile_is_from_0_to_1(q: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Sketch([1.0]).quantile(q)


def test_an_empty_sketch_has_no_quantile_and_no_bytes() -> None:
    assert Sketch().quantile(0.5) is None
    assert Sketch().to_bytes() == b""
    assert Sketch.from_bytes(b"") == Sketch()


@pytest.mark.parametrize("data", [b"\x80", b"\x00\x01", b"\x00\x01\x80"])
def test_bytes_that_are_cut_off_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cut off"):
        Sketch.from_bytes(data)


@given(MANY, st.floats(min_value=0, max_value=1))
def test_a_quantile_is_within_one_percent(values: list[float], q: float) -> None:
    """Of the value at that rank (Masson et al. 2019, definition 1)."""
    exact = sorted(values)[math.floor(q * (len(values) - 1))]

    found = Sketch(values).quantile(q)

    assert found is not None
    assert abs(found - exact) <= ACCURACY * exact * (1 + 1e-9) + SMALLEST


@given(MANY, MANY)
def test_merged_is_as_if_all_had_been_added_to_one(left: list[float], right: list[float]) -> None:
    merged = Sketch(left)
    merged.merge(Sketch(right))

    assert merged == Sketch(left + right)
    assert merged.to_bytes() == Sketch(right + left).to_bytes()


@given(st.lists(SECONDS, max_size=100))
def test_bytes_and_back(values: list[float]) -> None:
    sketch = Sketch(values)

    assert Sketch.from_bytes(sketch.to_bytes()) == sketch


def test_a_minute_of_six_looks_takes_few_bytes() -> None:
    """100 monitors have 50 million of them in a year."""
    assert len(Sketch([0.021, 0.024, 0.022, 0.030, 0.019, 0.1]).to_bytes()) <= 16
