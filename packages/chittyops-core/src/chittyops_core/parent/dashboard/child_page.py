"""The page of one child: how it is, what runs on it, its metrics, events, grants and keys."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from attrs import asdict, frozen
from litestar import Response, get
from litestar.params import FromPath

from chittyops_core.bridge.protocol import FACTS, ChildState, Section
from chittyops_core.parent import fleet, samples
from chittyops_core.parent.access import Role
from chittyops_core.parent.dashboard import graphs
from chittyops_core.parent.dashboard.engine import Web, may_act, page
from chittyops_core.parent.dashboard.graphs import RANGES, Metric, Range
from chittyops_core.parent.dashboard.numbers import duration, number
from chittyops_core.parent.dashboard.requests import notice_of
from chittyops_core.parent.dashboard.rows import ServiceRow, facts_of, labels_of, look_of
from chittyops_core.parent.dashboard.sparkline import Curve
from chittyops_core.parent.dashboard.words import Look, kind_words, state_look, status_look
from chittyops_core.parent.operators import may
from chittyops_core.parent.operators.requests import now_of, read
from chittyops_core.parent.schema import child_key

__all__ = ["REVOCABLE", "HeadView", "head_of", "show_child"]

MAX_METRICS = 24
"""Pictures of a page; the others are listed by name."""
MAX_NAMES = 512
MAX_EVENTS = 20
MAX_FORMER = 20
MAX_KEYS = 10
RHYTHM_S = 300.0

GRANTS = ("health", "inventory", "metrics", "events")
"""What a child may share (docs/protocol.md section 9)."""

REVOCABLE = (ChildState.ACCEPTED, ChildState.CLONED, ChildState.LEFT)
"""From where a child may be revoked; one that asks is rejected instead."""

_FACT_WORDS = {
    "hostname": "Hostname", "os": "System", "kernel": "Kernel", "machine": "Machine",
    "cpus": "CPUs", "memory_bytes": "Memory", "python": "Python", "caddy": "Caddy",
    "supervisor": "Supervisor",
}  # fmt: skip


@frozen
class HeadView:
    """The top of the page, which is kept true while the page is open."""

    id: str
    name: str
    kind: str
    look: Look
    said: str
    is_overdue: bool
    since: float | None
    last_seen: float | None
    deadline_at: float | None
    lag: int
    labels: tuple[tuple[str, str], ...]


@frozen
class Key:
    """One of a child's keys."""

    thumbprint: str
    state: str
    created_at: float


@frozen
class EventRow:
    """Something that the child told."""

    at: float
    type: str
    service: str | None
    facts: tuple[tuple[str, str], ...]


@frozen
class RangeLink:
    """A range that may be chosen."""

    words: str
    href: str
    is_current: bool


@frozen
class Found:
    """What was read for a page."""

    view: fleet.ChildView
    names: tuple[str, ...]
    curves: list[Curve]
    large: Curve | None
    former: tuple[fleet.Service, ...]
    events: fleet.Page[fleet.Event]
    keys: tuple[Key, ...]


@frozen
class Asked:
    """What the address asks: which child, range and metric, and from which event on."""

    child: str
    range: Range
    metric: str
    events_after: str | None
    now: float

    @property
    def since(self) -> float:
        return self.now - self.range.seconds

    def href(self, **changes: str | None) -> str:
        fields = {"range": self.range.key, "metric": self.metric, **changes}
        return f"/children/{self.child}?{urlencode({k: v for k, v in fields.items() if v})}"


@get("/children/{child_id:str}", guards=[may(Role.VIEWER)], include_in_schema=False)
async def show_child(request: Web, child_id: FromPath[str]) -> Response[bytes]:
    """Show one child."""
    params = request.query_params
    chosen = next((each for each in RANGES if each.key == params.get("range")), RANGES[1])
    asked = Asked(
        child_id, chosen, params.get("metric", "")[:200], params.get("events") or None,
        now_of(request),
    )  # fmt: skip
    found = await read(request, lambda reader: _find(reader, asked))
    can_revoke = may_act(request, Role.APPROVER)
    return page(
        request, "child.html", view=_view(found, asked, can_revoke), notice=notice_of(request)
    )


def head_of(view: fleet.ChildView) -> HeadView:
    """Return the top of a child's page."""
    child = view.child
    is_awaited = child.state == ChildState.ACCEPTED
    return HeadView(
        child.id, child.name or child.id, kind_words(child.kind), look_of(child),
        status_look(child.status).words, is_awaited and child.is_overdue,
        child.overdue_since if child.is_overdue else child.status_since, child.last_seen,
        view.deadline_at if is_awaited else None, child.lag, labels_of(child.labels),
    )  # fmt: skip


