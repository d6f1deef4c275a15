"""The parts of the status page between its header and its footer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from chittyops_core.monitor.page.bars import DAYS, KEY, bars, calendar, in_calendar
from chittyops_core.monitor.page.markup import (
    Safe,
    date_time,
    fill,
    join,
    percent,
    seconds,
    segment,
)
from chittyops_core.monitor.page.snapshot import (
    Component,
    ComponentStatus,
    Day,
    Incident,
    Maintenance,
    MaintenanceStatus,
    Page,
    Update,
    overall,
    uptime,
)
from chittyops_core.monitor.page.words import icon, look_of, said

__all__ = [
    "HISTORY_DAYS",
    "banner",
    "components",
    "history",
    "incident",
    "maintenances",
    "open_incidents",
]

HISTORY_DAYS = 15
_NOTHING = Safe("")


def banner(page: Page) -> Safe:
    """Return the page's state in one line, with how many components are how."""
    state = overall(page)
    look = look_of(state.indicator)
    return fill(
        '<section class="banner s-{tone}" aria-labelledby="now">{icon}<div>'
        '<h2 id="now">{words}</h2><p>{detail}</p></div></section>',
        tone=look.tone,
        icon=icon(look.shape),
        words=state.description,
        detail=_counts(page.components),
    )


def open_incidents(page: Page) -> Safe:
    """Return the incidents that are not resolved, with all that was said about them."""
    cards = join(
        fill(
            '<li class="card open incident gap s-{tone}"><div>{title}{impact}</div>'
            "<div>{updates}</div></li>",
            tone=look_of(one.impact).tone,
            title=_linked(one),
            impact=_impact(page, one),
            updates=_updates(one.updates),
        )
        for one in page.incidents
        if not one.is_resolved
    )
    if not cards:
        return _NOTHING
    return fill(
        '<section aria-labelledby="incidents"><h2 id="incidents">Open incidents</h2>'
        "<ul>{cards}</ul></section>",
        cards=cards,
    )


def maintenances(page: Page) -> Safe:
    """Return the maintenances that are planned or under way."""
    cards = join(
        _maintenance(page, one)
        for one in page.maintenances
        if one.status is not MaintenanceStatus.COMPLETED
    )
    if not cards:
        return _NOTHING
    return fill(
        '<section aria-labelledby="maintenance"><h2 id="maintenance">Scheduled maintenance</h2>'
        "<ul>{cards}</ul></section>",
        cards=cards,
    )


def components(page: Page) -> Safe:
    """Return all components in their groups; a group stands where its first component does."""
    if not page.components:
        return _NOTHING
    blank = calendar(_day_of(page.updated_at))
    groups: dict[str | None, list[Component]] = {}
    for component in page.components:
        groups.setdefault(component.group, []).append(component)
    parts = [Safe('<section aria-labelledby="components"><h2 id="components">Components</h2>')]
    for group, members in groups.items():
        if group is not None:
            parts.append(fill('<h3 class="group"><bdi>{group}</bdi></h3>', group=group))
        level = "h3" if group is None else "h4"
        rows = join(_component(component, level, blank) for component in members)
        parts.append(fill('<ul class="card gap">{rows}</ul>', rows=rows))
    return join([*parts, KEY, Safe("</section>")])


def history(page: Page) -> Safe:
    """Return the incidents of the past 15 days by day; quiet days in a row are one line."""
    today = _day_of(page.updated_at)
    by_day: dict[date, list[Incident]] = {}
    for one in page.incidents:
        by_day.setdefault(_day_of(one.created_at), []).append(one)
    parts: list[Safe] = []
    quiet: list[date] = []
    for back in range(HISTORY_DAYS):
        day = today - timedelta(days=back)
        if day not in by_day:
            quiet.append(day)
            continue
        parts.append(_quiet(quiet))
        quiet = []
        cards = join(_past(page, one) for one in by_day[day])
        parts.append(fill('<h3 class="day">{day}</h3>{cards}', day=_date(day), cards=cards))
    parts.append(_quiet(quiet))
    return fill(
        '<section aria-labelledby="past"><h2 id="past">Past incidents</h2>{parts}</section>',
        parts=join(parts),
    )


def incident(page: Page, one: Incident) -> Safe:
    """Return all about one incident: what its own page shows."""
    ended = fill(" Resolved {at}.", at=date_time(one.resolved_at)) if one.resolved_at else _NOTHING
    return fill(
        '<h1>{name}</h1>{impact}<p class="soft">Began {began}.{ended}</p>'
        '<section aria-labelledby="updates"><h2 id="updates">Updates</h2>'
        '<div class="card incident"><div>{updates}</div></div></section>',
        name=one.name,
        impact=_impact(page, one),
        began=date_time(one.created_at),
        ended=ended,
        updates=_updates(one.updates),
    )


def _counts(them: Sequence[Component]) -> str:
    """Return how many components are how, the worst first."""
    if not them:
        return "No components yet."
    parts = []
    for status in reversed(ComponentStatus):
        if count := sum(component.status is status for component in them):
            parts.append(f"{count} {look_of(status).words.lower()}")
    if len(parts) == 1 and len(them) > 1:
        return f"All {len(them)} components: {parts[0].partition(' ')[2]}"
    return f"{len(them)} {'component' if len(them) == 1 else 'components'}: {', '.join(parts)}"


