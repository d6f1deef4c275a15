"""What a service promises (SLO), how its events are counted, and when its budget burns too fast.

The windows and shares are those of the SRE workbook, chapter 5, "Recommended parameters for an
SLO-based alerting configuration", as Sloth has them for 28 and 30 days. Those of 7 days are
Sloth's own (`examples/windows/7d.yaml`), since the workbook has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import Attribute, field, frozen

from chittyops_core.model.monitoring import Severity

__all__ = [
    "PERIODS_DAYS",
    "WINDOW_S",
    "Alerting",
    "AlertSwitch",
    "BurnRule",
    "EventQueries",
    "Indicator",
    "Metric",
    "MetricEvents",
    "MonitorEvents",
    "Objective",
    "RatioQuery",
    "burn_rules",
    "require_query",
    "window_placeholder",
]

DAY_S = 86400

WINDOW_S = {
    "5m": 300, "30m": 1800, "1h": 3600, "2h": 7200, "6h": 21600, "1d": DAY_S, "3d": 3 * DAY_S,
}  # fmt: skip
"""The windows that burn rates are taken over, by name, shortest first; in seconds."""

# (severity, long window, short window); the shares below are in the same order.
_WINDOWS = (
    (Severity.PAGE, "1h", "5m"),
    (Severity.PAGE, "6h", "30m"),
    (Severity.TICKET, "1d", "2h"),
    (Severity.TICKET, "3d", "6h"),
)
_BUDGET_PERCENT = {
    7: (8, 12.5, 20, 42),
    28: (2, 5, 10, 10),
    30: (2, 5, 10, 10),
}
PERIODS_DAYS = tuple(_BUDGET_PERCENT)
"""How long an objective's rolling period may be: minutes are kept for 35 days."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

window_placeholder = re.compile(r"\{\{\s*\.window\s*\}\}")
"""Where a query takes the window, as Sloth writes it: `{{.window}}`."""


@frozen
class BurnRule:
    """One pair of windows: it fires while both burn faster than *factor*.

    Attributes:
        severity: Whom it calls.
        long: Name of the window that shows that it matters.
        short: Name of the window that shows that it still goes on.
        budget_percent: How much of the period's budget the long window takes at this rate.
        factor: Burn rate; 1 uses up the budget exactly within the period.
    """

    severity: Severity
    long: str
    short: str
    budget_percent: float
    factor: float


def burn_rules(period_days: int) -> tuple[BurnRule, ...]:
    """Return the rules for a rolling period, most urgent first. Raises KeyError."""
    return tuple(
        # In this order of operations, so that the factors are Sloth's to the last digit.
        BurnRule(severity, long, short, percent,
                 percent * (period_days * 24.0) / 100 / (WINDOW_S[long] / 3600))
        for (severity, long, short), percent in zip(
            _WINDOWS, _BUDGET_PERCENT[period_days], strict=True
        )
    )  # fmt: skip


# --- how events are counted --------------------------------------------------------------------


def _require_labels(instance: object, attribute: Any, value: Mapping[str, str]) -> None:
    for name in value:
        if not _LABEL.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a label: expected letters, digits and '_'")


def require_query(value: str) -> str:
    """Return *value* when it is PromQL with a place for its window. Raises ValueError."""
    if not window_placeholder.search(value):
        raise ValueError("the query does not say where its window goes: write [{{.window}}] in it")
    if "{{" in window_placeholder.sub("", value):
        raise ValueError("the query may hold no template but {{.window}}")
    return value


@frozen
class MonitorEvents:
    """Each look of a monitor is an event, good or not. `monitor` is its name."""

    monitor: str = field()

    @monitor.validator
    def _not_empty(self, attribute: Attribute[str], value: str) -> None:
        if not value:
            raise ValueError("expected the name of a monitor")


@frozen
class Metric:
    """A counter of the app's: all its series that have these labels, added up."""

    name: str = field()
    labels: Mapping[str, str] = field(factory=dict, validator=_require_labels)

    @name.validator
    def _is_a_name(self, attribute: Attribute[str], value: str) -> None:
        if not _METRIC.fullmatch(value):
            raise ValueError(f"{value!r} cannot name a metric: expected letters, digits and '_'")


