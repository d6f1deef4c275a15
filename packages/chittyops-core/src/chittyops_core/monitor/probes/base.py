"""What every probe is: checked when made, bounded in time, never raising when it looks."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, final

from chittyops_core._kit.clock import Clock, SystemClock
from chittyops_core.errors import ConditionError, MonitorError
from chittyops_core.model.monitoring import Measurement, Monitor, Scalar

__all__ = ["Check", "Deadline", "LookError", "Probe", "Unit", "Values", "nearest"]

Values = dict[str, Scalar]
Check = Callable[[Any], Any]
"""Turns what a person wrote into what the probe uses. Raises ValueError with what it wants."""


class Unit(StrEnum):
    """What a measured value counts in; a condition has to fit it."""

    DURATION = "seconds"
    SIZE = "bytes"
    PERCENT = "percent"
    NUMBER = "number"
    TEXT = "text"
    FLAG = "true or false"


class LookError(Exception):
    """There is no answer; the text says why, in one line for a person."""


class Deadline:
    """One end for a whole look, however many steps it has.

    A time limit per step is none: a server that sends a byte a second never reaches it.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s

    def left(self) -> float:
        """Return the seconds that are left, above zero. Raises TimeoutError."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class Probe(ABC):
    """One monitor's eye.

    Args:
        monitor: What to look at.
        clock: Tells the time where the probe compares looks; a test passes its own.

    Raises:
        MonitorError: Target or options are wrong.

    Attributes:
        default_conditions: What must hold when the monitor names no conditions.
        options: Mapping of each option's name to its check.
        values: Mapping of each value that a look can give to what it counts in.
        has_other_values: Whether a look may give values that are not in *values*.
    """

    default_conditions: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[Mapping[str, Check]] = {}
    values: ClassVar[Mapping[str, Unit]] = {}
    has_other_values: ClassVar[bool] = False

    def __init__(self, monitor: Monitor, clock: Clock | None = None) -> None:
        self.monitor = monitor
        self.clock = clock or SystemClock()
        if not monitor.timeout_s > 0:
            raise self._wrong(f"timeout_s is {monitor.timeout_s}, should be above 0")
        self._given = self._check_options()
        try:
            self._prepare(monitor.target)
        except ValueError as error:
            raise self._wrong(
                f"the target {self._shown_target()!r} does not fit: {error}"
            ) from error

    @final
    def look(self) -> Measurement:
        """Look once, for at most the monitor's `timeout_s`, and say what was seen.

        It never raises for what it looks at, never retries, and gives what it measured before
        it failed.
        """
        values: Values = {}
        error = ""
        deadline = Deadline(self.monitor.timeout_s)
        begin = time.monotonic()
        try:
            self._look(values, deadline)
        except LookError as failed:
            error = str(failed)
        except TimeoutError as failed:
            error = str(failed) or "no answer"
            error = f"{error} within {self.monitor.timeout_s:g}s"
        except Exception as failed:  # a bug of a probe must not end the agent
            error = (
                f"the probe {self.monitor.kind} itself failed: {type(failed).__name__}: {failed}"
            )
        seconds = time.monotonic() - begin
        return Measurement(seconds, values, one_line(error))

    def close(self) -> None:
        """End what a look of another thread has started, such as a process. May be called twice."""

    @abstractmethod
    def _prepare(self, target: str) -> None:
        """Read *target*, and what depends on several options. Raises ValueError."""

    @abstractmethod
    def _look(self, values: Values, deadline: Deadline) -> None:
        """Look once and add what is seen to *values*.

        Raises:
            LookError: There is no answer.
            TimeoutError: *deadline* is over; its text says what was waited for.
        """

    def _option(self, name: str, default: Any = None) -> Any:
        return self._given.get(name, default)

    def _asks_for(self, name: str) -> bool:
        """Say whether a condition asks for *name*: what is large is given only then."""
        conditions = self.monitor.conditions or self.default_conditions
        return any(re.match(rf"\s*{name}\b", text) for text in conditions)

    def _shown_target(self) -> str:
        """Return the target as messages may show it."""
        return self.monitor.target

    def _check_options(self) -> dict[str, Any]:
        checked = {}
        for name, value in self.monitor.options.items():
            check = self.options.get(name)
            if check is None:
                raise self._wrong(
                    f"the probe {self.monitor.kind} has no option {name!r}"
                    f"{nearest(name, self.options)}",
                    option=name,
                )
            try:
                checked[name] = check(value)
            except ConditionError as error:
                raise self._wrong(f"the option {name}: {error.message}", option=name) from error
            except ValueError as error:
                raise self._wrong(f"the option {name} should be {error}", option=name) from error
        return checked

    def _wrong(self, what: str, **facts: Any) -> MonitorError:
        return MonitorError(
            f"the monitor {self.monitor.name!r}: {what}",
            remedy="Correct the monitor; nothing was changed.",
            monitor=self.monitor.name,
            **facts,
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?`, or what there is, for a person who typed *name*."""
    import difflib  # only for who has made a mistake

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(names)}" if names else "; there is none"


def one_line(text: str, most: int = 500) -> str:
    """Return *text* on one line of at most *most* characters, without control characters."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= most else f"{line[: most - 3]}..."
