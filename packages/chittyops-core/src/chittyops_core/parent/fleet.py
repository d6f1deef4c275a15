"""What pages and the API ask about the fleet. Every question costs its page, not the fleet.

Lists come page by page: a page says after which row the next one begins, in a cursor that nobody
else has to understand. A cursor is only a place in a list; one that was made up shows no more
than the list does. No query looks at more rows than its bound: where few of many rows match, a page
may be short, or empty, and still have a next one.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from attrs import field, frozen

from chittyops_core.bridge.protocol import ChildState, Status
from chittyops_core.errors import NotFoundError, UsageError
from chittyops_core.parent import tally, terms
from chittyops_core.parent.inventory import version_key
from chittyops_core.parent.schema import (
    activity,
    child,
    child_place,
    child_section,
    child_state,
    event,
    saved_filter,
    service,
    stream,
    term,
)
from chittyops_core.parent.tally import Place

__all__ = [
    "Activity",
    "Child",
    "ChildView",
    "Counts",
    "Event",
    "Facets",
    "Filter",
    "Order",
    "Page",
    "SavedFilter",
    "SectionView",
    "Service",
    "ServiceFilter",
    "StreamView",
    "activities",
    "child_view",
    "children",
    "counts",
    "delete_filter",
    "events",
    "facets",
    "history",
    "save_filter",
    "saved_filters",
    "services",
    "some",
]

T = TypeVar("T")

LIMIT = 50
"""Rows of a page."""

MAX_LIMIT = 200
"""Rows that a page may have."""

MAX_LOOKED = 2000
"""Rows that are looked at for one page, when not all of them match."""

MAX_FOUND = 1000
"""Children that a word may find to be looked at all; a more frequent one is looked for in order."""

MAX_CHOICES = 100
"""Values of a facet."""

MAX_TYPES = 16
"""Types of events that are asked for at once."""

MAX_STREAMS = 20
"""Streams of a child that are shown, the latest."""

MAX_FILTERS = 200
"""Saved filters that are listed."""

LAST = 2**62
"""Above every number of a row."""


class Order(StrEnum):
    """How children are sorted."""

    NAME = "name"
    WORST = "worst"
    """First those that need somebody: cloned, pending, then overdue, then by status."""


@frozen
class Filter:
    """Which children; what is None matches all.

    Attributes:
        kind: Of its services.
        state: A `ChildState`.
        status: A `Status`.
        overdue: Whether it is silent beyond its deadline.
        label: `key=value`.
        text: Words, or their beginnings, that all have to be there.
    """

    kind: str | None = None
    state: str | None = None
    status: str | None = None
    overdue: bool | None = None
    label: str | None = None
    text: str = ""


@frozen
class Page(Generic[T]):
    """Some rows, and where the next page begins; None after the last."""

    rows: tuple[T, ...]
    next: str | None = None


@frozen
class Child:
    """A child in a list; times in seconds since the epoch, by the parent's clock."""

    id: str
    name: str
    kind: str
    state: str
    status: str
    is_overdue: bool
    labels: Mapping[str, Any]
    enrolled_at: float
    last_seen: float | None
    overdue_since: float | None
    status_since: float | None
    lag: int
    sdk: str
    services: int


@frozen
class Service:
    """One service on one child, from `since` or `seen_at` until `ended_at`."""

    id: int
    child: str
    child_name: str
    slug: str
    app: str
    environment: str
    client: str | None
    kind: str
    release: str
    commit: str | None
    manifest: str | None
    sbom: str | None
    lite: str | None
    address: str | None
    status: str
    since: float | None
    seen_at: float
    ended_at: float | None


