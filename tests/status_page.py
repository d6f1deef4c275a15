"""Pages to render in tests: one in trouble, one that is well, one whose names are hostile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chittyops_core.monitor.page import (
    Brand,
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

NOW = datetime(2026, 11, 25, 8, 31, 12, tzinfo=UTC).timestamp()
TODAY = datetime.fromtimestamp(NOW, UTC).date()
HOUR, DAY = 3600.0, 86400.0


def days(count: int = 90, **good: int) -> tuple[Day, ...]:
    """Return *count* days of 2880 looks, all good but on the days back named `_0`, `_1`, ..."""
    return tuple(
        Day(TODAY - timedelta(days=back), good.get(f"_{back}", 2880), 2880)
        for back in range(count - 1, -1, -1)
    )


def page_in_trouble() -> Page:
    """Return a page with one component in each state, an open incident and a maintenance."""
    states = ComponentStatus
    components = (
        Component(
            "court.production/http",
            "Court filing",
            states.MAJOR_OUTAGE,
            NOW - 1500,
            "Cook County",
            "Filings, dockets and receipts",
            ResponseTime(0.12, 0.34, 0.81),
            days(_0=2600, _12=2800, _40=2865),
        ),
        Component("clerk", "Clerk’s portal", states.PARTIAL_OUTAGE, NOW - 1400, "Cook County"),
        Component("acme", "Dossier for Acme", states.OPERATIONAL, NOW - 9 * DAY, days=days()),
        Component("blue", "Dossier & Sons", states.DEGRADED_PERFORMANCE, NOW - HOUR, days=days(3)),
        Component("counter", "Counter", states.UNDER_MAINTENANCE, NOW - 60, "Chitty apps"),
        Component("notes", "Notes", states.NO_DATA, NOW - 70, "Chitty apps"),
    )
    began = NOW - 12 * DAY
    incidents = (
        Incident(
            "2026-11-25 court/1",
            "Court filing does not answer",
            IncidentStatus.IDENTIFIED,
            Impact.MAJOR,
            NOW - 1500,
            NOW - 300,
            components=("court.production/http", "clerk", "gone"),
            updates=(
                Update("b", IncidentStatus.IDENTIFIED, "Out of connections.\nAdding.", NOW - 300),
                Update("a", IncidentStatus.INVESTIGATING, "Three checks failed.", NOW - 1500),
            ),
        ),
        Incident(
            "slow",
            "Court filing answered slowly",
            IncidentStatus.RESOLVED,
            Impact.MINOR,
            began,
            began + 3 * HOUR,
            began + 3 * HOUR,
            updates=(
                Update("e", IncidentStatus.RESOLVED, "Normal for an hour.", began + 3 * HOUR),
                Update("d", IncidentStatus.MONITORING, "Stopped the report.", began + 2 * HOUR),
            ),
        ),
    )
    maintenance = Maintenance(
        "disks",
        "New disks",
        MaintenanceStatus.SCHEDULED,
        NOW + 2 * DAY,
        NOW + 2 * DAY + HOUR,
        NOW - DAY,
        NOW - DAY,
        ("acme",),
        (Update("m", MaintenanceStatus.SCHEDULED, "Slow for some minutes.", NOW - DAY),),
    )
    url = "https://status.example.org"
    return Page(
        "Chitty Works", url, NOW, components=components, incidents=incidents,
        maintenances=(maintenance,),
    )  # fmt: skip


def page_that_is_well(brand: Brand | None = None) -> Page:
    """Return a page of one component without a fault."""
    component = Component("acme", "Acme", ComponentStatus.OPERATIONAL, NOW - DAY, days=days())
    return Page("Acme", "https://status.example.org", NOW, brand or Brand(), (component,))


def hostile_page(text: str) -> Page:
    """Return a page where everything that people name is *text*."""
    component = Component(
        text,
        text,
        ComponentStatus.OPERATIONAL,
        NOW,
        text,
        text,
        ResponseTime(0.1, 0.2, 0.3),
        days(),
    )
    update = Update(text, IncidentStatus.INVESTIGATING, text, NOW)
    open_, done = (
        Incident(text + end, text, status, Impact.MINOR, NOW, NOW, None, (text,), (update,))
        for end, status in (("1", IncidentStatus.INVESTIGATING), ("2", IncidentStatus.RESOLVED))
    )
    planned = Maintenance(
        text, text, MaintenanceStatus.SCHEDULED, NOW, NOW, NOW, NOW, (text,), (update,)
    )
    url = "https://status.example.org"
    return Page(text, url, NOW, Brand(), (component,), (open_, done), (planned,))