@frozen
class MetricEvents:
    """Events by two counters of the app's: all of them, and either the good or the bad ones."""

    total: Metric
    good: Metric | None = None
    bad: Metric | None = None

    def __attrs_post_init__(self) -> None:
        if (self.good is None) == (self.bad is None):
            raise ValueError("expected either the good events or the bad ones, besides the total")


@frozen
class EventQueries:
    """Events that Prometheus counts: PromQL of the bad ones and of all, with `{{.window}}`."""

    error: str = field(converter=require_query)
    total: str = field(converter=require_query)


@frozen
class RatioQuery:
    """PromQL of the share of bad events, 0 to 1, with `{{.window}}`."""

    error_ratio: str = field(converter=require_query)


Indicator = MonitorEvents | MetricEvents | EventQueries | RatioQuery
"""The first two are counted on this host, the last two by somebody's Prometheus only."""


# --- the promise -------------------------------------------------------------------------------


@frozen
class AlertSwitch:
    """One severity's alert: whether it is wanted, and what goes with it."""

    is_on: bool = True
    labels: Mapping[str, str] = field(factory=dict, validator=_require_labels)
    annotations: Mapping[str, str] = field(factory=dict, validator=_require_labels)


@frozen
class Alerting:
    """What is said when the budget burns. `name` is the alert's name in Prometheus."""

    name: str = "ErrorBudgetBurn"
    labels: Mapping[str, str] = field(factory=dict, validator=_require_labels)
    annotations: Mapping[str, str] = field(factory=dict, validator=_require_labels)
    page: AlertSwitch = AlertSwitch()
    ticket: AlertSwitch = AlertSwitch()

    def of(self, severity: Severity) -> AlertSwitch:
        return self.page if severity is Severity.PAGE else self.ticket


@frozen
class Objective:
    """A service level objective: which share of its events has to be good.

    Attributes:
        name: Unique within the service.
        service: Slug of the service on this host, or what Prometheus' people call it.
        indicator: How events are counted.
        target: Share of good events, over 0 and under 1. At 1 there is no budget to burn.
        period_days: Length of the rolling period, one of PERIODS_DAYS.
        description: For people.
        labels: What all its Prometheus rules carry.
        alerting: What is said when the budget burns.
        spec: Format that it was read from, such as `openslo/v1`.
    """

    name: str = field()
    service: str = field()
    indicator: Indicator
    target: float = field()
    period_days: int = field(default=30)
    description: str = ""
    labels: Mapping[str, str] = field(factory=dict, validator=_require_labels)
    alerting: Alerting = Alerting()
    spec: str = "openslo/v1"

    @name.validator
    @service.validator
    def _can_be_a_name(self, attribute: Attribute[str], value: str) -> None:
        if not _NAME.fullmatch(value) or len(value) > 200:
            raise ValueError(
                f"{value[:60]!r} cannot be the {attribute.name}: expected up to 200 letters, "
                "digits, '.', '_' and '-', beginning and ending with a letter or digit"
            )

    @target.validator
    def _leaves_a_budget(self, attribute: Attribute[float], value: float) -> None:
        if not 0 < value < 1:
            raise ValueError(
                f"a target of {value * 100:g} % cannot be: expected more than 0 % and less than "
                "100 %, which would leave no budget for errors"
            )

    @period_days.validator
    def _has_known_rules(self, attribute: Attribute[int], value: int) -> None:
        if value not in _BUDGET_PERCENT:
            known = ", ".join(map(str, PERIODS_DAYS))
            raise ValueError(f"a period of {value} days cannot be: expected one of {known} days")

    @property
    def id(self) -> str:
        """Unique over all objectives."""
        return f"{self.service}-{self.name}"

    @property
    def budget(self) -> float:
        """Share of events that may be bad, as it is written: 0.001 for 0.999."""
        return float(1 - Decimal(repr(self.target)))

    @property
    def target_percent(self) -> float:
        """The target as it is written: 99.9, where 0.999 * 100 may be a little more or less."""
        return float(Decimal(repr(self.target)) * 100)

    @property
    def is_counted_here(self) -> bool:
        """Whether this host counts its events; a query is for Prometheus alone."""
        return isinstance(self.indicator, MonitorEvents | MetricEvents)

    @property
    def rules(self) -> tuple[BurnRule, ...]:
        return burn_rules(self.period_days)
