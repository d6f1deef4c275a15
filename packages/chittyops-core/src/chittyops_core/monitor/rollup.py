"""From single looks to minutes and hours, and when each of them is forgotten.

Events are counted and ratios never averaged. A roll-up is a sum, so that a look that comes late,
or after a jump of the clock, is added to its minute whenever it comes. `fact.rolled` is the last
raw row that was added; it moves in the transaction that adds, so each look counts exactly once
whenever the process is killed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from attrs import define, field

from chittyops_core.errors import StoreError
from chittyops_core.monitor.schema import PAGE_BYTES, transaction
from chittyops_core.monitor.sketch import Sketch

__all__ = ["MINUTE_MS", "Rollup", "forget", "last_rolled", "roll_up", "tail"]

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

RAW_MS = 2 * DAY_MS
MINUTES_MS = 35 * DAY_MS
HOURS_MS = 396 * DAY_MS
"""13 months."""

FORWARD_MS = HOUR_MS
"""The most by which retention moves at once: a clock that is a year ahead for a moment must not
delete a year. After a month off, it catches up in 720 calls."""

VACUUM_PAGES = 256
"""Given back to the disk at once: 1 MB, a few milliseconds."""

ROWS_AT_ONCE = 50_000
"""Of raw rows in one transaction, so that memory stays bounded after a long pause."""


@define
class Rollup:
    """What was seen of one monitor in some span of time.

    Attributes:
        good: Good looks.
        total: All looks.
        low: The quickest good one, in microseconds; None when none was good.
        high: The slowest good one, in microseconds.
        sum_us: Of all good ones, in microseconds.
        sketch: Of the good ones' durations, in seconds.
    """

    good: int = 0
    total: int = 0
    low: int | None = None
    high: int | None = None
    sum_us: int = 0
    sketch: Sketch = field(factory=Sketch)

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Rollup:
        """Read columns good, total, low, high, sum, sketch. Raises StoreError when damaged."""
        good, total, low, high, sum_us, data = row
        try:
            sketch = Sketch.from_bytes(data)
        except ValueError as error:
            raise StoreError(
                f"the monitor store is damaged: {error}",
                remedy="Restore it from a backup, or move it away: a new history begins then.",
                cause="damaged",
            ) from error
        return cls(good, total, low, high, sum_us, sketch)

    def add_look(self, good: int, us: int) -> None:
        self.total += 1
        if good:
            self.good += 1
            self._bound(us, us)
            self.sum_us += us
            self.sketch.add(us / 1e6)

    def add(self, other: Rollup) -> None:
        self.good += other.good
        self.total += other.total
        self._bound(other.low, other.high)
        self.sum_us += other.sum_us
        self.sketch.merge(other.sketch)

    def _bound(self, low: int | None, high: int | None) -> None:
        if low is not None and high is not None:
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)


Key = tuple[int, int]
"""Minute (or hour), monitor."""


def last_rolled(db: sqlite3.Connection) -> int:
    """Return the number of the last raw row that is in the roll-ups."""
    row = db.execute("SELECT value FROM fact WHERE name = 'rolled'").fetchone()
    return int(row[0]) if row else 0


def tail(db: sqlite3.Connection, monitor: int | None = None) -> dict[Key, Rollup]:
    """Return what is not rolled up yet, of one monitor or all, by minute and monitor."""
    rows = db.execute(
        "SELECT at, monitor, good, us FROM raw WHERE id > ?1 "
        "AND (?2 IS NULL OR monitor = ?2) ORDER BY id",
        (last_rolled(db), monitor),
    )
    return _by_minute(rows)


def roll_up(db: sqlite3.Connection) -> int:
    """Add what is not rolled up yet to its minutes and hours; return how many looks that were."""
    done = 0
    while True:
        with transaction(db):
            since = last_rolled(db)
            rows = db.execute(
                "SELECT at, monitor, good, us, id FROM raw WHERE id > ? ORDER BY id LIMIT ?",
                (since, ROWS_AT_ONCE),
            ).fetchall()
            if not rows:
                return done
            minutes = _by_minute(row[:4] for row in rows)
            hours: dict[Key, Rollup] = {}
            for (minute, monitor), one in minutes.items():
                hours.setdefault((minute // 60, monitor), Rollup()).add(one)
            _merge(db, "minute", minutes)
            _merge(db, "hour", hours)
            db.execute("INSERT OR REPLACE INTO fact VALUES ('rolled', ?)", (rows[-1][4],))
        done += len(rows)


def _by_minute(rows: Iterable[tuple[int, int, int, int]]) -> dict[Key, Rollup]:
    minutes: dict[Key, Rollup] = {}
    for at, monitor, good, us in rows:
        minutes.setdefault((at // MINUTE_MS, monitor), Rollup()).add_look(good, us)
    return minutes


def _merge(db: sqlite3.Connection, table: str, new: dict[Key, Rollup]) -> None:
    # *table* is "minute" or "hour", never from outside.
    for (time, monitor), one in sorted(new.items()):
        row = db.execute(
            f"SELECT good, total, low, high, sum, sketch FROM {table} "  # noqa: S608
            f"WHERE {table} = ? AND monitor = ?",
            (time, monitor),
        ).fetchone()
        if row:
            known = Rollup.from_row(row)
            known.add(one)
            one = known
        db.execute(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (time, monitor, one.good, one.total, one.low, one.high, one.sum_us,
             one.sketch.to_bytes()),
        )  # fmt: skip


def forget(db: sqlite3.Connection, now_ms: int, budget: int) -> None:
    """Delete what is too old, and more when the file is over *budget* bytes.

    Only raw rows that are rolled up go. Over the budget go, in this order, the oldest tenth of
    the raw rows, of the minutes, of the hours: one of them a call.
    """
    row = db.execute("SELECT value FROM fact WHERE name = 'forgot'").fetchone()
    until = min(now_ms, row[0] + FORWARD_MS) if row else now_ms
    with transaction(db):
        db.execute("INSERT OR REPLACE INTO fact VALUES ('forgot', ?)", (until,))
        _forget_before(db, until)
        if used_bytes(db) > budget:
            _make_room(db)
    db.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()


def used_bytes(db: sqlite3.Connection) -> int:
    """Return the bytes of all pages that hold something."""
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    free = db.execute("PRAGMA freelist_count").fetchone()[0]
    return int((pages - free) * PAGE_BYTES)


def _forget_before(db: sqlite3.Connection, now_ms: int) -> None:
    # Ids grow with time but for jumps, so the first young row ends the search. One from the
    # future, which a wrong clock left, is not young.
    young = db.execute(
        "SELECT id FROM raw WHERE at BETWEEN ? AND ? ORDER BY id LIMIT 1",
        (now_ms - RAW_MS, now_ms + FORWARD_MS),
    ).fetchone()
    # The last one stays in any case: SQLite gives the numbers of deleted last rows again, and
    # a look with a number that is rolled up already would count nowhere.
    first_kept = min(last_rolled(db), young[0] if young else 1 << 62)
    db.execute("DELETE FROM raw WHERE id < ?", (first_kept,))
    minutes, hours = (now_ms - MINUTES_MS) // MINUTE_MS, (now_ms - HOURS_MS) // HOUR_MS
    for table in ("minute", "event_minute"):
        db.execute(f"DELETE FROM {table} WHERE minute < ?", (minutes,))  # noqa: S608
    for table in ("hour", "event_hour"):
        db.execute(f"DELETE FROM {table} WHERE hour < ?", (hours,))  # noqa: S608
    oldest = (now_ms - HOURS_MS) / 1000
    db.execute(
        "DELETE FROM incident_step WHERE incident IN (SELECT id FROM incident WHERE ended < ?)",
        (oldest,),
    )
    db.execute("DELETE FROM incident WHERE ended < ?", (oldest,))
    db.execute("DELETE FROM maintenance WHERE ends < ?", (oldest,))
    db.execute(
        "DELETE FROM delivery WHERE message IN "
        "(SELECT seq FROM message WHERE settled = 1 AND at < ?)",
        (oldest,),
    )
    db.execute("DELETE FROM message WHERE settled = 1 AND at < ?", (oldest,))


def _make_room(db: sqlite3.Connection) -> None:
    last = last_rolled(db)
    first = db.execute("SELECT min(id) FROM raw").fetchone()[0]
    if first is not None and first < last:
        db.execute("DELETE FROM raw WHERE id < ?", (first + max(1, (last - first) // 10),))
        return
    for table in ("minute", "hour"):
        low, high = db.execute(f"SELECT min({table}), max({table}) FROM {table}").fetchone()  # noqa: S608
        if low is not None and low < high:
            until = low + max(1, (high - low) // 10)
            db.execute(f"DELETE FROM {table} WHERE {table} < ?", (until,))  # noqa: S608
            db.execute(f"DELETE FROM event_{table} WHERE {table} < ?", (until,))  # noqa: S608
            return
