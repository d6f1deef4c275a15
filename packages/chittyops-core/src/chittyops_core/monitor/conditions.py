"""When an answer is good, in words: `status < 300`, `cert_expires_in > 14d`.

The whole grammar (spaces are free between its parts):

    condition = name ["." path] operator value
    path      = "$" { "." key | "['" text "']" | "[" index "]" }      only below `body`
    operator  = "==" | "!=" | "<=" | "<" | ">=" | ">" | "contains"
    value     = number [unit] | text | "true" | "false"
    number    = ["-"] digits ["." digits]
    unit      = "ms" | "s" | "m" | "h" | "d"                           durations
              | "K" | "M" | "G" | "T" | "Ki" | "Mi" | "Gi" | "Ti"      sizes; K is 1000, Ki 1024
              | "%"
    text      = a JSON string, or '...' without escapes

A path is the part of JSONPath (RFC 9535) that names one place: `$`, a name, an index from the
front. No library: `jsonpath-ng` brings a parser generator for filters that no probe needs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

from attrs import frozen

from chittyops_core.errors import ConditionError
from chittyops_core.model.monitoring import Scalar
from chittyops_core.monitor.units import DURATIONS, SIZES, show_duration

__all__ = ["Condition", "parse", "parse_duration"]

_FACTORS = {**DURATIONS, **SIZES, "%": 1.0, "": 1.0}
_ORDERINGS = ("<", "<=", ">", ">=")
MAX_LENGTH = 1000
"""Characters. A condition is one line for a person; a longer one is a mistake."""
MAX_SHOWN = 60
"""Characters of a seen text that an explanation shows."""

_SPACE = re.compile(r"[ \t]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)")
_INDEX = re.compile(r"\[(0|[1-9][0-9]{0,8})\]")
_QUOTED_KEY = re.compile(r"\['([^']*)'\]")
_OPERATOR = re.compile(r"==|!=|<=|>=|<|>|contains\b")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_UNIT = re.compile(r"[A-Za-z%]+")
_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PLAIN_TEXT = re.compile(r"'([^']*)'")
_WORD = re.compile(r"(true|false)\b")

_A_VALUE = 'a value such as 300, 500ms, 14d, 512M, 10%, "UP" or true'
_UNITS = "a unit: ms s m h d, K M G T, Ki Mi Gi Ti or %"


@frozen
class Condition:
    """One thing that must hold. `str()` gives text that `parse` reads back as the same value.

    Attributes:
        name: The measured value that it asks for.
        path: Where to look in a JSON body; None when it asks for the value itself.
        operator: One of `== != < <= > >= contains`.
        value: What to compare with, as written, before its unit.
        unit: Empty, or one of the units above.
    """

    name: str
    path: tuple[str | int, ...] | None
    operator: str
    value: float | str | bool
    unit: str = ""

    def explain(self, values: Mapping[str, Scalar]) -> str:
        """Return '' when it holds for *values*, else one line that says what was seen instead."""
        seen, missing = self._seen(values)
        if missing:
            return f"{self._subject()} {missing}, should be {self._wanted()}"
        if self._holds(seen):
            return ""
        if self.operator == "contains" and isinstance(seen, str) and self.path is None:
            return f"{self._subject()} does not contain {_show_literal(self.value, '')}"
        return f"{self._subject()} is {self._show(seen)}, should be {self._wanted()}"

    def __str__(self) -> str:
        return f"{self._subject()} {self._wanted(always=True)}"

    def _seen(self, values: Mapping[str, Scalar]) -> tuple[Any, str]:
        """Return what *values* hold here, and why there is nothing (empty when there is)."""
        seen: Any = values.get(self.name)
        if seen is None or (isinstance(seen, float) and math.isnan(seen)):
            return None, "was not measured"
        if self.path is None:
            return seen, ""
        try:
            seen = json.loads(seen)
        except (TypeError, ValueError, RecursionError):
            return None, "cannot be read: the body is no JSON"
        for step in self.path:
            fits = isinstance(seen, list) if isinstance(step, int) else isinstance(seen, dict)
            if (
                not fits
                or (isinstance(step, int) and step >= len(seen))
                or (isinstance(step, str) and step not in seen)
            ):
                return None, "is not in the body"
            seen = seen[step]
        return seen, "is null" if seen is None else ""

    def _holds(self, seen: Any) -> bool:
        wanted = self.value
        if self.operator == "contains":
            # A list of texts, or a text.
            return isinstance(seen, str | list) and wanted in seen
        if isinstance(wanted, float) and not isinstance(wanted, bool):
            wanted *= _FACTORS[self.unit]
        is_same_type = _is_number(seen) if _is_number(wanted) else isinstance(seen, type(wanted))
        if self.operator == "==":
            return is_same_type and bool(seen == wanted)
        if self.operator == "!=":
            return not is_same_type or bool(seen != wanted)
        if not is_same_type:
            return False
        orders = {"<": seen < wanted, "<=": seen <= wanted, ">": seen > wanted}
        return bool(orders.get(self.operator, seen >= wanted))

    def _subject(self) -> str:
        if self.path is None:
            return self.name
        return f"{self.name}.${''.join(_show_step(step) for step in self.path)}"

    def _wanted(self, *, always: bool = False) -> str:
        literal = _show_literal(self.value, self.unit)
        return literal if self.operator == "==" and not always else f"{self.operator} {literal}"

    def _show(self, seen: Any) -> str:
        if not _is_number(seen):
            if isinstance(seen, dict | list):
                return "an object" if isinstance(seen, dict) else "a list"
            text = json.dumps(seen, ensure_ascii=False)
            return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
        if self.unit in DURATIONS:
            return show_duration(float(seen))
        if self.unit in SIZES:
            return f"{seen / SIZES[self.unit]:.4g}{self.unit}"
        return f"{seen:.6g}{self.unit}"


def parse(text: str) -> Condition:
    """Read one condition.

    Raises:
        ConditionError: It cannot be read; says where and what was expected there.
    """
    return _Reader(text).condition()


def parse_duration(text: str | float) -> float:
    """Return the seconds that `90s`, `1.5h` or a plain number of seconds means.

    Raises:
        ConditionError: It is something else, or not above zero.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        _Reader(repr(text)).fail(0, "a duration such as 500ms, 30s or 1h")
    reader = _Reader(str(text))
    number, unit = reader.number(), reader.unit()
    if unit not in {*DURATIONS, ""} or number <= 0 or not reader.is_at_end():
        reader.fail(0, "a duration above zero, such as 500ms, 30s or 1h")
    return number * _FACTORS[unit]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _show_step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _KEY.fullmatch(f".{step}") else f"['{step}']"


