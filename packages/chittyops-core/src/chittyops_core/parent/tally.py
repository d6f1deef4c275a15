"""Where every child stands, and how many stand there: counted when it changes, never by a scan.

`child_place` has one row a child, by which lists are sorted and filtered; `tally` counts its rows.
Whoever changes a child's name, state, kind, status or overdue calls `settle` in the same
transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import sqlalchemy as sa
from attrs import frozen

from chittyops_core.parent.schema import child, child_place, child_state, tally

__all__ = ["Place", "move", "move_all", "places", "recount", "settle", "sort_key"]

MAX_IDS = 500
"""Ids in one statement."""


@frozen
class Place:
    """Where a child stands.

    Attributes:
        state: A `ChildState`.
        kind: The kind of its services.
        status: A `Status`.
        is_overdue: Whether it is silent beyond its deadline.
    """

    state: str
    kind: str
    status: str
    is_overdue: bool


Move = tuple[Place | None, Place | None]
"""From where to where; None where a child comes or goes."""


def settle(connection: sa.Connection, children: Iterable[str]) -> None:
    """Bring the places and the tally of *children* up to date with what is stored of them.

    It may be called too often. Call it after the change, in the change's transaction.
    """
    ids = iter(sorted(set(children)))
    moves: list[Move] = []
    while piece := list(islice(ids, MAX_IDS)):
        moves += _settle(connection, piece)
    move_all(connection, moves)


def move(connection: sa.Connection, before: Place | None, after: Place | None) -> None:
    """Count one child away from *before* and to *after*. `settle` does it by itself."""
    move_all(connection, [(before, after)])


def move_all(connection: sa.Connection, moves: Iterable[Move]) -> None:
    """Count many moves; each place is written once, and none falls below 0."""
    changes: Counter[Place] = Counter()
    for before, after in moves:
        if before is not None:
            changes[before] -= 1
        if after is not None:
            changes[after] += 1
    for place, change in changes.items():
        if change:
            _count(connection, place, change)


def places(connection: sa.Connection) -> dict[Place, int]:
    """Return how many children stand where; places without one are left out."""
    rows = connection.execute(sa.select(*_PLACE, tally.c.count).where(tally.c.count > 0))
    return {Place(*row[:4]): row[4] for row in rows}


def recount(connection: sa.Connection) -> bool:
    """Make places and tally anew from what is stored; return whether anything was wrong.

    This reads every child: for a repair, not for a page.
    """
    before = places(connection)
    after = ""
    moved = False
    while piece := _ids_after(connection, after):
        moved = bool(_settle(connection, piece)) or moved
        after = piece[-1]
    counted = connection.execute(sa.select(*_STANDS, sa.func.count()).group_by(*_STANDS)).all()
    connection.execute(tally.delete())
    if counted:
        connection.execute(
            tally.insert(),
            [dict(zip((*_NAMES, "count"), row, strict=True)) for row in counted],
        )
    return moved or before != places(connection)


def sort_key(name: str) -> str:
    """Return by what a child of that *name* is sorted."""
    return name.casefold()[:200]


_NAMES = ("state", "kind", "status", "is_overdue")
_PLACE = [tally.c[name] for name in _NAMES]
_STANDS = [child_place.c[name] for name in _NAMES]


def _settle(connection: sa.Connection, ids: Sequence[str]) -> list[Move]:
    listed = {
        row.child: row
        for row in connection.execute(sa.select(child_place).where(child_place.c.child.in_(ids)))
    }
    moves: list[Move] = []
    new, changed = [], []
    for row in connection.execute(_STORED.where(child.c.id.in_(ids))):
        status = "unknown" if row.status is None else row.status
        after = Place(row.state, row.kind, status, bool(row.is_overdue))
        values = {
            "key": row.id, "state": after.state, "kind": after.kind, "status": after.status,
            "is_overdue": after.is_overdue, "sort": sort_key(row.name),
        }  # fmt: skip
        old = listed.get(row.id)
        before = Place(old.state, old.kind, old.status, old.is_overdue) if old else None
        if old is None:
            new.append(values)
        elif before != after or old.sort != values["sort"]:
            changed.append(values)
        if before != after:
            moves.append((before, after))
    if new:
        connection.execute(_LIST, new)
    if changed:
        connection.execute(_RELIST, changed)
    return moves


_STORED = sa.select(
    child.c.id, child.c.name, child.c.state, child.c.kind,
    child_state.c.status, child_state.c.is_overdue,
).select_from(child.outerjoin(child_state, child_state.c.child == child.c.id))  # fmt: skip
_COLUMNS = (*_NAMES, "sort")
_LIST = child_place.insert().values(
    {"child": sa.bindparam("key"), **{column: sa.bindparam(column) for column in _COLUMNS}}
)
_RELIST = (
    child_place.update().where(child_place.c.child == sa.bindparam("key")).values(
        {column: sa.bindparam(column) for column in _COLUMNS}
    )
)  # fmt: skip


def _count(connection: sa.Connection, place: Place, change: int) -> None:
    here = sa.and_(
        *(column == getattr(place, name) for column, name in zip(_PLACE, _NAMES, strict=True))
    )
    changed = connection.execute(
        tally.update().where(here).values(
            count=sa.case(
                (tally.c.count + change < 0, 0), else_=tally.c.count + change
            )
        )
    )  # fmt: skip
    if not changed.rowcount and change > 0:
        connection.execute(
            tally.insert().values(
                state=place.state, kind=place.kind, status=place.status,
                is_overdue=place.is_overdue, count=change,
            )
        )  # fmt: skip


def _ids_after(connection: sa.Connection, after: str) -> list[str]:
    found = sa.select(child.c.id).where(child.c.id > after).order_by(child.c.id).limit(MAX_IDS)
    return list(connection.scalars(found))
