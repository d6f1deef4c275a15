"""What the status page shows, as frozen values, and what follows from them.

The words are Statuspage's. Times are seconds since the epoch; days are days in UTC.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from datetime import date
from enum import StrEnum
from fractions import Fraction
from typing import Any, NamedTuple

from attrs import Attribute, field, frozen, validators

from chittyops_core.errors import UsageError
from chittyops_core.monitor.page.brand import Brand

__all__ = [
    "Component",
    "ComponentStatus",
    "Day",
    "Impact",
    "Incident",
    "IncidentStatus",
    "Indicator",
    "Maintenance",
    "MaintenanceStatus",
    "Overall",
    "Page",
    "ResponseTime",
    "Update",
    "overall",
    "overall_of",
    "uptime",
    "worst",
]


def _tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    """Convert for attrs; mypy's plugin cannot infer what `tuple` itself would give."""
    return tuple(values)


class ComponentStatus(StrEnum):
    """How a component does. All but the last are Statuspage's words."""

    OPERATIONAL = "operational"
    UNDER_MAINTENANCE = "under_maintenance"
    NO_DATA = "no_data"
    """Nobody looks any more; the component may be well or not."""
    DEGRADED_PERFORMANCE = "degraded_performance"
    PARTIAL_OUTAGE = "partial_outage"
    MAJOR_OUTAGE = "major_outage"


_SEVERITY = {status: rank for rank, status in enumerate(ComponentStatus)}


class Indicator(StrEnum):
    """The page's state in one word, as in Statuspage's `status.indicator`."""

    NONE = "none"
    MAINTENANCE = "maintenance"
    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


class Impact(StrEnum):
    """How much an incident hurts."""

    NONE = "none"
    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


class IncidentStatus(StrEnum):
    """Where an incident stands."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"


class MaintenanceStatus(StrEnum):
    """Where a planned maintenance stands."""

    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    VERIFYING = "verifying"
    COMPLETED = "completed"


@frozen
class Day:
    """What was seen in one day (UTC). Counts, so that days can be added; never a ratio.

    Attributes:
        date: The day.
        good: How many looks were good.
        total: How many looks there were; 0 is a day without data, neither good nor bad.
    """

    date: date
    good: int = field(validator=validators.ge(0))
    total: int = field(validator=validators.ge(0))

    def __attrs_post_init__(self) -> None:
        if self.good > self.total:
            raise UsageError(f"{self.date}: {self.good} good looks of only {self.total}")

    @property
    def status(self) -> ComponentStatus:
        """The day in one word.

        99.9 % of a day leaves out 86 seconds, 99 % a quarter of an hour, 95 % 72 minutes.
        """
        if not self.total:
            return ComponentStatus.NO_DATA
        if self.good * 1000 >= self.total * 999:
            return ComponentStatus.OPERATIONAL
        if self.good * 100 >= self.total * 99:
            return ComponentStatus.DEGRADED_PERFORMANCE
        if self.good * 100 >= self.total * 95:
            return ComponentStatus.PARTIAL_OUTAGE
        return ComponentStatus.MAJOR_OUTAGE


@frozen
class ResponseTime:
    """How long answers took in the last day, in seconds: quantiles 0.5, 0.95 and 0.99."""

    p50: float
    p95: float
    p99: float


@frozen
class Component:
    """One thing that visitors know by name.

    Attributes:
        id: Unique on the page; part of the address of its badges.
        name: For people.
        status: How it does now.
        updated_at: Since when it does so.
        group: Name of the group that it is shown in; None for none.
        description: One line more for people; may be empty.
        response_time: None when nothing was measured.
        days: Oldest first, one entry per day, at most one of each date.
    """

    id: str = field(validator=validators.min_len(1))
    name: str
    status: ComponentStatus = field(converter=ComponentStatus)
    updated_at: float
    group: str | None = None
    description: str = ""
    response_time: ResponseTime | None = None
    days: tuple[Day, ...] = field(default=(), converter=_tuple)

    @days.validator
    def _check_order(self, _: Attribute[tuple[Day, ...]], days: tuple[Day, ...]) -> None:
        if any(a.date >= b.date for a, b in itertools.pairwise(days)):
            raise UsageError(f"days of {self.id} are not in order, or one is there twice")


@frozen
class Update:
    """One thing that was said about an incident or a maintenance; *status* is what it came to."""

    id: str
    status: IncidentStatus | MaintenanceStatus
    body: str
    at: float


@frozen
class Incident:
    """Something that went wrong, and what was said about it.

    Attributes:
        id: Unique on the page, and stable: part of its address.
        components: Ids of the components that it hit.
        updates: Newest first.
    """

    id: str = field(validator=validators.min_len(1))
    name: str
    status: IncidentStatus = field(converter=IncidentStatus)
    impact: Impact = field(converter=Impact)
    created_at: float
    updated_at: float
    resolved_at: float | None = None
    components: tuple[str, ...] = field(default=(), converter=_tuple)
    updates: tuple[Update, ...] = field(default=(), converter=_tuple)

    @property
    def is_resolved(self) -> bool:
        return self.status is IncidentStatus.RESOLVED


@frozen
class Maintenance:
    """Work that was planned, from *scheduled_for* until *scheduled_until*. See Incident."""

    id: str = field(validator=validators.min_len(1))
    name: str
    status: MaintenanceStatus = field(converter=MaintenanceStatus)
    scheduled_for: float
    scheduled_until: float
    created_at: float
    updated_at: float
    components: tuple[str, ...] = field(default=(), converter=_tuple)
    updates: tuple[Update, ...] = field(default=(), converter=_tuple)

    @property
    def is_active(self) -> bool:
        return self.status in (MaintenanceStatus.IN_PROGRESS, MaintenanceStatus.VERIFYING)


@frozen
class Page:
    """Everything that is shown, as it was at *updated_at*.

    Attributes:
        name: Whose status it is.
        url: Where the page is reached from outside, without a slash at the end.
        components: In the order in which they are shown.
        incidents: Newest first.
        maintenances: Soonest first.
    """

    name: str
    url: str = field()
    updated_at: float = field()
    brand: Brand = field(factory=Brand)
    components: tuple[Component, ...] = field(default=(), converter=_tuple)
    incidents: tuple[Incident, ...] = field(default=(), converter=_tuple)
    maintenances: tuple[Maintenance, ...] = field(default=(), converter=_tuple)

    @url.validator
    def _check_url(self, _: Attribute[str], url: str) -> None:
        if not re.fullmatch(r"https?://[^\s<>\"']*[^\s<>\"'/]", url):
            raise UsageError(f"{url!r} is not an http or https address without a slash at the end")

    @components.validator
    @incidents.validator
    @maintenances.validator
    def _check_ids(
        self,
        attribute: Attribute[tuple[Component | Incident | Maintenance, ...]],
        things: Sequence[Component | Incident | Maintenance],
    ) -> None:
        if len({thing.id for thing in things}) != len(things):
            raise UsageError(f"an id is there twice among the {attribute.name}")


class Overall(NamedTuple):
    """The page's state: a word for programs and a line for people."""

    indicator: Indicator
    description: str


