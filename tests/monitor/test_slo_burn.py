"""Burn rates by counted events: against the workbook's table, and against counting one by one."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from chittyops_core.monitor.burn_rates import MinuteCounts, evaluate
from chittyops_core.monitor.objectives import (
    DAY_S,
    Alerting,
    AlertSwitch,
    MonitorEvents,
    Objective,
    burn_rules,
)

START = 1_767_225_600
OBJECTIVE = Objective(
    name="reachable",
    service="court.production",
    indicator=MonitorEvents("court/http"),
    target=0.999,
)


def steady(minutes: int, bad: int, total: int = 1000) -> MinuteCounts:
    kept = MinuteCounts(START)
    for minute in range(minutes):
        kept.add(START + minute * 60, total - bad, total)
    return kept


@pytest.mark.parametrize("target", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_a_target_without_a_budget_is_refused(target: float) -> None:
    """Burn rates would divide by nothing."""
    with pytest.raises(ValueError, match="cannot be"):
        evolve(OBJECTIVE, target=target)


@pytest.mark.parametrize(("good", "total"), [(2, 1), (-1, 1), (0, -1)])
def test_counts_that_cannot_be_are_refused(good: int, total: int) -> None:
    """Where they are added, and where they are used; nothing is changed."""
    kept = steady(3, bad=0)
    with pytest.raises(ValueError, match="cannot be"):
        kept.add(START, good, total)
    with pytest.raises(ValueError, match="objective court"):
        evaluate(OBJECTIVE, lambda since, until: (good, total), START)

    assert kept.counts(START, START + 600) == (3000, 3000)


def test_an_event_before_the_first_minute_is_refused() -> None:
    """It has no place; the caller hears of it."""
    with pytest.raises(ValueError, match="before the first minute"):
        steady(1, bad=0).add(START - 1, 1, 1)


def test_the_rules_are_those_of_the_workbook() -> None:
    """Chapter 5, table 5-8: 14.4, 6, 3 and 1 over 30 days; and in 28 days as much of the budget."""
    assert [rule.factor for rule in burn_rules(30)] == [14.4, 6, 3, 1]
    assert [(rule.long, rule.short) for rule in burn_rules(30)] == [
        ("1h", "5m"), ("6h", "30m"), ("1d", "2h"), ("3d", "6h")
    ]  # fmt: skip
    assert [rule.factor for rule in burn_rules(28)] == pytest.approx([13.44, 5.6, 2.8, 28 / 30])


@pytest.mark.parametrize(
    ("bad", "page", "ticket"),
    [(0, False, False), (1, False, False), (2, False, True), (6, False, True), (7, True, True),
     (1000, True, True)],
)  # fmt: skip
def test_what_burns_steadily_is_judged_by_its_rate(bad: int, page: bool, ticket: bool) -> None:
    """At 1x nothing, over 1x a ticket, over 6x a page: of 1000 events a minute 1 may fail."""
    state = evaluate(OBJECTIVE, steady(4 * 1440, bad).counts, START + 4 * DAY_S)

    assert (page, ticket) == (state.page, state.ticket)
    assert state.burn["1h"] == pytest.approx(bad)
    assert state.budget_left == pytest.approx(1 - bad)
    assert bool(state.why) == (page or ticket)


def test_an_alert_ends_soon_after_the_errors_do() -> None:
    """That is what the short window is for."""
    kept = steady(1440, bad=0)
    for minute in range(1440, 1460):
        kept.add(START + minute * 60, 0, 1000)
    for minute in range(1460, 1500):
        kept.add(START + minute * 60, 1000, 1000)

    during = evaluate(OBJECTIVE, kept.counts, START + 1460 * 60)
    after = evaluate(OBJECTIVE, kept.counts, START + 1495 * 60)

    assert during.page
    assert "over 1h" in during.why
    assert not after.page
    assert after.burn["1h"] > 14.4


def test_busy_minutes_weigh_more_than_quiet_ones() -> None:
    """An hour in which 2 quiet minutes failed wholly has burnt little; their mean would page."""
    kept = MinuteCounts(START)
    for minute in range(60):
        kept.add(START + minute * 60, 0 if minute < 2 else 10_000, 1 if minute < 2 else 10_000)

    state = evaluate(OBJECTIVE, kept.counts, START + 3600)

    assert state.burn["1h"] == pytest.approx(2 / 580_002 / 0.001)
    assert not state.page


def test_no_events_are_no_data_and_no_alert() -> None:
    """Neither good nor bad, and it is said."""
    never = evaluate(OBJECTIVE, MinuteCounts(START).counts, START + DAY_S)
    kept = steady(60, bad=1000)
    silent = evaluate(OBJECTIVE, kept.counts, START + 3600 + 7200)

    assert (never.page, never.ticket, never.budget_left, never.has_data) == (
        False, False, None, False
    )  # fmt: skip
    assert never.why == "no data: not one event in 3d"
    assert silent.has_data
    assert silent.burn["2h"] is None
    assert not silent.page
    assert silent.ticket
    assert "ticket at 1); no data: not one event in 2h" in silent.why


def test_an_alert_that_is_switched_off_never_fires() -> None:
    """And the other one still does."""
    quiet = evolve(OBJECTIVE, alerting=Alerting(page=AlertSwitch(is_on=False)))

    state = evaluate(quiet, steady(120, bad=500).counts, START + 7200)

    assert not state.page
    assert state.ticket
    assert "ticket" in state.why


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 50), st.integers(0, 50)), max_size=40),
    st.lists(st.tuples(st.integers(-100, 6000), st.integers(-100, 6000)), min_size=1, max_size=10),
)
def test_windows_are_what_counting_one_by_one_gives(
    events: list[tuple[int, int, int]], windows: list[tuple[int, int]]
) -> None:
    """Whatever comes late, and wherever a window begins and ends, rounded down to minutes."""
    kept = MinuteCounts(START)
    for second, good, bad in events:
        kept.add(START + second, good, good + bad)

    for since, until in windows:
        low, high = since // 60 * 60, until // 60 * 60
        inside = [(good, good + bad) for second, good, bad in events if low <= second < high]
        expected = (sum(good for good, _ in inside), sum(total for _, total in inside))
        assert expected == kept.counts(START + since, START + until)


def test_a_clock_that_jumps_far_ahead_costs_no_memory() -> None:
    """The minutes between are not filled in, and what comes then is counted."""
    kept = steady(10, bad=0)

    kept.add(START * 1000, 1, 2)

    assert kept.counts(START, START * 1000 + 60) == (1, 2)


def test_old_minutes_are_let_go() -> None:
    """What is kept stays bounded, and what is asked for within it stays right."""
    kept = MinuteCounts(START, keep_s=3600)
    for minute in range(1000):
        kept.add(START + minute * 60, 1, 2)
    now = START + 1000 * 60

    assert kept.start > START
    assert kept.counts(now - 3600, now) == (60, 120)
    assert kept.counts(START, now)[1] <= 2 * 66
