"""OpenSLO v1 files.

From https://github.com/OpenSLO/OpenSLO. What we cannot honour is refused with the reason.

A source of the type `chittyops` is counted on this host: `spec: {monitor: NAME}` under `raw`, or
`spec: {metric: NAME, labels: {...}}` under `good` or `bad`, and `total`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial

from chittyops_core.monitor.objectives import (
    Alerting,
    AlertSwitch,
    EventQueries,
    Indicator,
    Metric,
    MetricEvents,
    MonitorEvents,
    Objective,
    RatioQuery,
    require_query,
)
from chittyops_core.monitor.yaml_reader import Table

__all__ = [
    "NO_SLICES",
    "NO_THRESHOLD",
    "VERSION",
    "good_of_total",
    "list_objectives",
    "objectives_of",
    "require_occurrences",
]

VERSION = "openslo/v1"

PAGE, TICKET = "chittyops/page", "chittyops/ticket"
"""Annotations that switch an alert `off` (or `on`, which it is)."""

_PASSED_OVER = ("Service", "DataSource")  # Kinds that say nothing of what is to be evaluated.
_NO_POLICY = (
    f"alerts follow the SRE workbook's burn rates; annotations {PAGE} and {TICKET} switch them off"
)
_ONE_INDICATOR = "write an SLO for each indicator"
NO_SLICES = "events are counted, so the budgeting method is Occurrences"
NO_THRESHOLD = "events are good or bad; count those under the threshold"


def objectives_of(documents: Iterable[Table]) -> list[Objective]:
    """Return the objectives of a file's documents, in order. Raises ObjectiveError."""
    slos: list[Table] = []
    indicators: dict[str, Table] = {}
    for document in documents:
        kind = document.text("kind")
        document.only("apiVersion", "kind", "metadata", "spec")
        if kind == "SLO":
            slos.append(document)
        elif kind == "SLI":
            indicators[document.table("metadata").text("name")] = document.table("spec")
        elif kind not in _PASSED_OVER:
            known = ", ".join(("SLO", "SLI", *_PASSED_OVER))
            document.fail(f"{kind!r} cannot be used here; {_NO_POLICY}. Known: {known}", "kind")
    return [each for slo in slos for each in _read(slo, indicators)]


def _read(document: Table, indicators: Mapping[str, Table]) -> list[Objective]:
    metadata, spec = document.table("metadata"), document.table("spec")
    metadata.only("name", "displayName", "labels", "annotations")
    spec.only(
        "description", "service", "indicator", "indicatorRef", "timeWindow", "budgetingMethod",
        "objectives", refused={"alertPolicies": _NO_POLICY},
    )  # fmt: skip
    name, service = metadata.text("name"), spec.text("service")
    description, labels = spec.text("description", ""), metadata.texts("labels")
    require_occurrences(spec)
    period, alerting = _period(spec), _alerting(metadata.table("annotations"))
    indicator = _indicator(spec, indicators)
    targets = list_objectives(spec)
    made = []
    for number, each in enumerate(targets):
        each.only(
            "displayName", "target", "targetPercent",
            refused={
                "op": NO_THRESHOLD, "value": NO_THRESHOLD,
                "timeSliceTarget": NO_SLICES, "timeSliceWindow": NO_SLICES,
                "indicator": _ONE_INDICATOR, "indicatorRef": _ONE_INDICATOR,
                "compositeWeight": "objectives are not composed",
            },
        )  # fmt: skip
        if ("target" in each) == ("targetPercent" in each):
            each.fail("expected either `target` (0.999) or `targetPercent` (99.9)")
        target = (
            each.number("target")
            if "target" in each
            else float(Decimal(repr(each.number("targetPercent"))) / 100)
        )
        build = partial(
            Objective,
            name=name if len(targets) == 1 else f"{name}-{number}",
            service=service, indicator=indicator, target=target, period_days=period,
            description=description, labels=labels, alerting=alerting, spec=VERSION,
        )  # fmt: skip
        made.append(each.make(build))
    return made


def list_objectives(spec: Table) -> list[Table]:
    found = spec.tables("objectives")
    if not found:
        spec.fail("expected at least one objective", "objectives")
    return found


def require_occurrences(spec: Table) -> None:
    if spec.text("budgetingMethod", "Occurrences") != "Occurrences":
        spec.fail(f"expected Occurrences: {NO_SLICES}", "budgetingMethod")


