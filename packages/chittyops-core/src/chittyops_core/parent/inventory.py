"""What runs where: the section `inventory` of a child, kept as rows that begin and end.

A service's row begins when it is first reported so, and ends when something else runs in its place
or it is reported no more. Everything comes from a child and may be anything: what fits is kept,
what does not is left out, and nothing of it stops a sync.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from chittyops_core.bridge.protocol import MAX_TEXT, Status
from chittyops_core.parent import tally, terms
from chittyops_core.parent.schema import child, service
from chittyops_core.parent.schema import tally as tally_table

__all__ = ["MAX_SERVICES", "MIXED", "OTHER", "keep", "keep_health", "version_key"]

MAX_SERVICES = 200
"""Of one child; the first by slug are kept."""

MAX_ENDED = 1000
"""Rows of a child that ended and are kept, the latest."""

MAX_KINDS = 32
"""Kinds that are counted apart; what else a child invents is `other`."""

MAX_ADDRESS = 500
"""Characters of a service's address."""

MAX_AT = 1e11
"""Seconds since the epoch, the year 5138."""

MIXED = "mixed"
"""The kind of a child whose services are of several."""

OTHER = "other"
"""The kind of a service whose kind is none, or one too many."""

_KIND = re.compile(r"[a-z][a-z0-9-]{0,63}", re.ASCII)
_UNSTORABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_VERSION = re.compile(r"(\d{1,9}(?:\.\d{1,9}){0,3})(.*)", re.ASCII | re.DOTALL)
_IS_BEFORE = re.compile(r"[.\-_]?(a|b|c|rc|alpha|beta|dev|pre)", re.ASCII)

# What makes another row when it changes; the rest is brought up to date in place.
_IDENTITY = (
    "app", "environment", "client", "kind", "release", "commit_id", "manifest", "sbom", "lite",
)  # fmt: skip
_IN_PLACE = ("address", "status", "since")


def keep(connection: sa.Connection, child_id: str, inventory: object, now: float) -> None:
    """Bring the services of a child, its kind and its words in line with *inventory*.

    What did not change is not written.

    Args:
        connection: In the transaction of the sync.
        child_id: Whose.
        inventory: The section's value as it came.
        now: Seconds since the epoch.
    """
    wanted = _services(connection, inventory)
    rows = connection.execute(_CURRENT.where(service.c.child == child_id)).mappings()
    present = {row["slug"]: row for row in rows}
    ended = [
        row["id"] for slug, row in present.items()
        if slug not in wanted or not _is_same(row, wanted[slug], _IDENTITY)
    ]  # fmt: skip
    begun = [
        {"child": child_id, "slug": slug, "seen_at": now, **values}
        for slug, values in wanted.items()
        if slug not in present or present[slug]["id"] in ended
    ]
    changed = [
        {"key": present[slug]["id"], **{f"new_{name}": values[name] for name in _IN_PLACE}}
        for slug, values in wanted.items()
        if slug in present and present[slug]["id"] not in ended
        and not _is_same(present[slug], values, _IN_PLACE)
    ]  # fmt: skip
    if ended:
        connection.execute(_END, [{"key": number, "now": now} for number in ended])
        _forget_oldest(connection, child_id)
    if begun:
        connection.execute(service.insert(), begun)
    if changed:
        connection.execute(_CHANGE, changed)
    if ended or begun:
        _keep_kind(connection, child_id, {str(each["kind"]) for each in wanted.values()})
        terms.refresh(connection, child_id)


def keep_health(connection: sa.Connection, child_id: str, health: object) -> None:
    """Bring the status of a child's services in line with its section `health`."""
    reported = health.get("services") if isinstance(health, Mapping) else None
    if not isinstance(reported, Mapping):
        return
    rows = connection.execute(
        sa.select(service.c.id, service.c.slug, service.c.status).where(
            service.c.child == child_id, service.c.ended_at.is_(None)
        )
    )
    changed = []
    for row in rows:
        said = reported.get(row.slug)
        if not isinstance(said, Mapping):
            continue
        status = _status(said.get("status"))
        if status != row.status:
            changed.append({"key": row.id, "new_status": status})
    if changed:
        connection.execute(_RESTATE, changed)


