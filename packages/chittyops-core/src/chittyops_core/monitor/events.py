"""What apps count themselves (requests, errors ...), kept by the minute and by the hour."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping

from chittyops_core.errors import UsageError
from chittyops_core.monitor.rollup import HOUR_MS, MINUTE_MS

__all__ = ["OVERFLOW", "add_event", "events", "require_countable"]

MAX_SERIES = 2000
"""Of one service, which is OpenTelemetry's default limit for one instrument."""

OVERFLOW = {"otel.metric.overflow": "true"}
"""The labels of everything over that limit (OpenTelemetry metrics SDK, "cardinality limits")."""

MAX_TEXT = 1024
"""Bytes of a name, and of all labels together."""


def add_event(
    db: sqlite3.Connection,
    service: str,
    name: str,
    labels: Mapping[str, str],
    value: float,
    at: float,
) -> None:
    """Add *value* to a counter, in a transaction of the caller.

    Raises:
        UsageError: The value is negative or no number, or name and labels are too long.
    """
    text = require_countable(service, name, labels, value)
    series = _series(db, service, name, text)
    for table, size in (("minute", MINUTE_MS), ("hour", HOUR_MS)):
        db.execute(
            f"INSERT INTO event_{table} VALUES (?, ?, ?) "  # noqa: S608
            f"ON CONFLICT ({table}, series) DO UPDATE SET value = value + excluded.value",
            (int(at * 1000) // size, series, value),
        )


def require_countable(service: str, name: str, labels: Mapping[str, str], value: float) -> str:
    """Return *labels* as one text. Raises UsageError as `add_event` does."""
    if not 0 <= value < math.inf:
        raise UsageError(f"the counter {name!r} of {service} can only grow, not by {value}")
    text = json.dumps(dict(labels), sort_keys=True, separators=(",", ":"))
    if not name or len(name) + len(text) > MAX_TEXT:
        raise UsageError(
            f"the counter {name[:40]!r} of {service} has a name and labels of "
            f"{len(name) + len(text)} characters; 1 to {MAX_TEXT} are kept"
        )
    return text


def _series(db: sqlite3.Connection, service: str, name: str, labels: str) -> int:
    known = "SELECT id FROM event_series WHERE service = ? AND name = ? AND labels = ?"
    if row := db.execute(known, (service, name, labels)).fetchone():
        return int(row[0])
    count = db.execute("SELECT count(*) FROM event_series WHERE service = ?", (service,))
    if count.fetchone()[0] >= MAX_SERIES:
        labels = json.dumps(OVERFLOW, separators=(",", ":"))
        # One name for all of them: names could be without end as well.
        name = name if _has_name(db, service, name) else "overflow"
        if row := db.execute(known, (service, name, labels)).fetchone():
            return int(row[0])
    cursor = db.execute(
        "INSERT INTO event_series (service, name, labels) VALUES (?, ?, ?)", (service, name, labels)
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _has_name(db: sqlite3.Connection, service: str, name: str) -> bool:
    sql = "SELECT 1 FROM event_series WHERE service = ? AND name = ? LIMIT 1"
    return db.execute(sql, (service, name)).fetchone() is not None


def events(
    db: sqlite3.Connection, service: str, name: str, first: int, end: int
) -> list[tuple[dict[str, str], float]]:
    """Return (labels, sum) of each series of *name*, from minute *first* to before *end*.

    Whole hours come from the hours, what is left at both ends from the minutes.
    """
    first_hour, end_hour = -(-first // 60), end // 60
    if first_hour >= end_hour:
        first_hour = end_hour = 0
    rows = db.execute(
        "SELECT s.labels, sum(e.value) FROM event_series s JOIN ("
        "  SELECT series, value FROM event_hour WHERE hour >= :first_hour AND hour < :end_hour"
        "  UNION ALL SELECT series, value FROM event_minute"
        "   WHERE minute >= :first AND minute < :end"
        "   AND NOT (minute >= :first_hour * 60 AND minute < :end_hour * 60)"
        ") e ON e.series = s.id WHERE s.service = :service AND s.name = :name "
        "GROUP BY s.id ORDER BY s.labels",
        {"first": first, "end": end, "first_hour": first_hour, "end_hour": end_hour,
         "service": service, "name": name},
    ).fetchall()  # fmt: skip
    return [(json.loads(labels), float(value)) for labels, value in rows]
