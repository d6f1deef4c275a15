"""Counters, histograms and gauges of one process: bounded, safe with threads and forks."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

from chittyops_core.errors import UsageError
from chittyops_core.metrics.rules import Labels, check_name, check_text, read_bounds, read_labels

__all__ = ["Cell", "Combine", "Counter", "Gauge", "Histogram", "Instrument", "Labels", "Registry"]

Combine = Literal["last", "sum", "min", "max"]

MAX_SERIES = 1_000
"""Series of one process. More are a mistake, such as a user's id as a label."""
OVERFLOW: Labels = (("otel.metric.overflow", "true"),)
"""Where series beyond the bound are counted (OpenTelemetry metrics SDK, cardinality limits)."""

_log = logging.getLogger("chittyops.metrics")


class Cell:
    """The values of one series. Changed under its instrument's lock only.

    Attributes:
        labels: Which series it is.
        value: Of a counter or gauge; the sum of a histogram.
        counts: Of a histogram: how many fell into each bucket, the last is above all bounds.
        changes: How often it changed.
        sent: *changes* of what the agent has.
        at: Of a gauge: seconds since the epoch when it was set.
    """

    __slots__ = ("at", "changes", "counts", "labels", "sent", "value")

    def __init__(self, labels: Labels, buckets: int) -> None:
        self.labels = labels
        self.value = 0.0
        self.counts = [0] * buckets
        self.changes = 0
        self.sent = -1
        self.at = 0.0


class Instrument:
    """What counters, histograms and gauges have in common: their series.

    Nothing raises after an instrument was made: a value that cannot be counted is left out and
    told once in the log (OpenTelemetry, error handling principles).
    """

    kind = ""

    def __init__(self, registry: Registry, name: str, unit: str, description: str) -> None:
        self.name = name
        self.unit = unit
        self.description = description
        self.bounds: tuple[float, ...] = ()
        self.combine: Combine = "sum"
        self._registry = registry
        self._has_complained = False
        self.forget()

    def forget(self) -> None:
        """Start at zero; in a forked child, where the lock may be held by nobody that lives."""
        self.lock = threading.Lock()
        self._cells: dict[tuple[tuple[str, object], ...], Cell] = {}  # As written, for speed.
        self._series: dict[Labels, Cell] = {}  # By labels in order.

    def cells(self) -> list[Cell]:
        """Return the series there are."""
        with self.lock:
            return list(self._series.values())

    def _find(self, written: dict[str, object]) -> Cell:
        labels = read_labels(written)
        if labels is None:
            self._complain("labels that cannot be", written)
            labels = OVERFLOW
        with self.lock:
            cell = self._series.get(labels)
            if cell is None:
                if not self._registry.take_place(self):
                    labels = OVERFLOW
                    cell = self._series.get(labels)
                if cell is None:
                    buckets = len(self.bounds) + 1 if self.kind == "histogram" else 0
                    cell = self._series[labels] = Cell(labels, buckets)
            # Only texts: 1, 1.0 and True are one key and three labels.
            is_plain = all(type(value) is str for value in written.values())
            if is_plain and labels is not OVERFLOW and len(self._cells) < 4 * MAX_SERIES:
                self._cells[tuple(written.items())] = cell
        self._registry.wake()
        return cell

    def _cell(self, labels: dict[str, object]) -> Cell:
        try:
            return self._cells[tuple(labels.items())]
        except (KeyError, TypeError):
            return self._find(labels)

    def _complain(self, what: str, value: object) -> None:
        if not self._has_complained:
            self._has_complained = True
            _log.warning("metrics: %s was given %s: %.200r; left out", self.name, what, value)


class Counter(Instrument):
    """What only grows: requests, orders, bytes."""

    kind = "counter"

    def add(self, amount: float = 1, /, **labels: object) -> None:
        """Add *amount*, not negative, to the series with *labels*."""
        try:
            cell = self._cells[tuple(labels.items())]
        except (KeyError, TypeError):
            cell = self._find(labels)
        try:
            if 0 <= amount < math.inf:
                with self.lock:
                    cell.value += amount
                    cell.changes += 1
                return
        except (TypeError, OverflowError):
            pass
        self._complain("no amount that a counter can grow by", amount)


