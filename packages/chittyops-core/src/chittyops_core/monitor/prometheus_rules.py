"""Objectives as recording and alerting rules, for people who have a Prometheus.

Names, labels and expressions are Sloth's (https://github.com/slok/sloth at 0e395d8), so that its
dashboards show them. Where we differ on purpose: `docs/adr/0011-slo-rules.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chittyops_core.model.monitoring import Severity
from chittyops_core.monitor.objectives import (
    WINDOW_S,
    EventQueries,
    Metric,
    MetricEvents,
    MonitorEvents,
    Objective,
    RatioQuery,
    window_placeholder,
)

__all__ = ["MONITOR_COUNTER", "SERVICE_LABEL", "rules", "to_yaml"]

MONITOR_COUNTER = "chittyops_observations_total"
"""The counter that `/metrics` has of each monitor's looks; labels `monitor`, `result` good|bad.

Both results have to be there from the start, at 0, or a first failure is not seen as a change.
"""

SERVICE_LABEL = "service"
"""The label by which `/metrics` tells the services' own metrics apart."""

Rule = dict[str, Any]


def rules(objectives: Iterable[Objective], *, averaged_period: bool = False) -> dict[str, Any]:
    """Return the content of a rule file: three groups for each objective, two without alerts.

    Args:
        objectives: In the order in which they shall stand there.
        averaged_period: Whether the whole period's ratio is the mean of the ratios of all 5
            minutes, as Sloth has it, which is cheap and wrong where traffic varies. By default
            it is that of all events.
    """
    groups = []
    for each in objectives:
        parts = [("sli-recordings", _sli_rules(each, averaged_period)),
                 ("meta-recordings", _meta_rules(each)),
                 ("alerts", _alert_rules(each))]  # fmt: skip
        groups += [
            {"name": f"sloth-slo-{kind}-{each.id}", "rules": made} for kind, made in parts if made
        ]
    return {"groups": groups}


def to_yaml(content: Mapping[str, Any]) -> str:
    """Return a rule file as Prometheus reads it; expressions of several lines stay so."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)

    Dumper.add_representer(str, text)
    body: str = yaml.dump(
        content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100_000
    )
    return body


# --- recorded ----------------------------------------------------------------------------------


def _sli_rules(objective: Objective, averaged_period: bool) -> list[Rule]:
    period = f"{objective.period_days}d"
    found = [_sli_rule(objective, window, error_ratio(objective, window)) for window in WINDOW_S]
    expr = error_ratio(objective, period)
    if averaged_period:
        short = _selector(objective, "slo:sli_error:ratio_rate5m")
        expr = (
            f"sum_over_time({short}[{period}])\n/ ignoring (sloth_window)\n"
            f"count_over_time({short}[{period}])\n"
        )
    return [*found, _sli_rule(objective, period, expr)]


def _sli_rule(objective: Objective, window: str, expr: str) -> Rule:
    labels = {**_labels(objective), "sloth_window": window}
    return {"record": f"slo:sli_error:ratio_rate{window}", "expr": expr, "labels": labels}


def error_ratio(objective: Objective, window: str) -> str:
    """Return the PromQL of the share of bad events over *window*, such as `5m`."""
    indicator = _as_queries(objective)
    if isinstance(indicator, RatioQuery):
        query = f"({indicator.error_ratio})"
    else:
        query = f"({indicator.error})\n/\n({indicator.total})\n"
    return window_placeholder.sub(window, query)


def _as_queries(objective: Objective) -> EventQueries | RatioQuery:
    """Return the indicator as PromQL; what this host counts it also has at `/metrics`."""
    indicator = objective.indicator
    if isinstance(indicator, EventQueries | RatioQuery):
        return indicator
    if isinstance(indicator, MonitorEvents):
        all_looks = Metric(MONITOR_COUNTER, {"monitor": indicator.monitor})
        bad_looks = Metric(MONITOR_COUNTER, {**all_looks.labels, "result": "bad"})
        return EventQueries(_rate(bad_looks), _rate(all_looks))
    return _of_metrics(indicator, objective.service)


def _of_metrics(indicator: MetricEvents, service: str) -> EventQueries:
    total = _rate(indicator.total, service)
    if indicator.bad is not None:
        return EventQueries(_rate(indicator.bad, service), total)
    assert indicator.good is not None  # One of the two, by its validator.
    return EventQueries(f"{total} - {_rate(indicator.good, service)}", total)


def _rate(metric: Metric, service: str | None = None) -> str:
    labels = {**({SERVICE_LABEL: service} if service else {}), **metric.labels}
    listed = ",".join(f"{name}={_quoted(value)}" for name, value in labels.items())
    return f"sum(rate({metric.name}{{{listed}}}[{{{{.window}}}}]))"


def _quoted(value: str) -> str:
    """Return a PromQL string (prometheus.io/docs/prometheus/latest/querying/basics)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _meta_rules(objective: Objective) -> list[Rule]:
    target = f"{objective.target_percent / 100!r}"
    budget = _selector(objective, "slo:error_budget:ratio")

    def burn(window: str) -> str:
        return (
            f"{_selector(objective, f'slo:sli_error:ratio_rate{window}')}\n"
            f"/ on(sloth_id, sloth_slo, sloth_service) group_left\n{budget}\n"
        )

    expressions = {
        "slo:objective:ratio": f"vector({target})",
        "slo:error_budget:ratio": f"vector(1-{target})",
        "slo:time_period:days": f"vector({objective.period_days})",
        "slo:current_burn_rate:ratio": burn("5m"),
        "slo:period_burn_rate:ratio": burn(f"{objective.period_days}d"),
        "slo:period_error_budget_remaining:ratio":
            f"1 - {_selector(objective, 'slo:period_burn_rate:ratio')}",
    }  # fmt: skip
    made: list[Rule] = [
        {"record": name, "expr": expr, "labels": _labels(objective)}
        for name, expr in expressions.items()
    ]
    about = {
        "sloth_mode": "chittyops",
        "sloth_objective": _number(objective.target_percent),
        "sloth_spec": objective.spec,
    }
    labels = {**_labels(objective), **about}
    return [*made, {"record": "sloth_slo_info", "expr": "vector(1)", "labels": labels}]


