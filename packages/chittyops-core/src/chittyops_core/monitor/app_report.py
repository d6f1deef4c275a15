"""Reading what a process of an app reports. Pure; what it reads may be malformed or hostile."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, cast

from attrs import frozen

from chittyops_core.monitor.exposition import Labels, metric_name, sorted_labels

__all__ = ["MAX_LINE_BYTES", "BadReportError", "Metric", "Report", "Values", "read_report"]

MAX_LINE_BYTES = 1 << 20
MAX_TEXT = 1_023
MAX_LABELS = 20
MAX_LABEL_CHARS = 256
MAX_BOUNDS = 100
MAX_VALUE = 1e300
"""Sums of what is below stay finite."""

_OF_HOST = ("chittyops_", "probe_")
"""What the host itself exposes begins so; an app's `probe_success` would pass for its word."""

Combine = Literal["last", "sum", "min", "max"]


class BadReportError(ValueError):
    """The line is no report; the message says why and is safe to show to its sender."""


@frozen
class Values:
    """The values of one series.

    Attributes:
        value: Of a counter or gauge; the sum of a histogram.
        counts: Of a histogram: values in each bucket alone, the last above all bounds.
        at: Of a gauge: seconds since the epoch when it was set.
    """

    value: float
    counts: tuple[int, ...] = ()
    at: float = 0.0

    def since(self, before: Values | None) -> Values:
        """Return how much was added after *before*; all when it began anew since then."""
        if before is None or len(before.counts) != len(self.counts):
            return self
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        if any(count < 0 for count in counts):
            return self
        if not counts and self.value < before.value:
            return self
        return Values(self.value - before.value, counts, self.at)

    def plus(self, before: Values | None) -> Values:
        """Return both added."""
        if before is None:
            return self
        counts = tuple(a + b for a, b in zip(self.counts, before.counts, strict=True))
        return Values(self.value + before.value, counts, self.at)

    @property
    def is_nothing(self) -> bool:
        return not self.value and not any(self.counts)


@frozen
class Metric:
    """What a metric is. *key* is its name by Prometheus's rules, of a counter without `_total`."""

    key: str
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str = ""
    description: str = ""
    bounds: tuple[float, ...] = ()
    combine: Combine = "last"

    def is_like(self, other: Metric) -> bool:
        """Return whether values of both may be added; a description may change."""
        return (self.name, self.kind, self.unit, self.bounds, self.combine) == (
            other.name, other.kind, other.unit, other.bounds, other.combine,
        )  # fmt: skip


@frozen
class Report:
    """One line of a process.

    Attributes:
        start: Names the process: a process id may come again, this does not.
        is_end: Whether the process says that it ends.
        metrics: What could be read.
        problems: What could not.
    """

    start: str
    is_end: bool
    metrics: tuple[tuple[Metric, dict[Labels, Values]], ...]
    problems: tuple[str, ...] = ()


