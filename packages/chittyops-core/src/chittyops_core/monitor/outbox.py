"""What is to be told and what was: rows of the monitor store.

A message is written in the transaction that changed its alert's state. A channel is known here by
its name alone; its address holds tokens and never comes near this file. A message is settled when
each channel has it or was given up on; a settled one is never sent again, not to a channel that
is new either.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from chittyops_core._kit import wire
from chittyops_core.model.monitoring import AlertState, Message
from chittyops_core.monitor import schema

__all__ = ["MAX_ATTEMPTS", "Numbered", "Outbox", "Outcome", "Undelivered", "above", "last", "put"]

MAX_ATTEMPTS = 1500
"""To one channel: about a day, at ten or eleven in the ten minutes that a deliverer lives."""


class Outcome(StrEnum):
    """What came of telling one message to one channel."""

    PENDING = "pending"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    """Given up; the message is kept and named by `Outbox.undelivered`."""


@frozen
class Undelivered:
    """A message that a channel has not got.

    Attributes:
        message: What was to be told.
        channel: By its name.
        outcome: pending or undelivered.
        attempts: How often it was tried.
        error: What came of the last one.
    """

    message: Message
    channel: str
    outcome: Outcome
    attempts: int
    error: str


@frozen
class Numbered:
    """A message and its place in the order of all.

    Attributes:
        seq: Its number, growing; none is given twice.
        message: What was to be told.
        before: The state that the one before it told of its alert; None for the first.
    """

    seq: int
    message: Message
    before: AlertState | None


def last(db: sqlite3.Connection) -> int:
    """Return the number of the last message that there ever was; 0 before the first."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'").fetchone()
    return int(row[0]) if row else 0


def above(db: sqlite3.Connection, seq: int, limit: int) -> list[Numbered]:
    """Return the messages with a higher number, oldest first, settled or not."""
    rows = db.execute(
        "SELECT seq, value, (SELECT json_extract(o.value, '$.state') FROM message o "
        "  WHERE o.alert = m.alert AND o.seq < m.seq ORDER BY o.seq DESC LIMIT 1) "
        "FROM message m WHERE seq > ? ORDER BY seq LIMIT ?",
        (seq, limit),
    ).fetchall()
    return [
        Numbered(
            number, wire.from_wire(Message, json.loads(value)), AlertState(state) if state else None
        )
        for number, value, state in rows
    ]


def put(db: sqlite3.Connection, messages: Iterable[Message]) -> None:
    """Add *messages*, in a transaction of the caller; one that is there already stays as it is."""
    db.executemany(
        "INSERT OR IGNORE INTO message (id, alert, at, value) VALUES (?, ?, ?, ?)",
        [(one.id, one.alert, one.at, json.dumps(wire.to_wire(one))) for one in messages],
    )


class Outbox:
    """The outbox in the monitor store *path*; safe for threads that take turns."""

    def __init__(self, path: Path, *, max_attempts: int = MAX_ATTEMPTS) -> None:
        self._path = path
        self._max_attempts = max_attempts
        self._db = schema.connect(path)
        # Told is told: also across a power cut.
        self._db.execute("PRAGMA synchronous = FULL")

    def close(self) -> None:
        self._db.close()

    def has_pending(self) -> bool:
        """Say whether any message is not settled yet."""
        return self._one("SELECT 1 FROM message WHERE settled = 0 LIMIT 1") is not None

    def next(self, channel: str) -> Message | None:
        """Return what *channel* is to be told next; None when it was told everything.

        Of one alert always the oldest first; of several alerts the one tried least, so that a
        message that no one takes does not hold up the others.
        """
        row = self._one(
            "SELECT m.value FROM message m LEFT JOIN delivery d "
            "  ON d.message = m.seq AND d.channel = :channel "
            "WHERE m.settled = 0 AND coalesce(d.outcome, 'pending') = 'pending' "
            "  AND NOT EXISTS (SELECT 1 FROM message o LEFT JOIN delivery od "
            "    ON od.message = o.seq AND od.channel = :channel "
            "    WHERE o.settled = 0 AND o.alert = m.alert AND o.seq < m.seq "
            "    AND coalesce(od.outcome, 'pending') = 'pending') "
            "ORDER BY coalesce(d.attempts, 0), m.seq LIMIT 1",
            channel=channel,
        )
        return wire.from_wire(Message, json.loads(row[0])) if row else None

    def mark_delivered(self, message: str, channel: str, at: float) -> None:
        """Record that *channel* took the message with this id."""
        self._mark(message, channel, at, Outcome.DELIVERED, "")

    def mark_failed(self, message: str, channel: str, at: float, error: str) -> Outcome:
        """Record one failed attempt; return `UNDELIVERED` when it was the last."""
        return self._mark(message, channel, at, Outcome.PENDING, error)

    def _mark(self, message: str, channel: str, at: float, outcome: Outcome, error: str) -> Outcome:
        with schema.told_errors(self._path), schema.transaction(self._db):
            row = self._db.execute(
                "SELECT m.seq, coalesce(d.attempts, 0) FROM message m LEFT JOIN delivery d "
                "ON d.message = m.seq AND d.channel = ? WHERE m.id = ?",
                (channel, message),
            ).fetchone()
            if row is None:
                return outcome  # Forgotten meanwhile.
            attempts = row[1] + 1
            if outcome is Outcome.PENDING and attempts >= self._max_attempts:
                outcome = Outcome.UNDELIVERED
            self._db.execute(
                "INSERT OR REPLACE INTO delivery VALUES (?, ?, ?, ?, ?, ?)",
                (row[0], channel, outcome.value, attempts, at, error),
            )
        return outcome

    def settle(self, channels: Collection[str]) -> None:
        """Settle every message that each of *channels* has, or was given up on."""
        names = json.dumps(sorted(channels))
        with schema.told_errors(self._path), schema.transaction(self._db):
            self._db.execute(
                "UPDATE message SET settled = 1 WHERE settled = 0 AND NOT EXISTS ("
                "  SELECT 1 FROM json_each(?) c LEFT JOIN delivery d "
                "  ON d.message = message.seq AND d.channel = c.value "
                "  WHERE coalesce(d.outcome, 'pending') = 'pending')",
                (names,),
            )

    def undelivered(self, limit: int = 100) -> list[Undelivered]:
        """Return what was tried and has not arrived, newest first."""
        with schema.told_errors(self._path):
            rows = self._db.execute(
                "SELECT m.value, d.channel, d.outcome, d.attempts, d.error FROM delivery d "
                "JOIN message m ON m.seq = d.message WHERE d.outcome <> 'delivered' "
                "ORDER BY m.seq DESC, d.channel LIMIT ?",
                (limit,),
            ).fetchall()
        return [
            Undelivered(
                wire.from_wire(Message, json.loads(value)), channel, Outcome(outcome), tries, error
            )
            for value, channel, outcome, tries, error in rows
        ]

    def _one(self, sql: str, **values: str) -> tuple[str] | None:
        with schema.told_errors(self._path):
            row: tuple[str] | None = self._db.execute(sql, values).fetchone()
            return row