# --- alerts ------------------------------------------------------------------------------------


def _alert_rules(objective: Objective) -> list[Rule]:
    return [
        _alert_rule(objective, severity)
        for severity in Severity
        if objective.alerting.of(severity).is_on
    ]


def _alert_rule(objective: Objective, severity: Severity) -> Rule:
    alerting, own = objective.alerting, objective.alerting.of(severity)
    about = "{{$labels.sloth_service}} {{$labels.sloth_slo}} SLO error budget burn rate is"
    return {
        "alert": alerting.name,
        "expr": alert_expression(objective, severity),
        "labels": {"sloth_severity": str(severity), **alerting.labels, **own.labels},
        "annotations": {
            "summary": f"{about} over expected.",
            "title": f"({severity}) {about} too fast.",
            **alerting.annotations,
            **own.annotations,
        },
    }


def alert_expression(objective: Objective, severity: Severity) -> str:
    """Return the PromQL that holds while *severity*'s alert fires."""

    # In Sloth's order of operations: what it leaves of 0.001 is 0.0009999999999999432.
    budget = (100 - objective.target_percent) / 100

    def over(window: str, factor: float) -> str:
        metric = _selector(objective, f"slo:sli_error:ratio_rate{window}")
        limit = f"{_number(factor)} * {budget!r}"
        return f"    max({metric} > ({limit})) without (sloth_window)\n"

    pairs = [
        f"(\n{over(rule.short, rule.factor)}    and\n{over(rule.long, rule.factor)})\n"
        for rule in objective.rules
        if rule.severity is severity
    ]
    return "or\n".join(pairs)


# --- words of both -----------------------------------------------------------------------------


def _labels(objective: Objective) -> dict[str, str]:
    return {**objective.labels, **_identity(objective)}


def _identity(objective: Objective) -> dict[str, str]:
    return {
        "sloth_id": objective.id,
        "sloth_service": objective.service,
        "sloth_slo": objective.name,
    }


def _selector(objective: Objective, metric: str) -> str:
    listed = ", ".join(f'{name}="{value}"' for name, value in _identity(objective).items())
    return f"{metric}{{{listed}}}"


def _number(value: float) -> str:
    """Return a number without the `.0` of a whole one, as Go prints it."""
    return str(int(value)) if value == int(value) else repr(value)
