"""Conditions: read, shown, judged; whatever a person types, the answer is a clear one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.errors import ConditionError
from chittyops_core.monitor.conditions import Condition, parse, parse_duration
from chittyops_core.monitor.units import show_duration

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
STEPS = st.one_of(
    st.integers(0, 999), st.text(st.characters(exclude_characters="'", codec="utf-8"), max_size=8)
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
UNITS = st.sampled_from(["", "ms", "s", "m", "h", "d", "K", "M", "G", "T", "Ki", "Mi", "Ti", "%"])


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    path = draw(st.none() | st.lists(STEPS, max_size=4).map(tuple))
    name = "body" if path is not None else draw(NAMES)
    operator = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "contains"]))
    if operator == "contains":
        return Condition(name, path, operator, draw(st.text(max_size=20)))
    if operator in ("==", "!=") and draw(st.booleans()):
        return Condition(name, path, operator, draw(st.booleans() | st.text(max_size=20)))
    return Condition(name, path, operator, draw(NUMBERS), draw(UNITS))


@given(conditions())
def test_what_a_condition_shows_reads_back_as_the_same(condition: Condition) -> None:
    """`str()` loses nothing."""
    assert parse(str(condition)) == condition


@given(
    st.text()
    | st.text("abody.$[]'\"0123 <>=!ms%K\\-\n\x00", max_size=30)
    | conditions().map(str).flatmap(lambda text: st.integers(0, len(text)).map(lambda n: text[:n]))
)
def test_no_text_makes_the_parser_raise_anything_but_its_own_error(text: str) -> None:
    """Bad input gets a ConditionError whose caret is at or just behind the text."""
    try:
        parse(text)
    except ConditionError as error:
        shown, caret = error.detail

        assert 1 <= error.facts["column"] <= len(text) + 1
        assert caret.index("^") + 1 == error.facts["column"]
        assert len(shown) == len(text)
        assert error.facts["expected"] in error.message


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 1, "the name of a measured value"),
        ("status", 7, "one of == !="),
        ("status < ", 10, "a value such as"),
        ("status < abc", 10, "a value such as"),
        ("status = 200", 8, "one of == !="),
        ("status < 300 and up == true", 14, "the end"),
        ("status < 300x", 13, "a unit"),
        ("rss < 512MB", 10, "a unit"),
        ("status < 1e3", 11, "a unit"),
        ('status < "a"', 8, "only numbers have an order"),
        ("status < true", 8, "only numbers have an order"),
        ("body contains 5", 15, "a quoted text"),
        ("status.$.a == 1", 7, "only body has parts"),
        ("body.status == 1", 6, "$, the whole body"),
        ("body.$..a == 1", 7, "a step"),
        ("body.$[*] == 1", 7, "a step"),
        ("body.$[-1] == 1", 7, "a step"),
        ('body == "open', 9, "a value such as"),
        (r'body == "\x"', 9, "JSON's escapes"),
        ("a < " + "9" * 400, 5, "a number below"),
        ("__import__('os')", 11, "one of == !="),
        ("a == 1" + " " * 1000, 1001, "at most 1000"),
    ],
)
def test_an_error_says_where_and_what_was_expected(text: str, column: int, expected: str) -> None:
    """One column, one expectation."""
    with pytest.raises(ConditionError) as caught:
        parse(text)

    assert expected in caught.value.facts["expected"]
    assert caught.value.facts["column"] == column


BODY = '{"status": "UP", "n": 3, "list": [{"a-b": true}], "we ird": null, "tags": ["x"], "o": {}}'


@pytest.mark.parametrize(
    "text",
    [
        "status < 300", "status<300", "response_time < 500ms", "cert_expires_in > 14d",
        "free_percent >= 10%", "rss < 512M", "rss<1Gi", 'body.$.status == "UP"',
        "body.$.status == 'UP'", 'body contains "UP"', "body.$.n == 3", "body.$.n != 4",
        "body.$.list[0].a-b == true", "body.$['list'][0]['a-b'] == true",
        'body.$.tags contains "x"', "up == true", "up != false", 'body.$.n != "3"',
    ],
)  # fmt: skip
def test_conditions_that_hold_explain_nothing(text: str) -> None:
    """The explanation of what holds is empty."""
    values = {
        "status": 204, "response_time": 0.4999, "cert_expires_in": 14 * 86400 + 1.0, "up": True,
        "free_percent": 10.0, "rss": 511e6, "body": BODY,
    }  # fmt: skip

    assert parse(text).explain(values) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("status < 300", "status is 503, should be < 300"),
        ("response_time < 500ms", "response_time is 740ms, should be < 500ms"),
        ("cert_expires_in > 14d", "cert_expires_in is 13.5d, should be > 14d"),
        ("rss < 512M", "rss is 600M, should be < 512M"),
        ("free_percent >= 10%", "free_percent is 9.5%, should be >= 10%"),
        ('body.$.status == "DOWN"', 'body.$.status is "UP", should be "DOWN"'),
        ('body contains "ok"', 'body does not contain "ok"'),
        ("body.$.gone == 1", "body.$.gone is not in the body, should be 1"),
        ("body.$.list[1] == 1", "body.$.list[1] is not in the body, should be 1"),
        ("body.$[0] == 1", "body.$[0] is not in the body, should be 1"),
        ("body.$['we ird'] == 1", "body.$['we ird'] is null, should be 1"),
        ("body.$.o == 1", "body.$.o is an object, should be 1"),
        ('body.$.n == "3"', 'body.$.n is 3, should be "3"'),
        ("body.$.status > 3", 'body.$.status is "UP", should be > 3'),
        ("nothing < 3", "nothing was not measured, should be < 3"),
        ("nothing != 3", "nothing was not measured, should be != 3"),
        ("odd < 3", "odd was not measured, should be < 3"),
        ("up == 1", "up is true, should be 1"),
        ("status.$ == 1", None),
        ("text.$.a == 1", None),
    ],
)
def test_conditions_that_fail_say_what_was_seen(text: str, why: str | None) -> None:
    """A missing value fails and says that it is missing."""
    values = {
        "status": 503, "response_time": 0.74, "cert_expires_in": 13.5 * 86400, "rss": 6e8,
        "free_percent": 9.5, "body": BODY, "up": True, "odd": math.nan,
    }  # fmt: skip
    if why is None:
        with pytest.raises(ConditionError):
            parse(text)
        return

    assert parse(text).explain(values) == why


def test_a_body_that_is_no_json_fails_and_says_so() -> None:
    """Also one that is nested so deeply that Python's parser gives up."""
    condition = parse("body.$.a == 1")

    assert "the body is no JSON" in condition.explain({"body": "<html>"})
    assert "the body is no JSON" in condition.explain({"body": "[" * 60000})


@given(st.floats(0.001, 1e9))
def test_a_shown_duration_is_near_the_real_one(seconds: float) -> None:
    """What a person reads is right to three digits."""
    shown = show_duration(seconds)
    if "e" not in shown:
        assert parse_duration(shown) == pytest.approx(seconds, rel=6e-3)


@pytest.mark.parametrize("text", ["", "x", "5K", "-1s", "0", "1s 2m", True, None, [1]])
def test_what_is_no_duration_is_refused(text: object) -> None:
    """Zero and less, other units, other types."""
    with pytest.raises(ConditionError, match=r"a duration|a value"):
        parse_duration(text)  # type: ignore[arg-type]