def version_key(version: object) -> str | None:
    """Return a version as text that sorts as versions do, or None for what is none.

    Up to four numbers count, and whether it is one before a release (`1.0rc1`).
    """
    found = _VERSION.match(version) if isinstance(version, str) else None
    if found is None:
        return None
    numbers = [int(each) for each in found[1].split(".")]
    numbers += [0] * (4 - len(numbers))
    rank = "0" if _IS_BEFORE.match(found[2]) else "1"
    return ".".join(f"{number:09d}" for number in numbers) + rank + _clean(found[2], 20)


_CURRENT = sa.select(
    service.c.id, service.c.slug, *(service.c[name] for name in (*_IDENTITY, *_IN_PLACE))
).where(service.c.ended_at.is_(None))
_KEY = service.c.id == sa.bindparam("key")
_END = service.update().where(_KEY).values(ended_at=sa.bindparam("now"))
_CHANGE = service.update().where(_KEY).values(
    {name: sa.bindparam(f"new_{name}") for name in _IN_PLACE}
)  # fmt: skip
_RESTATE = service.update().where(_KEY).values(status=sa.bindparam("new_status"))


def _services(connection: sa.Connection, inventory: object) -> dict[str, dict[str, Any]]:
    """Return what of *inventory* can be kept, by slug."""
    reported = inventory.get("services") if isinstance(inventory, Mapping) else None
    if not isinstance(reported, Mapping):
        return {}
    known = _known_kinds(connection)
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(each for each in reported if isinstance(each, str)):
        slug, said = _clean(name), reported[name]
        if slug and isinstance(said, Mapping) and slug not in found:
            found[slug] = _values(said, known)
        if len(found) == MAX_SERVICES:
            break
    return found


def _values(said: Mapping[object, object], known: set[str]) -> dict[str, Any]:
    lite = _text(said, "lite")
    return {
        "app": _text(said, "app") or "", "environment": _text(said, "environment") or "",
        "client": _text(said, "client"), "kind": _kind(said.get("kind"), known),
        "release": _text(said, "release", 64) or "", "commit_id": _text(said, "commit", 64),
        "manifest": _text(said, "manifest", 64), "sbom": _text(said, "sbom", 64),
        "lite": lite, "version": version_key(lite),
        "address": _text(said, "address", MAX_ADDRESS), "status": _status(said.get("health")),
        "since": _time(said.get("since")),
    }  # fmt: skip


def _text(said: Mapping[object, object], name: str, length: int = MAX_TEXT) -> str | None:
    value = said.get(name)
    return _clean(value, length) or None if isinstance(value, str) else None


def _clean(text: str, length: int = MAX_TEXT) -> str:
    return _UNSTORABLE.sub("", text[: 4 * length])[:length].strip()


def _status(value: object) -> str:
    return value if isinstance(value, str) and value in set(Status) else Status.UNKNOWN.value


def _time(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= MAX_AT else None  # type: ignore[operator,arg-type]  # mypy does not see through is_number


def _kind(value: object, known: set[str]) -> str:
    if not isinstance(value, str) or not _KIND.fullmatch(value):
        return OTHER
    if value not in known and len(known) >= MAX_KINDS:
        return OTHER
    known.add(value)
    return value


def _known_kinds(connection: sa.Connection) -> set[str]:
    return set(connection.scalars(sa.select(tally_table.c.kind).distinct()))


def _is_same(row: Mapping[Any, Any], values: Mapping[str, Any], names: Iterable[str]) -> bool:
    return all(row[name] == values[name] for name in names)


def _keep_kind(connection: sa.Connection, child_id: str, kinds: set[str]) -> None:
    kind = "" if not kinds else MIXED if len(kinds) > 1 else kinds.pop()
    changed = connection.execute(
        child.update().where(child.c.id == child_id, child.c.kind != kind).values(kind=kind)
    )
    if changed.rowcount:
        tally.settle(connection, [child_id])


def _forget_oldest(connection: sa.Connection, child_id: str) -> None:
    """Delete what of a child ended long ago, so that one that changes always fills no disk."""
    ended = connection.execute(
        sa.select(service.c.id)
        .where(service.c.child == child_id, service.c.ended_at.is_not(None))
        .limit(2 * MAX_ENDED)
    ).scalars()
    old = sorted(ended, reverse=True)[MAX_ENDED:]
    if old:
        connection.execute(service.delete().where(_KEY), [{"key": number} for number in old])
