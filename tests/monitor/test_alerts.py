"""When an alert speaks, and when it keeps quiet."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.model.monitoring import AlertState, Message, Observation, Severity
from chittyops_core.monitor.alerts import Alert, NoData, Rule, step

RULE = Rule()
EVERY_S = 30.0


class Watch:
    """Feeds one alert, 30 s apart; `+` is a good look, `-` a failed one, `.` none at all."""

    def __init__(self, rule: Rule = RULE) -> None:
        self.rule = rule
        self.alert = Alert("shop.production/http")
        self.messages: list[Message] = []
        self.at = 1_800_000_000.0

    def see(self, looks: str, *, silenced: bool = False, maintenance: bool = False) -> AlertState:
        for look in looks:
            self.at += EVERY_S
            seen = (
                NoData(self.at)
                if look == "."
                else Observation("m", self.at, look == "+", 0.1, "" if look == "+" else "down")
            )
            self.alert, message = step(
                self.alert, self.rule, seen,
                elapsed_s=EVERY_S, silenced=silenced, maintenance=maintenance,
            )  # fmt: skip
            self.messages += [message] if message else []
        return self.alert.state

    @property
    def told(self) -> list[str]:
        return [message.state.value for message in self.messages]


@pytest.mark.parametrize(
    "bad", [{"fail": 0}, {"clean": 0}, {"clean_s": -1}, {"renotify_s": 0}, {"late_after": 0}]
)
def test_a_rule_that_cannot_be_kept_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Rule(**bad)  # type: ignore[arg-type]


def test_one_failure_is_pending_three_fire_and_one_message_says_so() -> None:
    watch = Watch()
    first_failure = watch.at + 2 * EVERY_S

    assert watch.see("+-") is AlertState.PENDING
    assert watch.see("-") is AlertState.PENDING
    assert watch.see("-----") is AlertState.FIRING

    assert watch.told == ["firing"]
    message = watch.messages[0]
    assert (message.id, message.alert) == ("shop.production/http:1", "shop.production/http")
    assert (message.severity, message.body) == (Severity.PAGE, "down")
    assert watch.alert.since == first_failure


def test_a_good_look_ends_pending() -> None:
    watch = Watch()

    assert watch.see("--+--+") is AlertState.OK
    assert watch.told == []


def test_it_resolves_after_ten_clean_looks_and_five_clean_minutes() -> None:
    """Looks 30 s apart: the eleventh is five minutes after the first."""
    watch = Watch()
    watch.see("---")

    assert watch.see("+" * 10) is AlertState.FIRING
    assert watch.see("+") is AlertState.RESOLVED
    assert watch.see("+") is AlertState.OK
    assert watch.told == ["firing", "resolved"]
    assert [message.id.rpartition(":")[2] for message in watch.messages] == ["1", "2"]


def test_quick_looks_still_need_five_minutes() -> None:
    alert = Alert("m", state=AlertState.FIRING, is_open=True, told=AlertState.FIRING)
    for _ in range(29):
        alert, _message = step(alert, RULE, Observation("m", 0, True, 0.1), elapsed_s=10)
        assert alert.state is AlertState.FIRING


def test_a_failure_while_it_fires_begins_the_clean_count_again() -> None:
    watch = Watch()
    watch.see("---")

    assert watch.see("+" * 10 + "-" + "+" * 10) is AlertState.FIRING
    assert watch.told == ["firing"]


def test_it_repeats_itself_every_four_hours() -> None:
    watch = Watch()
    watch.see("-" * (3 + 480 * 2))

    assert watch.told == ["firing"] * 3
    assert "still" in watch.messages[1].title


def test_a_dead_prober_is_told_once_and_its_end_once() -> None:
    watch = Watch()

    assert watch.see("+..") is AlertState.OK
    assert watch.see("." * 1000) is AlertState.NO_DATA
    assert watch.see("++") is AlertState.NO_DATA
    assert watch.see("+") is AlertState.OK
    assert watch.told == ["no-data", "resolved"]


def test_a_prober_that_comes_and_goes_is_told_once() -> None:
    watch = Watch()
    watch.see("...+" * 100)

    assert watch.told == ["no-data"]


def test_what_fired_before_no_data_still_fires_after_it() -> None:
    watch = Watch()
    watch.see("---....")

    assert watch.see("+++") is AlertState.FIRING
    assert watch.see("+" * 11) is AlertState.RESOLVED
    assert watch.told == ["firing", "no-data", "firing", "resolved"]


def test_failures_right_after_no_data_fire() -> None:
    watch = Watch()
    watch.see("...")

    assert watch.see("---") is AlertState.FIRING
    assert watch.told == ["no-data", "firing"]


@pytest.mark.parametrize("how", ["silenced", "maintenance"])
def test_silence_keeps_the_state_and_says_afterwards_what_still_fires(how: str) -> None:
    watch = Watch()

    assert watch.see("-----", **{how: True}) is AlertState.FIRING
    assert watch.told == []
    watch.see("-")
    assert watch.told == ["firing"]


@pytest.mark.parametrize("how", ["silenced", "maintenance"])
def test_what_came_and_went_in_silence_is_never_told(how: str) -> None:
    watch = Watch()
    watch.see("---" + "+" * 12, **{how: True})
    watch.see("+++")

    assert watch.told == []


def test_who_was_told_that_it_fires_is_told_that_it_resolved_in_silence() -> None:
    watch = Watch()
    watch.see("---")
    watch.see("+" * 12, silenced=True)
    watch.see("+")

    assert watch.told == ["firing", "resolved"]


def test_a_burn_rate_alert_follows_its_condition() -> None:
    watch = Watch(Rule(fail=1, clean=1, clean_s=0, severity=Severity.TICKET))
    watch.see("+-+")

    assert watch.told == ["firing", "resolved"]
    assert {message.severity for message in watch.messages} == {Severity.TICKET}


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 40 * 365 * 86400.0])
@pytest.mark.parametrize("before", ["+", "-", "---", "---+++++", "..", "..."])
def test_a_jump_of_the_wall_clock_changes_no_decision(jump_s: float, before: str) -> None:
    straight, jumped = Watch(), Watch()
    after = "++--+...---+++++++++++++"
    for watch in (straight, jumped):
        watch.see(before)
    jumped.at += jump_s

    assert [straight.see(look) for look in after] == [jumped.see(look) for look in after]
    assert straight.told == jumped.told


LOOKS = st.lists(st.tuples(st.sampled_from("++++---."), st.booleans(), st.booleans()), max_size=300)


@given(LOOKS, st.integers(1, 4), st.integers(1, 12), st.integers(1, 4))
def test_what_always_holds(
    looks: Iterable[tuple[str, bool, bool]], fail: int, clean: int, late: int
) -> None:
    """Of any sequence of looks, gaps and silences."""
    watch = Watch(Rule(fail=fail, clean=clean, clean_s=clean * EVERY_S, late_after=late))
    run_failed = run_missed = 0
    for look, silenced, maintenance in looks:
        before = watch.alert
        sent = len(watch.messages)
        state = watch.see(look, silenced=silenced, maintenance=maintenance)
        run_failed = run_failed + 1 if look == "-" else (run_failed if look == "." else 0)
        run_missed = run_missed + 1 if look == "." else 0

        if (silenced or maintenance) or state is AlertState.PENDING is before.state:
            assert len(watch.messages) == sent
        if look == "-" and run_failed >= fail and not before.missed >= late:
            assert state is AlertState.FIRING or before.state is AlertState.NO_DATA
        if state is AlertState.FIRING and not before.is_open:
            assert look == "-" and watch.alert.failures >= fail
        if run_missed >= late:
            assert state is AlertState.NO_DATA
        if state is AlertState.RESOLVED and before.state is not AlertState.RESOLVED:
            assert before.state is AlertState.FIRING and before.clean + 1 >= clean
        if not (silenced or maintenance):  # What people believe is what holds.
            speaks = state in (AlertState.FIRING, AlertState.NO_DATA)
            assert watch.alert.told is (state if speaks else AlertState.RESOLVED)
    assert [m.id for m in watch.messages] == [
        f"shop.production/http:{n + 1}" for n in range(len(watch.messages))
    ]
    told = watch.told  # No state twice in a row: nothing here lasts four hours.
    assert all(a != b for a, b in pairwise(told))