@frozen
class ServiceFilter:
    """Which services; what is None matches all.

    Attributes:
        child: On which child.
        app: Of which app.
        environment: In which environment.
        client: For which client.
        kind: Of which kind.
        commit: At which commit, or one that begins so.
        release: Of which release, or one that begins so.
        below: Whose lite is older than this version.
        ever: Also those that have ended; only with `child`, `commit` or `release`.
    """

    child: str | None = None
    app: str | None = None
    environment: str | None = None
    client: str | None = None
    kind: str | None = None
    commit: str | None = None
    release: str | None = None
    below: str | None = None
    ever: bool = False


@frozen
class SectionView:
    """A section of a child's state, as it came."""

    name: str
    at: float
    value: Any


@frozen
class StreamView:
    """A stream of a child: an outbox that it has or had."""

    id: str
    acked: int
    first_at: float
    superseded_at: float | None


@frozen
class ChildView:
    """All that a child's page shows, but events and metrics."""

    child: Child
    facts: Mapping[str, Any]
    decided_at: float | None
    decided_by: str | None
    reason: str
    first_seen: float | None
    deadline_at: float | None
    next_s: float | None
    skew_s: float
    caps: tuple[str, ...]
    acked: int
    sections: Mapping[str, SectionView]
    services: tuple[Service, ...]
    streams: tuple[StreamView, ...]


@frozen
class Event:
    """Something that a child said happened."""

    id: int
    child: str
    child_name: str
    kind: str
    type: str
    service: str | None
    at: float
    received_at: float
    body: Any


@frozen
class Activity:
    """Something that an operator or the parent did."""

    id: int
    at: float
    actor: str
    action: str
    object: str
    outcome: str
    address: str
    detail: Any


@frozen
class SavedFilter:
    """A search that an operator keeps."""

    id: str
    operator: str
    name: str
    query: str
    is_shared: bool


@frozen
class Counts:
    """How many children there are; all but `states` of accepted ones."""

    total: int
    overdue: int
    states: Mapping[str, int]
    kinds: Mapping[str, int]
    statuses: Mapping[str, int]
    places: Mapping[Place, int] = field(factory=dict)


@frozen
class Facets:
    """What may be filtered by, each sorted; at most `MAX_CHOICES` values."""

    kinds: tuple[str, ...]
    states: tuple[str, ...]
    statuses: tuple[str, ...]
    labels: tuple[str, ...]
    apps: tuple[str, ...]
    clients: tuple[str, ...]


# --- children ---


def children(
    connection: sa.Connection,
    chosen: Filter | None = None,
    after: str | None = None,
    limit: int = LIMIT,
    order: Order = Order.NAME,
) -> Page[Child]:
    """Return a page of children.

    Raises:
        UsageError: *after* is no cursor of such a list.
    """
    wanted = chosen or Filter()
    size = _size(limit)
    start = _Spot(*_cursor(after, (int, str, str))) if after else _Spot(-1, "", "")
    every = tally.places(connection)
    here: list[Place | None] = [place for place in every if _is_in(place, wanted)]
    if order is Order.NAME and len(here) == len(every):
        here = [None]
    words = _words(wanted)
    if not words:
        return _page_of(connection, _walk(connection, here, order, start, size + 1), size)
    found = _found(connection, words)
    if found is not None:
        spots = _sorted(connection, found, wanted, words, order)
        return _page_of(connection, (each for each in spots if each > start), size)
    return _searched(connection, _walk(connection, here, order, start, size * 4), words, size)


def some(connection: sa.Connection, ids: Sequence[str]) -> tuple[Child, ...]:
    """Return the children with these *ids*, at most `MAX_LIMIT`, in this order."""
    return _details(connection, [_Spot(0, "", each) for each in ids[:MAX_LIMIT]])


def counts(connection: sa.Connection) -> Counts:
    """Return how many children stand where."""
    here = tally.places(connection)
    accepted = {place: n for place, n in here.items() if place.state == ChildState.ACCEPTED}
    return Counts(
        sum(here.values()),
        sum(n for place, n in accepted.items() if place.is_overdue),
        _summed((place.state, n) for place, n in here.items()),
        _summed((place.kind, n) for place, n in accepted.items()),
        _summed((place.status, n) for place, n in accepted.items()),
        here,
    )


