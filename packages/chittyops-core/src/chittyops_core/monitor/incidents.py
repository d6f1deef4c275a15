"""From firing to resolved, with what happened in between; and when nothing is to be said."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from chittyops_core.errors import NotFoundError, UsageError
from chittyops_core.model.monitoring import AlertState
from chittyops_core.monitor.alerts import Alert
from chittyops_core.monitor.schema import storable

__all__ = ["Incident", "IncidentStep", "Maintenance", "add_maintenance", "end_maintenance",
           "incidents", "keep_incident", "maintenance"]  # fmt: skip


@frozen
class IncidentStep:
    """One line of an incident's timeline; *at* in seconds since the epoch."""

    at: float
    state: AlertState
    text: str


@frozen
class Incident:
    """One alert, from firing to resolved.

    Attributes:
        id: Its number, growing.
        alert: Whose it is.
        started: Its first failure, in seconds since the epoch.
        ended: When it resolved; None while it has not.
        why: What did not hold when it began to fire.
        timeline: Its changes of state, oldest first.
    """

    id: int
    alert: str
    started: float
    ended: float | None
    why: str
    timeline: tuple[IncidentStep, ...]


@frozen
class Maintenance:
    """A time in which nothing is said.

    Attributes:
        id: Its number.
        scope: A service's slug, a monitor's name, or `*` for all.
        starts: Seconds since the epoch.
        ends: Seconds since the epoch.
        why: For people.
    """

    id: int
    scope: str
    starts: float
    ends: float
    why: str

    def covers(self, at: float, *scopes: str) -> bool:
        """Say whether it holds at *at* for any of *scopes*."""
        return self.starts <= at < self.ends and (self.scope == "*" or self.scope in scopes)


def keep_incident(db: sqlite3.Connection, before: AlertState | None, alert: Alert) -> None:
    """Open, go on with or end the incident of *alert*, in a transaction of the caller."""
    if alert.state is before:
        return
    row = db.execute(
        "SELECT id FROM incident WHERE alert = ? AND ended IS NULL", (alert.name,)
    ).fetchone()
    if row is None:
        if alert.state is not AlertState.FIRING:
            return
        cursor = db.execute(
            "INSERT INTO incident (alert, started, why) VALUES (?, ?, ?)",
            (alert.name, alert.since, storable(alert.why)),
        )
        incident = cursor.lastrowid
    else:
        incident = row[0]
    text = storable(alert.why) if alert.state is AlertState.FIRING else ""
    db.execute(
        "INSERT INTO incident_step VALUES (?, ?, ?, ?)",
        (incident, alert.since, alert.state.value, text),
    )
    if not alert.is_open:
        db.execute("UPDATE incident SET ended = ? WHERE id = ?", (alert.since, incident))


def incidents(db: sqlite3.Connection, limit: int) -> list[Incident]:
    """Return the last incidents, newest first."""
    rows = db.execute(
        "SELECT id, alert, started, ended, why FROM incident ORDER BY id DESC LIMIT ?", (limit,)
    ).fetchall()
    steps = "SELECT at, state, text FROM incident_step WHERE incident = ? ORDER BY rowid"
    return [
        Incident(
            number,
            alert,
            started,
            ended,
            why,
            tuple(
                IncidentStep(at, AlertState(state), text)
                for at, state, text in db.execute(steps, (number,))
            ),
        )
        for number, alert, started, ended, why in rows
    ]


def add_maintenance(
    db: sqlite3.Connection, scope: str, starts: float, ends: float, why: str
) -> int:
    """Plan a time in which nothing is said; return its number. Raises UsageError."""
    if not scope or not starts < ends:
        raise UsageError(
            "a maintenance window has a scope, and ends after it begins",
            remedy="Give a service's slug, a monitor's name or *, and a later end.",
        )
    cursor = db.execute(
        "INSERT INTO maintenance (scope, starts, ends, why) VALUES (?, ?, ?, ?)",
        (scope, starts, ends, why),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def end_maintenance(db: sqlite3.Connection, number: int, at: float) -> None:
    """End a window at *at*, or take it back if it has not begun. Raises NotFoundError.

    One that is over already stays as it was.
    """
    row = db.execute("SELECT starts FROM maintenance WHERE id = ?", (number,)).fetchone()
    if row is None:
        raise NotFoundError(f"there is no maintenance window {number}")
    if at <= row[0]:
        db.execute("DELETE FROM maintenance WHERE id = ?", (number,))
    else:
        db.execute("UPDATE maintenance SET ends = min(ends, ?) WHERE id = ?", (at, number))


def maintenance(db: sqlite3.Connection, since: float) -> list[Maintenance]:
    """Return all windows that end after *since*, the first to begin first."""
    rows = db.execute(
        "SELECT id, scope, starts, ends, why FROM maintenance WHERE ends > ? ORDER BY starts, id",
        (since,),
    )
    return [Maintenance(*row) for row in rows]