class Histogram(Instrument):
    """How values are spread: durations, sizes."""

    kind = "histogram"

    def record(self, value: float, /, **labels: object) -> None:
        """Count *value*, in the histogram's unit, in the series with *labels*."""
        cell = self._cell(labels)
        try:
            if -math.inf < value < math.inf:
                place = bisect_left(self.bounds, value)
                with self.lock:
                    cell.counts[place] += 1
                    cell.value += value
                    cell.changes += 1
                return
        except (TypeError, OverflowError):
            pass
        self._complain("no number", value)


class Gauge(Instrument):
    """What goes up and down: a queue's length, a temperature."""

    kind = "gauge"

    def set(self, value: float, /, **labels: object) -> None:
        """Make *value* that of the series with *labels*."""
        self._put(value, labels, keep=0.0)

    def add(self, amount: float, /, **labels: object) -> None:
        """Change the series with *labels* by *amount*, which may be negative."""
        self._put(amount, labels, keep=1.0)

    def _put(self, value: float, labels: dict[str, object], *, keep: float) -> None:
        cell = self._cell(labels)
        try:
            if -math.inf < value < math.inf:
                with self.lock:
                    cell.value = cell.value * keep + value
                    cell.at = time.time()
                    cell.changes += 1
                return
        except (TypeError, OverflowError):
            pass
        self._complain("no number", value)


I = TypeVar("I", bound=Instrument)  # noqa: E741


class Registry:
    """The instruments of one process, and how many series they may have together.

    Args:
        max_series: Further series of an instrument are counted in one, `otel.metric.overflow`.
    """

    _lock: threading.Lock
    _taken: int
    _is_full: bool

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self.max_series = max_series
        self.on_series: Callable[[], None] | None = None
        self._instruments: dict[str, Instrument] = {}
        self._forget()
        this = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: _call(this))

    def counter(self, name: str, *, unit: str = "", description: str = "") -> Counter:
        """See `metrics.counter`."""
        return self._instrument(Counter(self, name, unit, description))

    def histogram(
        self,
        name: str,
        *,
        unit: str = "",
        description: str = "",
        bounds: Sequence[float] | None = None,
    ) -> Histogram:
        """See `metrics.histogram`."""
        made = Histogram(self, name, unit, description)
        made.bounds = read_bounds(name, unit, bounds)
        return self._instrument(made)

    def gauge(
        self, name: str, *, unit: str = "", description: str = "", combine: Combine = "last"
    ) -> Gauge:
        """See `metrics.gauge`."""
        if combine not in ("last", "sum", "min", "max"):
            raise UsageError(
                f"gauge {name!r} has combine={combine!r}", remedy="Use last, sum, min or max."
            )
        made = Gauge(self, name, unit, description)
        made.combine = combine
        return self._instrument(made)

    def instruments(self) -> list[Instrument]:
        """Return the instruments, in the order in which they were made."""
        with self._lock:
            return list(self._instruments.values())

    def read(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield name, labels and value of each series; of a histogram, how many values it has."""
        for instrument in self.instruments():
            for cell in instrument.cells():
                value = float(sum(cell.counts)) if cell.counts else cell.value
                yield instrument.name, dict(cell.labels), value

    def take_place(self, instrument: Instrument) -> bool:
        """Return whether there is room for one more series; tell the log when there is none."""
        with self._lock:
            if self._taken < self.max_series:
                self._taken += 1
                return True
            is_first, self._is_full = not self._is_full, True
        if is_first:
            _log.warning(
                "metrics: %s asks for more than %d series in one process; what is over is counted "
                "with the label otel.metric.overflow. Use labels with few values.",
                instrument.name,
                self.max_series,
            )
        return False

    def wake(self) -> None:
        """Say that there is something to report."""
        if self.on_series is not None:
            self.on_series()

    def _instrument(self, made: I) -> I:
        check_name(made.name)
        check_text(made.name, "unit", made.unit, 63)
        check_text(made.name, "description", made.description, 1023)
        with self._lock:
            found = self._instruments.setdefault(made.name, made)
        if (type(found), found.unit, found.bounds, found.combine) != (
            type(made), made.unit, made.bounds, made.combine,
        ):  # fmt: skip
            raise UsageError(
                f"metric {made.name!r} is a {found.kind} in {found.unit or 'no unit'} already, "
                f"and now shall be a {made.kind} in {made.unit or 'no unit'}, or has other bounds",
                remedy="Give the second one another name.",
            )
        return found  # type: ignore[return-value]

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self._is_full = False

    def _after_fork(self) -> None:
        self._forget()
        for instrument in self._instruments.values():
            instrument.forget()


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    bound = method()
    if bound is not None:
        bound()
