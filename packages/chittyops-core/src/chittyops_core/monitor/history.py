"""Questions about what was observed: over minutes, days, and quantiles. It changes nothing.

A span is rounded out to the whole minutes that it touches; where the minutes are forgotten
already (after 35 days), to whole hours. What is not rolled up yet counts as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo

from attrs import evolve, frozen

from chittyops_core.errors import UsageError
from chittyops_core.monitor.rollup import MINUTE_MS, Rollup, last_rolled, tail
from chittyops_core.monitor.sketch import Sketch

__all__ = ["Counts", "Span", "counted", "days", "over", "series", "spans"]

_COLUMNS = "good, total, low, high, sum, sketch"


@frozen
class Counts:
    """Looks that were good, and all of them. The ratio of sums is the only ratio that is right."""

    good: int = 0
    total: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.good + other.good, self.total + other.total)

    @property
    def ratio(self) -> float | None:
        """The good share; None when nobody looked."""
        return self.good / self.total if self.total else None


@frozen(eq=False)
class Span:
    """What was seen of one monitor in one minute, hour, or look.

    Attributes:
        monitor: Its name.
        at: When the span begins, in seconds since the epoch.
        good: Good looks.
        total: All looks.
        min_s: The quickest good look, in seconds; None when none was good.
        max_s: The slowest good look.
        sum_s: All good looks together.
        sketch: Their durations, for quantiles.
        why: What did not hold; single looks only.
    """

    monitor: str
    at: float
    good: int
    total: int
    min_s: float | None
    max_s: float | None
    sum_s: float
    sketch: Sketch
    why: str = ""


def over(db: sqlite3.Connection, monitor: int, since: float, until: float) -> Iterator[Rollup]:
    """Yield roll-ups that together cover the span: hours inside it, minutes at its ends."""
    first, end = _minutes_of(db, since, until)
    for table, start, stop in _parts(first, end):
        for row in db.execute(_one_by_one(table, _COLUMNS), (start, stop, monitor)):
            yield Rollup.from_row(row)
    for (minute, _), one in tail(db, monitor).items():
        if first <= minute < end:
            yield one


def counted(db: sqlite3.Connection, monitor: int, since: float, until: float) -> Counts:
    """Return the looks in the span; quicker than adding up `over`, for it reads no sketches."""
    first, end = _minutes_of(db, since, until)
    total = Counts()
    for table, start, stop in _parts(first, end):
        sums = _one_by_one(table, "coalesce(sum(good), 0), coalesce(sum(total), 0)")
        total += Counts(*db.execute(sums, (start, stop, monitor)).fetchone())
    fresh = db.execute(
        "SELECT coalesce(sum(good), 0), count(*) FROM raw "
        "WHERE id > ? AND monitor = ? AND at >= ? AND at < ?",
        (last_rolled(db), monitor, first * MINUTE_MS, end * MINUTE_MS),
    )
    return total + Counts(*fresh.fetchone())


def _parts(first: int, end: int) -> list[tuple[str, int, int]]:
    """Cut minutes *first* to before *end* into (table, first, end) that its rows cover."""
    first_hour, end_hour = -(-first // 60), end // 60
    if first_hour >= end_hour:
        return [("minute", first, end)]
    return [
        ("minute", first, first_hour * 60),
        ("hour", first_hour, end_hour),
        ("minute", end_hour * 60, end),
    ]


def _minutes_of(db: sqlite3.Connection, since: float, until: float) -> tuple[int, int]:
    first, end = _whole_minutes(since, until)
    (oldest,) = db.execute("SELECT min(minute) FROM minute").fetchone()
    # Only where minutes were forgotten: before the first look that there ever was, there is none.
    is_older = oldest is not None and db.execute(
        "SELECT EXISTS (SELECT 1 FROM hour WHERE hour < ?)", (oldest // 60,)
    ).fetchone() == (1,)
    if is_older:
        first = first if first >= oldest else first // 60 * 60
        end = end if end >= oldest else -(-end // 60) * 60
    return first, end


def _whole_minutes(since: float, until: float) -> tuple[int, int]:
    if not since < until:
        raise UsageError(f"the span ends ({until}) before it begins ({since})")
    return int(since // 60), int(-(-until // 60))


def _one_by_one(table: str, columns: str) -> str:
    # The key begins with the time: a look-up for each beats reading all monitors' rows.
    return (
        "WITH RECURSIVE t(x) AS (SELECT ?1 WHERE ?1 < ?2 "  # noqa: S608 (the names are ours)
        "UNION ALL SELECT x + 1 FROM t WHERE x + 1 < ?2) "
        f"SELECT {columns} FROM t CROSS JOIN {table} ON {table}.{table} = t.x "
        f"AND {table}.monitor = ?3"
    )


def spans(
    db: sqlite3.Connection, name: str, monitor: int, since: float, until: float
) -> list[Span]:
    """Return one monitor's minutes, oldest first; those in which nobody looked are left out."""
    first, end = _whole_minutes(since, until)
    found: dict[int, Rollup] = {}
    columns = f"minute, {_COLUMNS}"
    for minute, *row in db.execute(_one_by_one("minute", columns), (first, end, monitor)):
        found[minute] = Rollup.from_row(row)
    for (minute, _), one in tail(db, monitor).items():
        if first <= minute < end:
            found.setdefault(minute, Rollup()).add(one)
    return [_span(name, minute * 60, one) for minute, one in sorted(found.items())]