def read_report(line: bytes) -> Report | None:
    """Return the report in *line*; None when it is JSON of another type than `metrics`.

    Raises:
        BadReportError: *line* is no report at all. A metric that is wrong is among the problems.
    """
    if len(line) > MAX_LINE_BYTES:
        raise BadReportError(f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        said = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadReportError("the line is no JSON") from None
    if not isinstance(said, dict):
        raise BadReportError("the line is no JSON object")
    if said.get("type") != "metrics":
        return None
    if said.get("v") != 1 or isinstance(said.get("v"), bool):
        raise BadReportError("this agent speaks version 1")
    start = said.get("start")
    if not isinstance(start, str) or not 8 <= len(start) <= 64 or not start.isalnum():
        raise BadReportError("'start' is not 8 to 64 letters and digits")
    listed = said.get("metrics")
    if not isinstance(listed, list):
        raise BadReportError("'metrics' is no list")
    metrics, problems = [], []
    for each in listed:
        try:
            metrics.append(_metric(each))
        except BadReportError as error:
            problems.append(str(error))
    return Report(start, said.get("end") is True, tuple(metrics), tuple(problems[:5]))


def _metric(said: Any) -> tuple[Metric, dict[Labels, Values]]:
    if not isinstance(said, dict):
        raise BadReportError("a metric is no JSON object")
    name = _text(said, "name")
    if not name or len(name) > 255 or not name[0].isalpha() or not name.isascii():
        raise BadReportError("a metric's name is not 1 to 255 ASCII characters, a letter first")
    kind = said.get("kind")
    if kind not in ("counter", "gauge", "histogram"):
        raise BadReportError(f"{name}: 'kind' is none of counter, gauge, histogram")
    combine = said.get("combine", "last")
    if combine not in ("last", "sum", "min", "max"):
        raise BadReportError(f"{name}: 'combine' is none of last, sum, min, max")
    unit = _text(said, "unit")
    key, _ = metric_name(name, unit, kind)
    if key.startswith(_OF_HOST):
        raise BadReportError(f"{name}: names with {' or '.join(_OF_HOST)} first are the host's own")
    metric = Metric(
        key=key,
        name=name,
        kind=kind,
        unit=unit[:63],
        description=_text(said, "description"),
        bounds=_bounds(name, said.get("bounds")) if kind == "histogram" else (),
        combine=cast("Combine", combine),
    )
    listed = said.get("series")
    if not isinstance(listed, list):
        raise BadReportError(f"{name}: 'series' is no list")
    series = {}
    for each in listed:
        if not isinstance(each, dict):
            raise BadReportError(f"{name}: a series is no JSON object")
        series[_labels(metric, each.get("labels"))] = _values(metric, each)
    return metric, series


def _values(metric: Metric, said: Mapping[str, Any]) -> Values:
    if metric.kind == "histogram":
        counts = said.get("counts")
        if not isinstance(counts, list) or len(counts) != len(metric.bounds) + 1:
            raise BadReportError(f"{metric.name}: 'counts' is not one number for each bucket")
        if not all(type(count) is int and 0 <= count < 1 << 53 for count in counts):
            raise BadReportError(f"{metric.name}: a count is no number of things")
        return Values(_number(metric, said, "sum"), tuple(counts))
    value = _number(metric, said, "value")
    if metric.kind == "counter":
        if value < 0:
            raise BadReportError(f"{metric.name}: a counter is negative")
        return Values(value)
    return Values(value, at=_number(metric, said, "at") if "at" in said else 0.0)


def _number(metric: Metric, said: Mapping[str, Any], key: str) -> float:
    value: Any = said.get(key)
    if type(value) not in (int, float) or not -MAX_VALUE < value < MAX_VALUE:
        raise BadReportError(f"{metric.name}: {key!r} is no finite number")
    return float(value)


def _labels(metric: Metric, said: Any) -> Labels:
    if not isinstance(said, dict) or len(said) > MAX_LABELS:
        raise BadReportError(f"{metric.name}: 'labels' is no object of at most {MAX_LABELS}")
    for name, value in said.items():
        if not isinstance(value, str) or max(len(name), len(value)) > MAX_LABEL_CHARS or not name:
            raise BadReportError(f"{metric.name}: a label is no short text")
        if name == "le":
            raise BadReportError(f"{metric.name}: the label 'le' is the histogram's own")
    return sorted_labels({name: _sound(value) for name, value in said.items()})


def _bounds(name: str, said: Any) -> tuple[float, ...]:
    if (
        not isinstance(said, list)
        or not 0 < len(said) <= MAX_BOUNDS
        or not all(type(bound) in (int, float) and math.fabs(bound) < MAX_VALUE for bound in said)
        or not all(low < high for low, high in pairwise(said))
    ):
        raise BadReportError(f"{name}: 'bounds' is not 1 to {MAX_BOUNDS} numbers that rise")
    return tuple(map(float, said))


def _text(said: Mapping[str, Any], key: str) -> str:
    text = said.get(key, "")
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise BadReportError(f"a metric's {key!r} is no text of at most {MAX_TEXT} letters")
    return _sound(text)


def _sound(text: str) -> str:
    """Return *text* without lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
