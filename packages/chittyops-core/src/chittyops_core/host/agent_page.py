"""The status page of a host, made from what its agent keeps, in words for visitors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC

from attrs import field, frozen

from chittyops_core.errors import StoreError
from chittyops_core.host.watched import WEB
from chittyops_core.host.words import shown_name
from chittyops_core.model.monitoring import AlertState, Monitor
from chittyops_core.monitor import incidents as kept
from chittyops_core.monitor.alerts import Alert
from chittyops_core.monitor.page import (
    Component,
    ComponentStatus,
    Day,
    Impact,
    Incident,
    IncidentStatus,
    Maintenance,
    MaintenanceStatus,
    Page,
    ResponseTime,
    Update,
)
from chittyops_core.monitor.store import Store

__all__ = ["make_page", "since_of", "status_of"]

DAYS = 90
INCIDENTS = 50
DAY_S = 86400

_UPDATES = {
    AlertState.FIRING: "It does not answer as it should. We are looking into it.",
    AlertState.RESOLVED: "It answers as it should again.",
    AlertState.NO_DATA: "It is not watched at the moment, so how it does is not known.",
}

_STATUSES = {
    AlertState.FIRING: IncidentStatus.INVESTIGATING,
    AlertState.RESOLVED: IncidentStatus.RESOLVED,
}


def make_page(
    url: str,
    store: Store | None,
    monitors: Sequence[Monitor],
    alerts: Mapping[str, Alert],
    *,
    started: float,
    now: float,
) -> Page:
    """Return the page. A disk that cannot be read leaves out the past, not what is now.

    Args:
        url: Where visitors find it.
        store: Where the past is; None while it cannot be opened.
        monitors: What is watched.
        alerts: Where each alert stands, by name.
        started: Seconds since the epoch at which the agent started.
        now: Seconds since the epoch.
    """
    by_service: dict[str, list[Monitor]] = {}
    for monitor in monitors:
        if monitor.service is not None:
            by_service.setdefault(monitor.service, []).append(monitor)
    slugs = set(by_service)
    past = _Past.read(store, slugs, now)
    return Page(
        "Status",
        url,
        now,
        components=[
            Component(
                slug,
                shown_name(slug),
                status_of(slug, watched, alerts, is_covered=past.covers(slug, now)),
                since_of(watched, alerts) or started,
                response_time=past.times.get(slug),
                days=past.days.get(slug, ()),
            )
            for slug, watched in sorted(by_service.items())
        ],
        incidents=[
            _incident(each, alerts)
            for each in past.incidents
            if _is_shown(each, slugs, past.incidents)
        ],
        maintenances=[_maintenance(each, slugs, now) for each in past.windows],
    )


@frozen
class _Past:
    """What the store has for a page."""

    days: Mapping[str, tuple[Day, ...]] = field(factory=dict)
    times: Mapping[str, ResponseTime] = field(factory=dict)
    incidents: Sequence[kept.Incident] = ()
    windows: Sequence[kept.Maintenance] = ()

    @classmethod
    def read(cls, store: Store | None, slugs: Iterable[str], now: float) -> _Past:
        if store is None:
            return cls()
        try:
            counted = store.days(now - (DAYS - 1) * DAY_S, UTC)
            return cls(
                {
                    slug: tuple(
                        Day(day, counts.good, counts.total)
                        for day, counts in sorted(counted.get(f"{slug}/{WEB}", {}).items())
                    )
                    for slug in slugs
                },
                {slug: found for slug in slugs if (found := _response_time(store, slug, now))},
                store.incidents(INCIDENTS),
                store.maintenance(now),
            )
        except StoreError:
            return cls()

    def covers(self, slug: str, now: float) -> bool:
        return any(window.covers(now, slug) for window in self.windows)


def _response_time(store: Store, slug: str, now: float) -> ResponseTime | None:
    p50, p95, p99 = (
        store.quantile(f"{slug}/{WEB}", q, now - DAY_S, now) for q in (0.5, 0.95, 0.99)
    )
    if p50 is None or p95 is None or p99 is None:
        return None
    return ResponseTime(p50, p95, p99)


def since_of(monitors: Iterable[Monitor], alerts: Mapping[str, Alert]) -> float:
    """Return when anything of *monitors* last changed, seconds since the epoch; 0 for never."""
    return max((alerts[m.name].since for m in monitors if m.name in alerts), default=0.0)


def status_of(
    slug: str, monitors: Iterable[Monitor], alerts: Mapping[str, Alert], *, is_covered: bool
) -> ComponentStatus:
    """Return how a service is, to who uses it.

    Args:
        slug: The service.
        monitors: Those that watch it.
        alerts: Where each alert stands, by name.
        is_covered: Whether it is in a maintenance window.
    """
    if is_covered:
        return ComponentStatus.UNDER_MAINTENANCE
    # One that answers again is well to visitors, though it has yet to prove that it stays so.
    states = {
        m.name: AlertState.OK if alerts[m.name].clean else alerts[m.name].state
        for m in monitors
        if m.name in alerts
    }
    promised = {a.state for name, a in alerts.items() if name.startswith(f"{slug}/slo/")}
    # Without a failure there is no alert; then all is well.
    web = states.get(f"{slug}/{WEB}", AlertState.OK)
    if web is AlertState.FIRING:
        return ComponentStatus.MAJOR_OUTAGE
    if AlertState.FIRING in states.values():
        return ComponentStatus.PARTIAL_OUTAGE
    if AlertState.FIRING in promised:
        return ComponentStatus.DEGRADED_PERFORMANCE
    if web is AlertState.NO_DATA:
        return ComponentStatus.NO_DATA
    return ComponentStatus.OPERATIONAL


def _is_shown(one: kept.Incident, slugs: set[str], others: Sequence[kept.Incident]) -> bool:
    """Say whether visitors are told of *one*.

    Not of the host's own, nor of a budget that burns, which is between operators; nor of what an
    outage of the service as a whole brings about.
    """
    slug, _, what = one.alert.partition("/")
    if slug not in slugs or what.startswith("slo/"):
        return False
    return what == WEB or not any(
        other.alert == f"{slug}/{WEB}"
        and other.started <= (one.ended or math.inf)
        and one.started <= (other.ended or math.inf)
        for other in others
    )


def _incident(found: kept.Incident, alerts: Mapping[str, Alert]) -> Incident:
    """Return an incident in words for visitors."""
    slug, _, what = found.alert.partition("/")
    is_down, is_over = what == WEB, found.ended is not None
    updates = [
        Update(
            f"{found.id}-{number}",
            _STATUSES.get(step.state, IncidentStatus.MONITORING),
            _UPDATES.get(step.state, "We are watching it."),
            step.at,
        )
        for number, step in enumerate(found.timeline)
    ]
    alert = alerts.get(found.alert)
    if not is_over and alert is not None and alert.clean_since is not None:
        text = "It answers as it should again. We watch whether it stays so."
        number = f"{found.id}-{len(updates)}"
        updates.append(Update(number, IncidentStatus.MONITORING, text, alert.clean_since))
    return Incident(
        str(found.id),
        f"{shown_name(slug)} {'was' if is_over else 'is'} "
        f"{'not available' if is_down else 'impaired'}",
        updates[-1].status if updates else IncidentStatus.INVESTIGATING,
        Impact.CRITICAL if is_down else Impact.MINOR,
        found.started,
        updates[-1].at if updates else found.started,
        found.ended,
        [slug],
        updates[::-1],
    )


def _maintenance(window: kept.Maintenance, slugs: set[str], now: float) -> Maintenance:
    has_begun = window.starts <= now
    scope = window.scope.partition("/")[0]
    return Maintenance(
        str(window.id),
        window.why or "Maintenance",
        MaintenanceStatus.IN_PROGRESS if has_begun else MaintenanceStatus.SCHEDULED,
        window.starts,
        window.ends,
        window.starts,
        window.starts,
        sorted(slugs if scope == "*" else slugs & {scope}),
    )