def _find(reader: sa.Connection, asked: Asked) -> Found:
    view = fleet.child_view(reader, asked.child)
    names = samples.names(reader, asked.child)[:MAX_NAMES]
    drawn = names[:MAX_METRICS]
    rhythm_s, span = view.next_s or RHYTHM_S, (asked.since, asked.now)
    large = (
        graphs.curves(reader, asked.child, [asked.metric], *span, rhythm_s, is_large=True)[0]
        if asked.metric in names
        else None
    )
    ever = fleet.services(reader, fleet.ServiceFilter(child=asked.child, ever=True), limit=200)
    former = [each for each in ever.rows if each.ended_at is not None]
    former.sort(key=lambda each: each.ended_at or 0.0, reverse=True)
    return Found(
        view, names, graphs.curves(reader, asked.child, drawn, *span, rhythm_s), large,
        tuple(former[:MAX_FORMER]),
        fleet.events(reader, child_id=asked.child, after=asked.events_after, limit=MAX_EVENTS),
        _keys(reader, asked.child),
    )  # fmt: skip


def _keys(reader: sa.Connection, child_id: str) -> tuple[Key, ...]:
    c = child_key.c
    rows = reader.execute(
        sa.select(c.thumbprint, c.state, c.created_at)
        .where(c.child == child_id)
        .order_by(c.created_at.desc())
        .limit(MAX_KEYS)
    )
    return tuple(Key(*row) for row in rows)


def _view(found: Found, asked: Asked, can_revoke: bool) -> SimpleNamespace:
    """Return what the templates show, by name."""
    view, child = found.view, found.view.child
    head = head_of(view)
    health = _part(view, Section.HEALTH, "services")
    running = tuple(ServiceRow.of(each, health.get(each.slug)) for each in view.services)
    former = tuple(map(ServiceRow.of, found.former))
    deployments = [
        each for each in (*running, *former)
        if each.since is not None and asked.since <= each.since <= asked.now
    ]  # fmt: skip
    deployments.sort(key=lambda each: each.since or 0.0)
    marks = tuple(each.since for each in deployments if each.since is not None)
    return SimpleNamespace(
        **asdict(head, recurse=False),
        state=child.state, state_look=state_look(child.state), decided_at=view.decided_at,
        decided_by=view.decided_by, reason=view.reason, enrolled_at=child.enrolled_at,
        sdk=child.sdk, services=running, former=former, deployments=deployments,
        marks=[int(at) for at in marks], **_metrics(found, asked, marks),
        events=tuple(map(_event, found.events.rows)),
        events_next=found.events.next and f"{asked.href(events=found.events.next)}#events",
        facts=_facts(view), keys=found.keys, **_bridge(view),
        can_revoke=can_revoke and child.state in REVOCABLE,
    )  # fmt: skip


def _metrics(found: Found, asked: Asked, marks: tuple[float, ...]) -> dict[str, Any]:
    span = (asked.since, asked.now)
    drawn: list[Metric] = [
        graphs.metric(
            curve, *span, marks, href=asked.href(metric=curve.name),
            is_open=curve.name == asked.metric,
        )
        for curve in found.curves
    ]  # fmt: skip
    large = None if found.large is None else graphs.opened(found.large, *span, marks)
    return {
        "ranges": [
            RangeLink(each.words, asked.href(range=each.key), each == asked.range)
            for each in RANGES
        ],
        "metrics": drawn, "opened": large, "close": asked.href(metric=None),
        "more_metrics": [
            (name, asked.href(metric=name)) for name in found.names[len(drawn):]
        ],
        "since_s": int(asked.since), "until_s": int(asked.now),
    }  # fmt: skip


def _bridge(view: fleet.ChildView) -> dict[str, Any]:
    granted = [each for each in view.caps if each not in GRANTS]
    dropped = _part(view, Section.BRIDGE, "dropped")
    skew = view.skew_s
    if abs(skew) < 1:
        clock = "in step"
    else:
        clock = f"{duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}"
    return {
        "grants": {name: name in view.caps or view.child.last_seen is None for name in GRANTS},
        "grants_list": [
            *((name, name in view.caps) for name in GRANTS), *((name, True) for name in granted)
        ],
        "dropped": [
            (str(kind), f"{items:,}") for kind, items in dropped.items()
            if isinstance(items, int) and items > 0
        ],
        "skew": clock, "rhythm": duration(view.next_s) if view.next_s else "–",
    }  # fmt: skip


def _facts(view: fleet.ChildView) -> tuple[tuple[str, str], ...]:
    host = _part(view, Section.INVENTORY, "host") or view.facts
    return tuple(
        (_FACT_WORDS.get(name, name), _fact(name, host[name]))
        for name in FACTS
        if isinstance(host.get(name), str | int | float) and host[name] != ""
    )


def _fact(name: str, value: str | float) -> str:
    if name == "memory_bytes" and not isinstance(value, str):
        return f"{number(value)}B"
    return str(value)[:200]


def _event(event: fleet.Event) -> EventRow:
    facts = facts_of(event.body, without=("type", "at", "service"))
    return EventRow(event.at, event.type, event.service, facts)


def _part(view: fleet.ChildView, section: Section, name: str) -> Mapping[str, Any]:
    """Return an object of a section, which may have any shape."""
    found = view.sections.get(section)
    value = found.value.get(name) if found and isinstance(found.value, Mapping) else None
    return value if isinstance(value, Mapping) else {}