def _show_literal(value: float | str | bool, unit: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    number = format(Decimal(repr(value)), "f")
    return f"{number.removesuffix('.0')}{unit}"


class _Reader:
    """Reads *text* from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def condition(self) -> Condition:
        if len(self.text) > MAX_LENGTH:
            self.fail(MAX_LENGTH, f"at most {MAX_LENGTH} characters")
        name = self._need(_NAME, "the name of a measured value, such as status")[0]
        path = self._path(name)
        place = self._skip()
        found = self._need(_OPERATOR, "one of == != < <= > >= contains")[0]
        value_place = self._skip()
        value, unit = self._value()
        if not self.is_at_end():
            self.fail(self.at, "the end: one condition a text")
        if found == "contains" and not isinstance(value, str):
            self.fail(value_place, 'a quoted text after contains, such as "ok"')
        if found in _ORDERINGS and not _is_number(value):
            self.fail(place, "== or !=: only numbers have an order")
        return Condition(name, path, found, value, unit)

    def _path(self, name: str) -> tuple[str | int, ...] | None:
        if not self.text.startswith(".", self.at):
            return None
        if name != "body":
            self.fail(self.at, "an operator: only body has parts, such as body.$.status")
        if not self.text.startswith("$", self.at + 1):
            self.fail(self.at + 1, "$, the whole body: body.$.status")
        self.at += 2
        steps: list[str | int] = []
        while self.text[self.at : self.at + 1] in (".", "["):
            if index := self._take(_INDEX):
                steps.append(int(index[1]))
            elif key := self._take(_KEY) or self._take(_QUOTED_KEY):
                steps.append(key[1])
            else:
                self.fail(self.at, "a step: .name, ['name'] or [0]")
        return tuple(steps)

    def _value(self) -> tuple[float | str | bool, str]:
        if word := self._take(_WORD):
            return word[1] == "true", ""
        if plain := self._take(_PLAIN_TEXT):
            return plain[1], ""
        place = self.at
        if quoted := self._take(_JSON_TEXT):
            try:
                return str(json.loads(quoted[0], strict=False)), ""
            except ValueError:
                self.fail(place, "a text with JSON's escapes: \\\" \\\\ \\n \\t \\u00e9")
        return self.number(), self.unit()

    def number(self) -> float:
        """Read a number. Raises ConditionError."""
        self._skip()
        place = self.at
        number = float(self._need(_NUMBER, _A_VALUE)[0])
        if not math.isfinite(number):
            self.fail(place, "a number below 1.8e308")
        return number

    def unit(self) -> str:
        """Read a unit; '' where there is none. Raises ConditionError."""
        place = self.at
        found = self._take(_UNIT)
        unit = found[0] if found else ""
        if unit not in _FACTORS:
            self.fail(place, _UNITS)
        return unit

    def is_at_end(self) -> bool:
        self._skip()
        return self.at == len(self.text)

    def _skip(self) -> int:
        self._take(_SPACE)
        return self.at

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def _need(self, pattern: re.Pattern[str], expected: str) -> re.Match[str]:
        self._skip()
        return self._take(pattern) or self.fail(self.at, expected)

    def fail(self, place: int, expected: str) -> NoReturn:
        """Raise ConditionError: at *place* (0-based) there should be *expected*."""
        # One column a character, so that the caret stands where it belongs.
        shown = "".join(c if c.isprintable() else "?" for c in self.text[: MAX_LENGTH + 1])
        raise ConditionError(
            f"cannot read {shown!r} at column {place + 1}: expected {expected}",
            remedy='Conditions look like: status < 300, response_time < 500ms, body contains "ok".',
            detail=(shown, " " * place + "^"),
            text=self.text[: MAX_LENGTH + 1],
            column=place + 1,
            expected=expected,
        )