_BY_IMPACT = {
    Impact.NONE: Overall(Indicator.NONE, "All Systems Operational"),
    Impact.MINOR: Overall(Indicator.MINOR, "Minor Service Outage"),
    Impact.MAJOR: Overall(Indicator.MAJOR, "Partial System Outage"),
    Impact.CRITICAL: Overall(Indicator.CRITICAL, "Major System Outage"),
}


def worst(statuses: Iterable[ComponentStatus]) -> ComponentStatus:
    """Return the gravest of *statuses*; operational when there are none."""
    return max(statuses, key=_SEVERITY.__getitem__, default=ComponentStatus.OPERATIONAL)


def overall(page: Page) -> Overall:
    """Return the page's state, from its components and its open incidents; the graver counts.

    The rules are Statuspage's: "Top-level status and incident impact calculations",
    support.atlassian.com/statuspage. Two things are ours: no data is never passed off as
    operational, and an incident that is only watched any more says nothing that its components
    do not say themselves.
    """
    by_components = overall_of([component.status for component in page.components])
    by_incidents = _BY_IMPACT[
        max(
            (
                incident.impact
                for incident in page.incidents
                if incident.status not in (IncidentStatus.RESOLVED, IncidentStatus.MONITORING)
            ),
            key=list(Impact).index,
            default=Impact.NONE,
        )
    ]
    return max(by_components, by_incidents, key=lambda o: list(Indicator).index(o.indicator))


def overall_of(statuses: Sequence[ComponentStatus]) -> Overall:
    """Return what *statuses* of all components come to."""
    is_shared = len(set(statuses)) == 1
    match worst(statuses):
        case ComponentStatus.MAJOR_OUTAGE:
            return _BY_IMPACT[Impact.CRITICAL if is_shared else Impact.MAJOR]
        case ComponentStatus.PARTIAL_OUTAGE:
            return _BY_IMPACT[Impact.MAJOR if is_shared else Impact.MINOR]
        case ComponentStatus.DEGRADED_PERFORMANCE:
            how = "Degraded System Service" if is_shared else "Partially Degraded Service"
            return Overall(Indicator.MINOR, how)
        case ComponentStatus.NO_DATA:
            how = "No Data" if is_shared else "No Data for Some Components"
            return Overall(Indicator.MINOR, how)
        case ComponentStatus.UNDER_MAINTENANCE:
            return Overall(Indicator.MAINTENANCE, "Service Under Maintenance")
        case _:
            return _BY_IMPACT[Impact.NONE]


def uptime(days: Iterable[Day]) -> Fraction | None:
    """Return good looks by all looks over *days*; None when there was no look at all."""
    good = total = 0
    for day in days:
        good += day.good
        total += day.total
    return Fraction(good, total) if total else None