def _period(spec: Table) -> int:
    windows = spec.tables("timeWindow")
    if not windows:
        return 30
    if len(windows) > 1:
        spec.fail("expected one time window", "timeWindow")
    window = windows[0].only(
        "duration", "isRolling", refused={"calendar": "periods are rolling, such as 30d"}
    )
    if not window.truth("isRolling", False):
        window.fail("expected true: periods are rolling, such as 30d", "isRolling")
    duration = window.text("duration")
    days = {"d": 1, "w": 7}.get(duration[-1:], 0)
    if not days or not duration[:-1].isdecimal():
        window.fail(f"expected days or weeks, such as 30d or 4w, got {duration!r}", "duration")
    return int(duration[:-1][:6]) * days


def _alerting(annotations: Table) -> Alerting:
    for key in annotations:
        if key.startswith("chittyops/") and key not in (PAGE, TICKET):
            annotations.fail(f"unknown key; known are {PAGE} and {TICKET}", key)

    def switch(key: str) -> AlertSwitch:
        # Bare `on` and `off` are truth values in YAML 1.1, quoted ones are texts: both are meant.
        said = annotations.scalar(key) if key in annotations else True
        if not isinstance(said, bool) and said not in ("on", "off"):
            annotations.fail(f"expected on or off, got {said!r}", key)
        return AlertSwitch(is_on=said is True or said == "on")

    return Alerting(page=switch(PAGE), ticket=switch(TICKET))


def _indicator(spec: Table, indicators: Mapping[str, Table]) -> Indicator:
    if ("indicator" in spec) == ("indicatorRef" in spec):
        spec.fail("expected either `indicator` or `indicatorRef`")
    if "indicator" in spec:
        inner = spec.table("indicator").only("metadata", "spec").table("spec")
    else:
        reference = spec.text("indicatorRef")
        if reference not in indicators:
            known = ", ".join(sorted(indicators)) or "none"
            spec.fail(f"no SLI {reference!r} in this file; there: {known}", "indicatorRef")
        inner = indicators[reference]
    inner.only("description", "ratioMetric", refused={"thresholdMetric": NO_THRESHOLD})
    ratio = inner.table("ratioMetric").only("counter", "good", "bad", "total", "rawType", "raw")
    if not ratio.truth("counter", True):
        ratio.fail("expected true: events are counted", "counter")
    if "raw" in ratio:
        return _raw(ratio)
    if "rawType" in ratio:
        ratio.fail("expected together with `raw`", "rawType")
    if ("good" in ratio) == ("bad" in ratio) or "total" not in ratio:
        ratio.fail("expected `total` and either `good` or `bad`, or `raw`")
    part = "good" if "good" in ratio else "bad"
    first, total = _source(ratio.table(part)), _source(ratio.table("total"))
    if isinstance(first, Metric) and isinstance(total, Metric):
        return MetricEvents(total, **{part: first})
    if not isinstance(first, str) or not isinstance(total, str):
        ratio.fail(f"expected {part} and total from two metrics or from two queries")
    return EventQueries(first, total) if part == "bad" else good_of_total(first, total)


def _raw(ratio: Table) -> Indicator:
    if {"good", "bad", "total"} & set(ratio):
        ratio.fail("expected either `raw` or counted events", "raw")
    kind = ratio.text("rawType")
    if kind not in ("success", "failure"):
        ratio.fail(f"expected success or failure, got {kind!r}", "rawType")
    source = _source(ratio.table("raw"))
    if isinstance(source, MonitorEvents) and kind == "success":
        return source
    if not isinstance(source, str):
        ratio.fail("expected a query, or a monitor with `rawType: success`", "raw")
    query = source if kind == "failure" else f"1 - (\n  {source}\n)"
    return RatioQuery(query)


def _source(table: Table) -> str | Metric | MonitorEvents:
    # The reference names a data source to who runs Prometheus; it changes no rule.
    source = table.only("metricSource").table("metricSource")
    source.only("metricSourceRef", "type", "spec")
    kind, spec = source.text("type"), source.table("spec")
    if kind.lower() == "prometheus":
        return spec.only("query", "dimensions").take("query", require_query)
    if kind != "chittyops":
        source.fail(f"expected chittyops or Prometheus, got {kind!r}", "type")
    spec.only("monitor", "metric", "labels")
    if ("monitor" in spec) == ("metric" in spec) or ("monitor" in spec and "labels" in spec):
        spec.fail("expected either `monitor`, or `metric` with or without `labels`")
    if "monitor" in spec:
        return spec.take("monitor", MonitorEvents)
    labels = spec.texts("labels")
    return spec.take("metric", lambda name: Metric(name, labels))


def good_of_total(good: str, total: str) -> RatioQuery:
    """Return the share of bad events, in Sloth's own form, so that its rules and ours are equal."""
    return RatioQuery(
        f"\n  1 - (\n    (\n      {good}\n    )\n    /\n    (\n      {total}\n    )\n  )\n"
    )
