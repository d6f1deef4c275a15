"""The JSON of Statuspage's public API, version 2, so that what reads theirs reads ours.

Names and shapes are those that every page documents at `/api` (for one, www.githubstatus.com/api).
Two things are ours: a component without data says `degraded_performance`, because clients know
five words only and it must not pass for operational, and its `has_data` is false; and
`uptime`, counts over the days that are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time
from typing import Any

from chittyops_core.monitor.page.markup import instant, segment
from chittyops_core.monitor.page.snapshot import (
    Component,
    ComponentStatus,
    Incident,
    Maintenance,
    MaintenanceStatus,
    Page,
    Update,
    overall,
    worst,
)

__all__ = ["MAX_LISTED", "answer"]

MAX_LISTED = 50
"""Statuspage lists the 50 most recent incidents and maintenances."""

Json = dict[str, Any]


def answer(page: Page, name: str) -> Json | None:
    """Return what `/api/v2/NAME.json` holds; None when there is no such answer."""
    unresolved = [one for one in page.incidents if not one.is_resolved]
    active = [one for one in page.maintenances if one.is_active]
    upcoming = [one for one in page.maintenances if one.status is MaintenanceStatus.SCHEDULED]
    about = {"page": _page(page)}
    match name:
        case "status":
            return {**about, "status": _status(page)}
        case "summary":
            return {
                **about,
                "components": _components(page),
                "incidents": _incidents(page, unresolved),
                "scheduled_maintenances": _maintenances(page, [*active, *upcoming]),
                "status": _status(page),
            }
        case "components":
            return {**about, "components": _components(page)}
        case "incidents":
            return {**about, "incidents": _incidents(page, page.incidents[:MAX_LISTED])}
        case "incidents/unresolved":
            return {**about, "incidents": _incidents(page, unresolved)}
        case "scheduled-maintenances":
            newest = sorted(page.maintenances, key=lambda one: -one.scheduled_for)[:MAX_LISTED]
            return {**about, "scheduled_maintenances": _maintenances(page, newest)}
        case "scheduled-maintenances/active":
            return {**about, "scheduled_maintenances": _maintenances(page, active)}
        case "scheduled-maintenances/upcoming":
            return {**about, "scheduled_maintenances": _maintenances(page, upcoming)}
        case _:
            return None


def _id(page: Page) -> str:
    return page.url.partition("://")[2]


def _page(page: Page) -> Json:
    return {
        "id": _id(page),
        "name": page.name,
        "url": page.url,
        "time_zone": "Etc/UTC",
        "updated_at": instant(page.updated_at),
    }


def _status(page: Page) -> Json:
    state = overall(page)
    return {"indicator": state.indicator.value, "description": state.description}


def _components(page: Page) -> list[Json]:
    """Return the groups and their members; a group is a component whose `group` is true."""
    groups: dict[str, list[Component]] = {}
    for component in page.components:
        if component.group is not None:
            groups.setdefault(component.group, []).append(component)
    entries: list[Json] = []
    for place, component in enumerate(page.components, 1):
        entries.append(_component(page, component, place))
    for place, (name, members) in enumerate(groups.items(), 1):
        entries.append(_group(page, name, members, place))
    return entries


def _component(page: Page, component: Component, place: int) -> Json:
    first = component.days[0].date if component.days else None
    started = datetime.combine(first, time(), UTC).timestamp() if first else component.updated_at
    return {
        "id": component.id,
        "name": component.name,
        "status": _word(component.status),
        "created_at": instant(min(started, component.updated_at)),
        "updated_at": instant(component.updated_at),
        "position": place,
        "description": component.description or None,
        "showcase": True,
        "start_date": first.isoformat() if first else None,
        "group_id": None if component.group is None else _group_id(component.group),
        "page_id": _id(page),
        "group": False,
        "only_show_if_degraded": False,
        "has_data": component.status is not ComponentStatus.NO_DATA,
        "uptime": {
            "good": sum(day.good for day in component.days),
            "total": sum(day.total for day in component.days),
        },
    }


def _group(page: Page, name: str, members: list[Component], place: int) -> Json:
    return {
        "id": _group_id(name),
        "name": name,
        "status": _word(worst(member.status for member in members)),
        "created_at": instant(min(member.updated_at for member in members)),
        "updated_at": instant(max(member.updated_at for member in members)),
        "position": place,
        "description": None,
        "showcase": False,
        "start_date": None,
        "group_id": None,
        "page_id": _id(page),
        "group": True,
        "only_show_if_degraded": False,
        "components": [member.id for member in members],
    }


def _group_id(name: str) -> str:
    """Return an id that no component has by accident."""
    return f"group:{name}"


def _word(status: ComponentStatus) -> str:
    known = ComponentStatus.DEGRADED_PERFORMANCE if status is ComponentStatus.NO_DATA else status
    return known.value


def _incidents(page: Page, incidents: Iterable[Incident]) -> list[Json]:
    by_id = _by_id(page)
    return [
        _event(page, one, by_id, one.impact.value, one.resolved_at, f"/incidents/{segment(one.id)}")
        for one in incidents
    ]


def _maintenances(page: Page, maintenances: Iterable[Maintenance]) -> list[Json]:
    by_id = _by_id(page)
    entries = []
    for one in maintenances:
        is_done = one.status is MaintenanceStatus.COMPLETED
        entry = _event(page, one, by_id, "maintenance", one.updated_at if is_done else None, "/")
        entry["scheduled_for"] = instant(one.scheduled_for)
        entry["scheduled_until"] = instant(one.scheduled_until)
        entries.append(entry)
    return entries


def _by_id(page: Page) -> Mapping[str, Json]:
    return {c.id: _component(page, c, place) for place, c in enumerate(page.components, 1)}


def _event(
    page: Page,
    one: Incident | Maintenance,
    by_id: Mapping[str, Json],
    impact: str,
    resolved_at: float | None,
    link: str,
) -> Json:
    looked_after = [u.at for u in one.updates if u.status.value in ("monitoring", "verifying")]
    return {
        "id": one.id,
        "name": one.name,
        "status": one.status.value,
        "created_at": instant(one.created_at),
        "updated_at": instant(one.updated_at),
        "monitoring_at": instant(min(looked_after)) if looked_after else None,
        "resolved_at": None if resolved_at is None else instant(resolved_at),
        "impact": impact,
        "shortlink": page.url + link,
        "started_at": instant(one.created_at),
        "page_id": _id(page),
        "incident_updates": [_update(one, update) for update in one.updates],
        "components": [by_id[id_] for id_ in one.components if id_ in by_id],
    }


def _update(one: Incident | Maintenance, update: Update) -> Json:
    at = instant(update.at)
    return {
        "id": update.id,
        "status": update.status.value,
        "body": update.body,
        "incident_id": one.id,
        "created_at": at,
        "updated_at": at,
        "display_at": at,
        "affected_components": None,
        "deliver_notifications": True,
        "custom_tweet": None,
        "tweet_id": None,
    }
