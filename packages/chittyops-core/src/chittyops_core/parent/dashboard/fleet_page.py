"""The fleet: counts by which it is filtered, who asks to join, and a table of children."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from litestar import Response, get
from markupsafe import Markup

from chittyops_core.bridge.protocol import ChildState
from chittyops_core.parent import fleet
from chittyops_core.parent.access import Operator, Role
from chittyops_core.parent.dashboard.engine import Web, page
from chittyops_core.parent.dashboard.queries import ANY, filter_of, href, query_of
from chittyops_core.parent.dashboard.requests import address_of_parent, notice_of
from chittyops_core.parent.dashboard.rows import ChildRow
from chittyops_core.parent.dashboard.words import (
    ORDER,
    OVERDUE,
    Look,
    kind_words,
    state_look,
    status_look,
)
from chittyops_core.parent.fleet import Counts
from chittyops_core.parent.operators import may
from chittyops_core.parent.operators.guards import SignedIn
from chittyops_core.parent.operators.requests import read

__all__ = ["Asks", "asks", "counted", "show_fleet"]

MAX_ASKS = 3
"""Children that ask to join and are shown above the list."""

ALL = Look("All accepted", "info", "fleet")


@frozen
class Chip:
    """A count that filters when it is pressed.

    Attributes:
        key: By which a live page finds it.
        look: What is counted.
        count: How many.
        href: Where it leads.
        is_current: Whether the page is filtered by it.
    """

    key: str
    look: Look
    count: int
    href: str
    is_current: bool


@frozen
class Asks:
    """Who asks to join: some, and how many in all."""

    children: tuple[ChildRow, ...]
    total: int


@frozen
class Saved:
    """A saved filter on the page."""

    id: str
    name: str
    query: str
    is_own: bool
    is_current: bool


@frozen
class FleetView:
    """All that the page shows."""

    total: int
    overdue: int
    is_empty: bool
    address: str
    mix: Markup
    board: tuple[Chip, ...]
    pills: tuple[tuple[str, tuple[Chip, ...]], ...]
    text: str
    kind: str
    kept: tuple[tuple[str, str], ...]
    query: str
    is_filtered: bool
    is_saved: bool
    saved: tuple[Saved, ...]
    heading: str
    cloned: int
    rows: tuple[ChildRow, ...]
    first: str | None
    next: str | None


@get("/", guards=[may(Role.VIEWER)], include_in_schema=False)
async def show_fleet(request: Web, operator: SignedIn) -> Response[bytes]:
    """Show the fleet, or how to begin one."""
    query = query_of(request.query_params)
    after = request.query_params.get("after") or None

    def look(reader: sa.Connection) -> tuple[Any, ...]:
        found = fleet.children(reader, filter_of(query), after, order=fleet.Order.WORST)
        counts = fleet.counts(reader)
        return counts, asks(reader, counts), found, fleet.saved_filters(reader, operator.id)

    counts, asking, found, saved = await read(request, look)
    view = _view(request, query, after, counts, found, _saved(saved, operator, query))
    return page(request, "fleet.html", view=view, asks=asking, notice=notice_of(request))


def asks(reader: sa.Connection, counts: Counts) -> Asks:
    """Return who asks to join."""
    total = counts.states.get(ChildState.PENDING, 0)
    if not total:
        return Asks((), 0)
    pending = fleet.Filter(state=ChildState.PENDING.value)
    found = fleet.children(reader, pending, limit=MAX_ASKS)
    return Asks(tuple(map(ChildRow.of, found.rows)), total)


def counted(counts: Counts, kind: str = "") -> dict[str, int]:
    """Return all counts of the page by their keys; those of statuses for one *kind*, or all."""
    here: Counter[str] = Counter({"all": 0, "overdue": 0})
    here.update({f"status-{status}": 0 for status in ORDER})
    for place, number in counts.places.items():
        here[f"state-{place.state}"] += number
        here["state-any"] += number
        if place.state != ChildState.ACCEPTED:
            continue
        here[f"kind-{place.kind}"] += number
        here["kind-any"] += number
        if kind and place.kind != kind:
            continue
        here["all"] += number
        here[f"status-{place.status}"] += number
        here["overdue"] += number if place.is_overdue else 0
    return dict(here)


def _view(
    request: Web, query: Mapping[str, str], after: str | None, counts: Counts,
    found: fleet.Page[fleet.Child], saved: tuple[Saved, ...],
) -> FleetView:  # fmt: skip
    numbers = counted(counts, query.get("kind", ""))
    rows = tuple(map(ChildRow.of, found.rows))
    return FleetView(
        total=counts.total, overdue=counts.overdue, is_empty=not counts.total,
        address=address_of_parent(request), mix=_mix(counts, query.get("kind", "")),
        board=_board(query, numbers), pills=_pills(query, numbers), text=query.get("q", ""),
        kind=query.get("kind", ""),
        kept=tuple((name, value) for name, value in query.items() if name != "q"),
        query=href(query), is_filtered=bool(query),
        is_saved=any(each.is_current and each.is_own for each in saved), saved=saved,
        heading="Children that match" if query else "Children", rows=rows,
        cloned=counts.states.get(ChildState.CLONED, 0),
        first=href(query) if after else None,
        next=href(query, after=found.next) if found.next else None,
    )  # fmt: skip


def _saved(
    saved: tuple[fleet.SavedFilter, ...], who: Operator, query: Mapping[str, str]
) -> tuple[Saved, ...]:
    here = href(query).removeprefix("/")
    return tuple(
        Saved(each.id, each.name, each.query, each.operator == who.id, each.query == here)
        for each in saved
    )


def _board(query: Mapping[str, str], numbers: Mapping[str, int]) -> tuple[Chip, ...]:
    state = query.get("state")
    is_here = state in (None, ChildState.ACCEPTED)
    status, is_overdue = query.get("status"), query.get("overdue") == "yes"

    def to(**changes: str | None) -> str:
        return href({**query, "state": ""}, **{"status": None, "overdue": None, **changes})

    chips = [
        Chip("all", ALL, numbers["all"], to(), is_here and not status and not is_overdue),
        Chip("overdue", OVERDUE, numbers["overdue"], to(overdue="yes"), is_overdue),
    ]
    chips += [
        Chip(
            f"status-{each}", status_look(each), numbers.get(f"status-{each}", 0), to(status=each),
            status == each and is_here,
        )
        for each in ORDER
    ]  # fmt: skip
    return tuple(chips)


def _pills(
    query: Mapping[str, str], numbers: Mapping[str, int]
) -> tuple[tuple[str, tuple[Chip, ...]], ...]:
    kinds = sorted(name.removeprefix("kind-") for name in numbers if name.startswith("kind-"))
    kinds = [each for each in kinds if each not in (ANY, "")]
    chosen = query.get("kind")
    of_kind = [
        Chip("kind-any", Look("Any", "none", ""), numbers.get("kind-any", 0),
             href(query, kind=None), not chosen),
        *(
            Chip(f"kind-{each}", Look(kind_words(each), "none", ""), numbers[f"kind-{each}"],
                 href(query, kind=each), chosen == each)
            for each in kinds
        ),
    ]  # fmt: skip
    is_search = "q" in query or "label" in query
    state = query.get("state", ANY if is_search else ChildState.ACCEPTED.value)
    of_state = [
        Chip(f"state-{each}", state_look(each), numbers[f"state-{each}"],
             href(query, state=each, status=None, overdue=None), state == each)
        for each in ChildState if numbers.get(f"state-{each}")
    ]  # fmt: skip
    of_state.append(
        Chip("state-any", Look("Any", "none", ""), numbers.get("state-any", 0),
             href(query, state=ANY), state == ANY)
    )  # fmt: skip
    return (("Kind", tuple(of_kind) if len(of_kind) > 2 else ()), ("State", tuple(of_state)))


def _mix(counts: Counts, kind: str) -> Markup:
    """Return how the statuses of accepted children mix, as a bar; the numbers stand below it."""
    here: Counter[Look] = Counter()
    for place, number in counts.places.items():
        if place.state == ChildState.ACCEPTED and kind in ("", place.kind):
            here[OVERDUE if place.is_overdue else status_look(place.status)] += number
    total = sum(here.values())
    if not total:
        return Markup("")
    order = [OVERDUE, *(status_look(each) for each in ORDER)]
    parts = [(look, here[look]) for look in order if here[look]]
    shares = [(look, max(number / total * 1000, 4.0)) for look, number in parts]
    scale = 1000 / sum(share for _, share in shares)
    x, drawn = 0.0, []
    for look, share in shares:
        width = share * scale
        drawn.append(
            f'<rect class="s-{look.tone}" x="{x:.1f}" width="{max(width - 2, 1):.1f}" height="8"/>'
        )
        x += width
    return Markup(  # noqa: S704 - numbers and tones of ours
        '<svg class="mix" viewBox="0 0 1000 8" preserveAspectRatio="none" aria-hidden="true">'
        + "".join(drawn)
        + "</svg>"
    )