def _component(component: Component, level: str, blank: Sequence[Day]) -> Safe:
    look = look_of(component.status)
    days = in_calendar(component.days, blank)
    is_well = component.status is ComponentStatus.OPERATIONAL
    since = _NOTHING if is_well else fill("Since {at}. ", at=date_time(component.updated_at))
    return fill(
        '<li><div class="row"><{level}><bdi>{name}</bdi></{level}>'
        '<p class="state s-{tone}">{icon} {words}</p></div>{details}'
        '<div class="bars">{bars}</div><p class="foot"><span><span class="long">{all}</span>'
        '<span class="short">30</span> days ago</span> <span>{uptime}</span> <span>Today</span></p>'
        "{response}</li>",
        level=level,
        name=component.name,
        tone=look.tone,
        icon=icon(look.shape),
        words=look.words,
        details=_soft(fill("{since}{text}", since=since, text=component.description)),
        bars=bars(component, days),
        all=DAYS,
        uptime=_uptime_in_words(days),
        response=_response_time(component),
    )


def _soft(text: Safe) -> Safe:
    return fill('<p class="soft">{text}</p>', text=text) if text else _NOTHING


def _uptime_in_words(days: Sequence[Day]) -> Safe:
    """Return the uptime of all days: also on a narrow screen, which shows fewer."""
    ratio = uptime(days)
    if ratio is None:
        return Safe("no data yet")
    seen = sum(day.total > 0 for day in days)
    return fill(
        '{percent} <span class="long">uptime </span>over {seen} {days}',
        percent=percent(ratio),
        seen=seen,
        days="day" if seen == 1 else "days",
    )


def _response_time(component: Component) -> Safe:
    took = component.response_time
    if took is None:
        return _NOTHING
    return fill(
        '<p class="soft took">Response time, last 24 h: median {p50}, p95 {p95}, p99 {p99}</p>',
        p50=seconds(took.p50),
        p95=seconds(took.p95),
        p99=seconds(took.p99),
    )


def _linked(one: Incident) -> Safe:
    template = '<h3><a href="incidents/{id}"><bdi>{name}</bdi></a></h3>'
    return fill(template, id=segment(one.id), name=one.name)


def _names(page: Page, ids: Iterable[str]) -> Safe:
    """Return who is affected, as a clause; empty when nobody who is on the page."""
    names = {component.id: component.name for component in page.components}
    hit = [fill("<bdi>{name}</bdi>", name=names[id_]) for id_ in ids if id_ in names]
    return Safe(f" · {', '.join(hit)}") if hit else _NOTHING


def _impact(page: Page, one: Incident) -> Safe:
    look = look_of(one.impact)
    return fill(
        '<p class="state s-{tone}">{icon} {words}{on}</p>',
        tone=look.tone,
        icon=icon(look.shape),
        words=look.words,
        on=_names(page, one.components),
    )


def _updates(updates: Iterable[Update]) -> Safe:
    items = join(
        fill(
            '<li><p><b>{status}</b> – {body}</p><p class="soft">{at}</p></li>',
            status=said(update.status),
            body=update.body,
            at=date_time(update.at),
        )
        for update in updates
    )
    return fill('<ol class="said">{items}</ol>', items=items) if items else _NOTHING


def _maintenance(page: Page, one: Maintenance) -> Safe:
    return fill(
        '<li class="card open incident gap s-info"><div><h3><bdi>{name}</bdi></h3>'
        '<p class="state s-info">{icon} {status}{on}</p>'
        '<p class="soft">{start} – {end}</p></div>{updates}</li>',
        name=one.name,
        icon=icon("pause"),
        status=said(one.status),
        on=_names(page, one.components),
        start=date_time(one.scheduled_for),
        end=date_time(one.scheduled_until),
        updates=fill("<div>{updates}</div>", updates=_updates(one.updates))
        if one.updates
        else _NOTHING,
    )


def _past(page: Page, one: Incident) -> Safe:
    """Return an incident in short: its last word, unless it is open and stands above in full."""
    return fill(
        '<div class="card incident gap"><div>{title}{impact}{last}</div></div>',
        title=_linked(one),
        impact=_impact(page, one),
        last=_updates(one.updates[:1]) if one.is_resolved else _NOTHING,
    )


def _quiet(days: Sequence[date]) -> Safe:
    """Return that nothing happened on *days*, newest first and without a hole."""
    if not days:
        return _NOTHING
    span = _date(days[0])
    if len(days) > 1:
        span = fill("{first} – {last}", first=_date(days[-1]), last=_date(days[0]))
    return fill('<p class="soft quiet">{span}: no incidents</p>', span=span)


def _date(day: date) -> Safe:
    return fill(
        '<time datetime="{iso}">{words}</time>', iso=day.isoformat(), words=f"{day.day} {day:%b %Y}"
    )


def _day_of(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()