def _span(name: str, at: float, one: Rollup) -> Span:
    return Span(
        name, at, one.good, one.total,
        None if one.low is None else one.low / 1e6, None if one.high is None else one.high / 1e6,
        one.sum_us / 1e6, one.sketch,
    )  # fmt: skip


def days(db: sqlite3.Connection, since: float, zone: tzinfo) -> dict[str, dict[date, Counts]]:
    """Return every monitor's counts by local day, from the day of *since* on.

    An hour belongs to the day in which it begins. Days in which nobody looked are left out.
    """
    names = dict(db.execute("SELECT id, name FROM monitor ORDER BY name"))
    found: dict[str, dict[date, Counts]] = {name: {} for name in names.values()}
    day = datetime.fromtimestamp(since, zone).date()
    (last,) = db.execute("SELECT max(hour) FROM hour").fetchone()
    sql = (
        "SELECT monitor, sum(good), sum(total) FROM hour INDEXED BY hour_counts "
        "WHERE hour >= ? AND hour < ? GROUP BY monitor"
    )
    while last is not None and _first_hour(day, zone) <= last:
        following = day + timedelta(days=1)
        bounds = (_first_hour(day, zone), _first_hour(following, zone))
        for monitor, good, total in db.execute(sql, bounds):
            found[names[monitor]][day] = Counts(good, total)
        day = following
    for (minute, monitor), one in tail(db).items():
        day = datetime.fromtimestamp(minute // 60 * 3600, zone).date()
        if day >= datetime.fromtimestamp(since, zone).date():
            own = found[names[monitor]]
            own[day] = own.get(day, Counts()) + Counts(one.good, one.total)
    return found


def _first_hour(day: date, zone: tzinfo) -> int:
    begins = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
    return int(-(-begins // 3600))


def series(db: sqlite3.Connection, step: str, since: float, until: float) -> Iterator[Span]:
    """Yield what is kept of all monitors, oldest first.

    Args:
        db: Where.
        step: `raw`, `minute` or `hour`; what is not rolled up yet is in `raw` only.
        since: Seconds since the epoch.
        until: Seconds since the epoch, not included.
    """
    names = dict(db.execute("SELECT id, name FROM monitor"))
    if step == "raw":
        rows = db.execute(
            "SELECT monitor, at, good, us, why FROM raw WHERE at >= ? AND at < ? ORDER BY id",
            (int(since * 1000), int(until * 1000)),
        )
        for monitor, at, good, us, why in rows:
            one = Rollup()
            one.add_look(good, us)
            yield evolve(_span(names[monitor], at / 1000, one), why=why or "")
        return
    size = {"minute": 60, "hour": 3600}.get(step)
    if size is None:
        raise UsageError(f"there is no step {step!r}", remedy="Ask for raw, minute or hour.")
    rows = db.execute(
        f"SELECT {step}, monitor, {_COLUMNS} FROM {step} "  # noqa: S608
        f"WHERE {step} >= ? AND {step} < ? ORDER BY {step}, monitor",
        (int(since // size), int(-(-until // size))),
    )
    for time, monitor, *row in rows:
        yield _span(names[monitor], time * size, Rollup.from_row(row))