def facets(connection: sa.Connection) -> Facets:
    """Return what the fleet may be filtered by."""
    here = tally.places(connection)
    is_current = service.c.ended_at.is_(None)
    is_label = term.c.word < terms.LABEL + terms.END
    labels = _distinct(connection, term.c.word, is_label, above=terms.LABEL)
    return Facets(
        tuple(sorted({place.kind for place in here})),
        tuple(sorted({place.state for place in here})),
        tuple(sorted({place.status for place in here})),
        tuple(word.removeprefix(terms.LABEL) for word in labels),
        _distinct(connection, service.c.app, is_current),
        _distinct(connection, service.c.client, is_current),
    )


def child_view(connection: sa.Connection, child_id: str) -> ChildView:
    """Return all that a child's page shows.

    Raises:
        NotFoundError: There is no such child.
    """
    row = connection.execute(_VIEW.where(child.c.id == child_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"no child {child_id!r}", remedy="Look for it in the fleet's list.")
    sections = connection.execute(sa.select(child_section).where(child_section.c.child == child_id))
    streams = connection.execute(
        sa.select(stream).where(stream.c.child == child_id).limit(10 * MAX_STREAMS)
    )
    found = sorted(streams, key=lambda each: each.first_at, reverse=True)[:MAX_STREAMS]
    running = services(connection, ServiceFilter(child=child_id), limit=MAX_LIMIT).rows
    return ChildView(
        _child(row, len(running)), _mapping(row.facts), row.decided_at, row.decided_by, row.reason,
        row.first_seen, row.deadline_at, row.next_s, row.skew_s or 0.0,
        tuple(map(str, _sequence(row.caps or "[]"))), row.acked or 0,
        {each.section: SectionView(each.section, each.at, _json(each.body)) for each in sections},
        running,
        tuple(StreamView(each.id, each.acked, each.first_at, each.superseded_at) for each in found),
    )  # fmt: skip


@frozen(order=True)
class _Spot:
    """A place in a list of children."""

    rank: int
    sort: str
    id: str


_STATES = ("cloned", "pending", "accepted", "left", "rejected", "revoked")
_STATUSES = (
    Status.MAJOR, Status.PARTIAL, Status.DEGRADED, Status.UNKNOWN, Status.MAINTENANCE,
    Status.OPERATIONAL,
)  # fmt: skip
_LISTED = (
    child.c.id, child.c.name, child.c.kind, child.c.state, child.c.labels, child.c.enrolled_at,
    child_state.c.last_seen, child_state.c.is_overdue, child_state.c.overdue_since,
    child_state.c.status, child_state.c.status_since, child_state.c.lag, child_state.c.sdk,
)  # fmt: skip
_BOTH = child.outerjoin(child_state, child_state.c.child == child.c.id)
_LIST = sa.select(*_LISTED).select_from(_BOTH)
_VIEW = sa.select(
    *_LISTED, child.c.facts, child.c.decided_at, child.c.decided_by, child.c.reason,
    child_state.c.first_seen, child_state.c.deadline_at, child_state.c.next_s,
    child_state.c.skew_s, child_state.c.caps, child_state.c.acked,
).select_from(_BOTH)  # fmt: skip


def _rank(place: Place | None, order: Order) -> int:
    """Return where a place comes in *order*: as one number, so that a cursor can tell it."""
    if place is None or order is Order.NAME:
        return 0
    state = _STATES.index(place.state) if place.state in _STATES else len(_STATES)
    status = _STATUSES.index(place.status) if place.status in set(_STATUSES) else 3
    return state * 100 + (0 if place.is_overdue else 50) + status


def _is_in(place: Place, wanted: Filter) -> bool:
    asked = (wanted.kind, wanted.state, wanted.status, wanted.overdue)
    has = (place.kind, place.state, place.status, place.is_overdue)
    return all(a is None or a == h for a, h in zip(asked, has, strict=True))


def _walk(
    connection: sa.Connection, here: Iterable[Place | None], order: Order, start: _Spot, size: int
) -> Iterator[_Spot]:
    """Yield the children of some places in *order*, from after *start* on; None is everywhere."""
    ranked = sorted(((_rank(place, order), place) for place in here), key=lambda each: each[0])
    for rank, group in groupby(ranked, key=lambda each: each[0]):
        if rank < start.rank:
            continue
        sort, last = (start.sort, start.id) if rank == start.rank else ("", "")
        lists = [_of_place(connection, place, sort, last, size) for _, place in group]
        for name, child_id in heapq.merge(*lists):
            yield _Spot(rank, name, child_id)


def _of_place(
    connection: sa.Connection, place: Place | None, sort: str, last: str, size: int
) -> Iterator[tuple[str, str]]:
    key = (child_place.c.sort, child_place.c.child)
    is_here = () if place is None else (
        child_place.c.state == place.state, child_place.c.kind == place.kind,
        child_place.c.status == place.status,
        child_place.c.is_overdue == sa.literal(place.is_overdue),
    )  # fmt: skip
    while True:
        is_after = sa.tuple_(*key) > sa.tuple_(sa.literal(sort), sa.literal(last))
        rows = connection.execute(
            sa.select(*key).where(*is_here, is_after).order_by(*key).limit(size)
        ).all()
        for row in rows:
            yield row.sort, row.child
        if len(rows) < size:
            return
        sort, last = rows[-1].sort, rows[-1].child


def _words(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    """Return the condition for each word that a child must have."""
    found = [terms.span(word) for word in terms.words_of(wanted.text)]
    if wanted.label:
        found.append(term.c.word == terms.label_word(wanted.label))
    return found


def _found(connection: sa.Connection, words: list[sa.ColumnElement[bool]]) -> list[str] | None:
    """Return the children with the rarest word, or None where all are frequent."""
    best: list[str] | None = None
    for word in words:
        ids = connection.scalars(sa.select(term.c.child).where(word).limit(MAX_FOUND + 1)).all()
        if len(ids) <= MAX_FOUND and (best is None or len(ids) < len(best)):
            best = list(ids)
    return best if best is None else sorted(set(best))


def _having(
    connection: sa.Connection, ids: Iterable[str], words: Iterable[sa.ColumnElement[bool]]
) -> set[str]:
    """Return those of *ids* that have all words."""
    left = set(ids)
    for word in words:
        if left:
            has = sa.select(term.c.child).where(term.c.child.in_(sorted(left)), word)
            left = set(connection.scalars(has))
    return left


def _sorted(
    connection: sa.Connection,
    found: list[str],
    wanted: Filter,
    words: list[sa.ColumnElement[bool]],
    order: Order,
) -> list[_Spot]:
    ids = sorted(_having(connection, found, words))
    rows = connection.execute(sa.select(child_place).where(child_place.c.child.in_(ids)))
    spots = []
    for row in rows:
        place = Place(row.state, row.kind, row.status, row.is_overdue)
        if _is_in(place, wanted):
            spots.append(_Spot(_rank(place, order), row.sort, row.child))
    return sorted(spots)


def _page_of(connection: sa.Connection, spots: Iterable[_Spot], size: int) -> Page[Child]:
    taken: list[_Spot] = []
    for spot in spots:
        if len(taken) == size:
            return Page(_details(connection, taken), _spot_cursor(taken[-1]))
        taken.append(spot)
    return Page(_details(connection, taken))


def _searched(
    connection: sa.Connection,
    spots: Iterator[_Spot],
    words: list[sa.ColumnElement[bool]],
    size: int,
) -> Page[Child]:
    """Look through a list for children with all words, at `MAX_LOOKED` rows at most."""
    taken: list[_Spot] = []
    looked = 0
    while looked < MAX_LOOKED:
        piece = [spot for spot, _ in zip(spots, range(size * 4), strict=False)]
        have = _having(connection, [spot.id for spot in piece], words)
        for spot in piece:
            if spot.id in have:
                if len(taken) == size:
                    return Page(_details(connection, taken), _spot_cursor(taken[-1]))
                taken.append(spot)
        if len(piece) < size * 4:
            return Page(_details(connection, taken))
        looked += len(piece)
    return Page(_details(connection, taken), _spot_cursor(piece[-1]))


def _details(connection: sa.Connection, spots: Sequence[_Spot]) -> tuple[Child, ...]:
    ids = [spot.id for spot in spots]
    rows = {row.id: row for row in connection.execute(_LIST.where(child.c.id.in_(ids)))}
    running = connection.execute(
        sa.select(service.c.child, sa.func.count().label("running"))
        .where(service.c.child.in_(ids), service.c.ended_at.is_(None))
        .group_by(service.c.child)
    )
    number = {row.child: row.running for row in running}
    return tuple(_child(rows[each], number.get(each, 0)) for each in ids if each in rows)


def _child(row: Any, running: int) -> Child:
    return Child(
        row.id, row.name, row.kind, row.state, row.status or Status.UNKNOWN.value,
        bool(row.is_overdue), _mapping(row.labels), row.enrolled_at, row.last_seen,
        row.overdue_since, row.status_since, row.lag or 0, row.sdk or "", running,
    )  # fmt: skip


def _spot_cursor(spot: _Spot) -> str:
    return _cursor_text((spot.rank, spot.sort, spot.id))


def _summed(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for name, number in pairs:
        total[name] += number
    return dict(sorted(total.items()))


def _distinct(
    connection: sa.Connection,
    column: sa.Column[str],
    *here: sa.ColumnElement[bool],
    above: str = "",
) -> tuple[str, ...]:
    """Return the first values of an indexed column, with one search of the index for each.

    *here* must not bound the column from below: of two such bounds SQLite takes the first one for
    its search, and then walks over every row up to the second.
    """
    smallest = sa.select(sa.func.min(column)).where(*here)
    values = sa.select(smallest.where(column > above).scalar_subquery().label("value")).cte(
        "found", recursive=True
    )
    following = smallest.where(column > values.c.value).scalar_subquery()
    values = values.union_all(sa.select(following).where(values.c.value.is_not(None)))
    found = sa.select(values.c.value).where(values.c.value.is_not(None)).limit(MAX_CHOICES)
    return tuple(connection.scalars(found))


# --- services ---


def services(
    connection: sa.Connection,
    chosen: ServiceFilter | None = None,
    after: str | None = None,
    limit: int = LIMIT,
) -> Page[Service]:
    """Return a page of services: what runs where, since when, at which commit.

    Raises:
        UsageError: *after* is no cursor of such a list, or `below` is no version.
    """
    wanted = chosen or ServiceFilter()
    keys, here, first = _service_access(wanted)
    rest: list[sa.ColumnElement[bool]] = []
    if not wanted.ever:
        rest.append(service.c.ended_at.is_(None))
    rest += [
        column == value
        for column, value in (
            (service.c.child, wanted.child), (service.c.app, wanted.app),
            (service.c.environment, wanted.environment), (service.c.client, wanted.client),
            (service.c.kind, wanted.kind),
        ) if value is not None
    ]  # fmt: skip
    rest += [
        _begins(column, beginning)
        for column, beginning in (
            (service.c.commit_id, wanted.commit), (service.c.release, wanted.release),
        ) if beginning
    ]  # fmt: skip
    if wanted.below is not None:
        rest.append(service.c.version < _version(wanted.below))
    return _service_page(connection, keys, here, rest, first, after, limit)


def history(
    connection: sa.Connection,
    child_id: str,
    slug: str,
    after: str | None = None,
    limit: int = LIMIT,
) -> Page[Service]:
    """Return what one service was, the latest first."""
    size = _size(limit)
    (last,) = _cursor(after, (int,)) if after else (LAST,)
    rows = connection.execute(
        _SERVICES.where(
            service.c.child == child_id, service.c.slug == slug, service.c.id < last
        ).order_by(service.c.id.desc()).limit(size + 1)
    ).all()  # fmt: skip
    found = tuple(map(_service, rows[:size]))
    return Page(found, _cursor_text((found[-1].id,)) if len(rows) > size else None)


_SERVICES = sa.select(service, child.c.name.label("child_name")).select_from(
    service.join(child, child.c.id == service.c.child)
)
Key = tuple[sa.Column[Any], type]


def _service_access(
    wanted: ServiceFilter,
) -> tuple[list[Key], list[sa.ColumnElement[bool]], str]:
    """Return by what services are sorted, what an index answers, and above what the first key is.

    The first key is bounded from below by where the page begins, and by nothing else; see
    `_distinct`.
    """
    number: Key = (service.c.id, int)
    is_current = service.c.ended_at.is_(None)
    if wanted.child is not None:
        is_here = [service.c.child == wanted.child]
        rest = [] if wanted.ever else [is_current]
        return [(service.c.slug, str), number], [*is_here, *rest], ""
    for column, beginning in (
        (service.c.commit_id, wanted.commit),
        (service.c.release, wanted.release),
    ):
        if beginning:
            return [(column, str), number], [column < beginning + terms.END], beginning
    if wanted.ever:
        raise UsageError(
            "services that have ended are listed by child, commit or release only",
            remedy="Say which child, commit or release.",
        )
    if wanted.below is not None:
        is_below = service.c.version < _version(wanted.below)
        return [(service.c.version, str), number], [is_current, is_below], ""
    if wanted.app is not None:
        is_app = service.c.app == wanted.app
        return [(service.c.environment, str), number], [is_current, is_app], ""
    if wanted.client is not None:
        return [number], [is_current, service.c.client == wanted.client], ""
    if wanted.kind is not None:
        return [number], [is_current, service.c.kind == wanted.kind], ""
    return [(service.c.app, str), (service.c.environment, str), number], [is_current], ""


def _begins(column: sa.Column[Any], beginning: str) -> sa.ColumnElement[bool]:
    return sa.and_(column >= beginning, column < beginning + terms.END)


def _version(text: str) -> str:
    key = version_key(text)
    if key is None:
        raise UsageError(f"{text!r} is no version", remedy="Write it as 1.4.2.")
    return key


def _service_page(
    connection: sa.Connection,
    keys: list[Key],
    here: list[sa.ColumnElement[bool]],
    rest: list[sa.ColumnElement[bool]],
    first: str,
    after: str | None,
    limit: int,
) -> Page[Service]:
    size = _size(limit)
    columns = [column for column, _ in keys]
    kinds = tuple(kind for _, kind in keys)
    start = tuple("" if kind is str else -1 for kind in kinds)
    if first:
        start = (first, *start[1:])
    if after:
        start = max(start, _cursor(after, kinds))
    looked = (
        sa.select(*dict.fromkeys((service.c.id, *columns)))
        .where(*here, _is_after(columns, start))
        .order_by(*columns)
        .limit(MAX_LOOKED)
    )
    one = looked.subquery("looked")
    ids = connection.scalars(
        sa.select(one.c.id).join_from(one, service, service.c.id == one.c.id)
        .where(*rest).order_by(*(one.c[column.name] for column in columns)).limit(size + 1)
    ).all()  # fmt: skip
    rows = {row.id: row for row in connection.execute(_SERVICES.where(service.c.id.in_(ids)))}
    found = tuple(_service(rows[each]) for each in ids[:size])
    if len(ids) > size:
        last = rows[ids[size - 1]]
        return Page(found, _cursor_text(tuple(getattr(last, each.name) for each in columns)))
    end = connection.execute(
        sa.select(*columns).where(*here, _is_after(columns, start))
        .order_by(*columns).limit(1).offset(MAX_LOOKED - 1)
    ).one_or_none()  # fmt: skip
    return Page(found, _cursor_text(tuple(end)) if end else None)


def _is_after(columns: Sequence[sa.Column[Any]], start: Sequence[Any]) -> sa.ColumnElement[bool]:
    return sa.tuple_(*columns) > sa.tuple_(*map(sa.literal, start))


def _service(row: Any) -> Service:
    return Service(
        row.id, row.child, row.child_name, row.slug, row.app, row.environment, row.client, row.kind,
        row.release, row.commit_id, row.manifest, row.sbom, row.lite, row.address, row.status,
        row.since, row.seen_at, row.ended_at,
    )  # fmt: skip


# --- events and activities ---


def events(
    connection: sa.Connection,
    *,
    child_id: str | None = None,
    types: Sequence[str] = (),
    since: float | None = None,
    until: float | None = None,
    after: str | None = None,
    limit: int = LIMIT,
) -> Page[Event]:
    """Return a page of events, the latest first.

    Args:
        connection: To read on.
        child_id: Whose; None for all.
        types: Of which types; () for all.
        since: Not before this, in seconds since the epoch.
        until: Before this.
        after: Where the page begins.
        limit: Of rows.

    Raises:
        UsageError: *after* is no cursor of such a list.
    """
    size = _size(limit)
    start: tuple[float, int] = (float(LAST) if until is None else until, 0)
    if after:
        at, number = _cursor(after, (float, int))
        start = min(start, (at, number))
    here = [event.c.child == child_id] if child_id is not None else []
    first = float(-LAST) if since is None else since
    lists = [
        _events_of([*here, *kind], start, first, size + 1)
        for kind in ([[event.c.type == each] for each in types[:MAX_TYPES]] or [[]])
    ]
    rows = heapq.merge(
        *(connection.execute(each).all() for each in lists), key=lambda row: (-row.at, -row.id)
    )
    taken = [row for row, _ in zip(rows, range(size + 1), strict=False)]
    found = tuple(map(_event, taken[:size]))
    last = found[-1] if len(taken) > size else None
    return Page(found, _cursor_text((last.at, last.id)) if last else None)


def activities(
    connection: sa.Connection,
    *,
    object: str | None = None,
    actor: str | None = None,
    after: str | None = None,
    limit: int = LIMIT,
) -> Page[Activity]:
    """Return a page of activities, the latest first.

    Raises:
        UsageError: *after* is no cursor of such a list.
    """
    size = _size(limit)
    (last,) = _cursor(after, (int,)) if after else (LAST,)
    here = [activity.c.id < last]
    if object is not None:
        here.append(activity.c.object == object)
    elif actor is not None:
        here.append(activity.c.actor == actor)
    rows = connection.execute(
        sa.select(activity).where(*here).order_by(activity.c.id.desc()).limit(MAX_LOOKED)
        if object is not None and actor is not None
        else sa.select(activity).where(*here).order_by(activity.c.id.desc()).limit(size + 1)
    ).all()  # fmt: skip
    fits = [row for row in rows if actor is None or row.actor == actor]
    found = tuple(map(_activity, fits[:size]))
    if len(fits) > size:
        return Page(found, _cursor_text((found[-1].id,)))
    return Page(found, _cursor_text((rows[-1].id,)) if len(rows) == MAX_LOOKED else None)


def _events_of(
    here: list[sa.ColumnElement[bool]], start: tuple[float, int], since: float, size: int
) -> sa.Select[Any]:
    return (
        sa.select(event, child.c.name.label("child_name"))
        .select_from(event.join(child, child.c.id == event.c.child))
        .where(
            *here,
            event.c.at >= since,
            sa.tuple_(event.c.at, event.c.id) < sa.tuple_(*map(sa.literal, start)),
        )
        .order_by(event.c.at.desc(), event.c.id.desc())
        .limit(size)
    )


def _event(row: Any) -> Event:
    return Event(
        row.id, row.child, row.child_name, row.kind, row.type, row.service, row.at,
        row.received_at, _json(row.body),
    )  # fmt: skip


def _activity(row: Any) -> Activity:
    return Activity(
        row.id, row.at, row.actor, row.action, row.object, row.outcome, row.address,
        _json(row.detail),
    )  # fmt: skip


# --- saved filters ---


def saved_filters(connection: sa.Connection, operator: str) -> tuple[SavedFilter, ...]:
    """Return the filters of an operator, then those that others share, by name."""
    own = saved_filter.c.operator == operator
    shared = saved_filter.c.is_shared == sa.literal(True)
    rows = [
        row
        for here in (own, sa.and_(shared, sa.not_(own)))
        for row in connection.execute(
            sa.select(saved_filter).where(here).order_by(saved_filter.c.name).limit(MAX_FILTERS)
        )
    ]
    return tuple(
        SavedFilter(row.id, row.operator, row.name, row.query, row.is_shared) for row in rows
    )


def save_filter(
    connection: sa.Connection, operator: str, name: str, query: str, *, is_shared: bool = False
) -> str:
    """Keep a search under a name, in place of one that had it; return its id.

    Raises:
        UsageError: It has no name, or name or query are too long.
    """
    if not name.strip() or len(name) > 200 or len(query) > 2000 or "\x00" in name + query:
        raise UsageError(
            "a filter needs a name of at most 200 characters, and a query of at most 2,000",
            remedy="Shorten it.",
        )
    here = (saved_filter.c.operator == operator, saved_filter.c.name == name.strip())
    known = connection.scalar(sa.select(saved_filter.c.id).where(*here))
    values = {"query": query, "is_shared": is_shared}
    if known is not None:
        connection.execute(saved_filter.update().where(*here).values(values))
        return str(known)
    number = secrets.token_hex(16)
    connection.execute(
        saved_filter.insert().values(id=number, operator=operator, name=name.strip(), **values)
    )
    return number


def delete_filter(connection: sa.Connection, operator: str, filter_id: str) -> None:
    """Delete a filter of an operator.

    Raises:
        NotFoundError: The operator has no such filter.
    """
    gone = connection.execute(
        saved_filter.delete().where(
            saved_filter.c.id == filter_id, saved_filter.c.operator == operator
        )
    )
    if not gone.rowcount:
        raise NotFoundError("no such filter of yours", remedy="Look at the list of filters.")


# --- pages ---


def _size(limit: int) -> int:
    return max(1, min(limit, MAX_LIMIT))


def _cursor_text(values: Sequence[object]) -> str:
    text = json.dumps(list(values), ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _cursor(text: str, kinds: Sequence[type]) -> tuple[Any, ...]:
    """Return what a cursor says, if it is one of *kinds*.

    Raises:
        UsageError: It is not.
    """
    try:
        if len(text) > 2000:
            raise ValueError("too long")
        values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        if not isinstance(values, list) or [type(each) for each in values] != list(kinds):
            raise ValueError("other values")
        for each in values:
            if isinstance(each, str):
                each.encode()  # Half a surrogate pair is no text.
            if "\x00" in each if isinstance(each, str) else not abs(each) <= LAST:
                raise ValueError("a value out of bounds")
    except (ValueError, RecursionError, binascii.Error) as error:
        raise UsageError(
            "this is no place in the list", remedy="Begin with its first page."
        ) from error
    return tuple(values)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _mapping(text: str) -> Mapping[str, Any]:
    value = _json(text)
    return value if isinstance(value, dict) else {}


def _sequence(text: str) -> Sequence[Any]:
    value = _json(text)
    return value if isinstance(value, list) else []
