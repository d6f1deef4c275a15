"""What was observed, what it came to, and what is to be told: one SQLite file.

One process writes. `record` is the only way in, one transaction a call: an alert's state, its
incident and its message are all there or none is. Others may read, each with a `Store` of its
own. Nothing here asks for the time; who calls says what time it is.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, tzinfo
from pathlib import Path

from attrs import frozen

from chittyops_core._kit import wire
from chittyops_core.errors import UsageError
from chittyops_core.model.monitoring import Message, Observation
from chittyops_core.monitor import events, history, incidents, outbox, rollup, schema
from chittyops_core.monitor.alerts import Alert
from chittyops_core.monitor.history import Counts, Span
from chittyops_core.monitor.incidents import Incident, Maintenance
from chittyops_core.monitor.outbox import Numbered
from chittyops_core.monitor.sketch import Sketch

__all__ = ["DEFAULT_BUDGET", "NEAR", "Store", "Usage", "require_recordable"]

DEFAULT_BUDGET = 1 << 30
"""Bytes; 100 monitors every 10 s need about a third of it."""

NEAR = 0.8
"""The share of the budget from which on people are told; also when the disk has less than the
rest of it left."""

MAX_AT = 1e11
"""Seconds since the epoch, the year 5138."""

MAX_SECONDS = 1e7
"""Of one look, 115 days; the sum of an hour's looks must fit into SQLite's 64 bits."""

MAX_WHY = 500
"""Characters of a failed look's reason that are kept."""


@frozen
class Usage:
    """How much of the disk the store takes.

    Attributes:
        used: Bytes that hold something.
        file: Bytes of the file and its log; what is free inside is given back slowly.
        budget: Bytes that *used* may reach before the oldest is deleted early.
        disk_free: Bytes that the disk has left.
    """

    used: int
    file: int
    budget: int
    disk_free: int

    @property
    def is_near(self) -> bool:
        """Whether people should be told now: the budget or the disk is nearly used up."""
        return self.used >= NEAR * self.budget or self.disk_free < (1 - NEAR) * self.budget


class Store:
    """The store in *path*, safe for the threads of one process.

    Raises:
        StoreError: From everything here: the disk is full, the file damaged or too new.
    """

    def __init__(self, path: Path, *, budget: int = DEFAULT_BUDGET) -> None:
        self.path = path
        self._budget = budget
        self._db = schema.connect(path)
        self._lock = threading.RLock()
        self._ids: dict[str, int] = {}

    def close(self) -> None:
        self._db.close()

    # --- in ---

    def record(
        self,
        observations: Iterable[Observation] = (),
        alerts: Iterable[Alert] = (),
        messages: Iterable[Message] = (),
    ) -> None:
        """Keep all of it in one transaction, or nothing.

        One that holds messages is on the disk before this returns; others may be lost by a power
        cut (never by a kill). A message whose id is known already is not kept twice.

        Raises:
            UsageError: An observation's time or duration is no number, or out of all bounds.
            StoreError: See the class.
        """
        seen_all, told = tuple(observations), tuple(messages)
        require_recordable(seen_all)
        with self._writing(durable=bool(told)) as db:
            for seen in seen_all:
                self._keep(db, seen)
            for alert in alerts:
                _keep_alert(db, alert)
            outbox.put(db, told)

    def count_event(
        self, service: str, name: str, labels: Mapping[str, str], value: float, at: float
    ) -> None:
        """Add *value* to a counter of an app; see `events.add_event`."""
        with self._writing() as db:
            events.add_event(db, service, name, labels, value, at)

    def count_events(
        self,
        counted: Iterable[tuple[str, str, Mapping[str, str], float]],
        at: float,
        states: Mapping[str, str],
    ) -> None:
        """Add to many counters, and keep *states*, in one transaction.

        Args:
            counted: (service, name, labels, value) of each; see `events.add_event`.
            at: Seconds since the epoch.
            states: What whoever counted needs to go on after a kill; see `state`.
        """
        with self._writing() as db:
            for service, name, labels, value in counted:
                events.add_event(db, service, name, labels, value, at)
            _keep_states(db, states)

    def keep_state(self, name: str, text: str) -> None:
        """Keep *text* for who comes after a restart."""
        with self._writing() as db:
            _keep_states(db, {name: text})

    def state(self, name: str) -> str | None:
        """Return what was kept under *name*."""
        with self._reading() as db:
            row = db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def _keep(self, db: sqlite3.Connection, seen: Observation) -> None:
        monitor = self._id_of(db, seen.monitor)
        at, us = round(seen.at * 1000), round(seen.seconds * 1e6)
        why = None if seen.is_good else schema.storable(seen.why[:MAX_WHY])
        db.execute(
            "INSERT INTO raw (monitor, at, good, us, why) VALUES (?, ?, ?, ?, ?)",
            (monitor, at, seen.is_good, us, why),
        )
        # The last one recorded, not the one with the latest time: a clock may be set back.
        db.execute(
            "UPDATE monitor SET at = ?, good = ?, us = ?, why = ?, seen = ? WHERE id = ?",
            (at, seen.is_good, us, why, json.dumps(dict(seen.values), default=str), monitor),
        )

    def _id_of(self, db: sqlite3.Connection, name: str) -> int:
        if name not in self._ids:
            found = db.execute("SELECT id FROM monitor WHERE name = ?", (name,)).fetchone()
            if found is None:
                cursor = db.execute("INSERT INTO monitor (name) VALUES (?)", (name,))
                found = (cursor.lastrowid,)
            self._ids[name] = found[0]
        return self._ids[name]

    # --- out ---

    def alerts(self) -> dict[str, Alert]:
        """Return every alert by its name."""
        with self._reading() as db:
            rows = db.execute("SELECT name, value FROM alert ORDER BY name").fetchall()
        return {name: wire.from_wire(Alert, json.loads(value)) for name, value in rows}

    def latest(self) -> dict[str, Observation]:
        """Return the last observation of every monitor by its name."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT name, at, good, us, why, seen FROM monitor WHERE at IS NOT NULL "
                "ORDER BY name"
            ).fetchall()
        return {
            name: Observation(name, at / 1000, bool(good), us / 1e6, why or "", json.loads(seen))
            for name, at, good, us, why, seen in rows
        }

    def counts(self, monitor: str, since: float, until: float) -> Counts:
        """Return the looks of *monitor* in the minutes that the span touches."""
        with self._reading() as db:
            return history.counted(db, self._known(db, monitor), since, until)

    def quantile(self, monitor: str, q: float, since: float, until: float) -> float | None:
        """Return a quantile of the good looks' durations in seconds, within 1 %."""
        merged = Sketch()
        with self._reading() as db:
            for one in history.over(db, self._known(db, monitor), since, until):
                merged.merge(one.sketch)
        return merged.quantile(q)

    def minutes(self, monitor: str, since: float, until: float) -> list[Span]:
        """Return the minutes of *monitor*, oldest first; those without a look are left out."""
        with self._reading() as db:
            return history.spans(db, monitor, self._known(db, monitor), since, until)

    def days(self, since: float, zone: tzinfo) -> dict[str, dict[date, Counts]]:
        """Return every monitor's counts by local day, from the day of *since* on."""
        with self._reading() as db:
            return history.days(db, since, zone)

    def series(self, step: str, since: float, until: float) -> Iterator[Span]:
        """Yield everything in the span for an export; see `history.series`.

        Nothing else can use this object meanwhile: give an export a `Store` of its own.
        """
        with self._reading() as db:
            yield from history.series(db, step, since, until)

    def events(
        self, service: str, name: str, since: float, until: float
    ) -> list[tuple[dict[str, str], float]]:
        """Return (labels, sum) of each series of a counter, in the minutes the span touches."""
        if not since < until:
            raise UsageError(f"the span ends ({until}) before it begins ({since})")
        with self._reading() as db:
            return events.events(db, service, name, int(since // 60), int(-(-until // 60)))

    def _known(self, db: sqlite3.Connection, monitor: str) -> int:
        """Return its number; one that nothing has, when nothing was seen of it yet."""
        row = db.execute("SELECT id FROM monitor WHERE name = ?", (monitor,)).fetchone()
        return int(row[0]) if row else 0

    # --- incidents and maintenance ---

    def incidents(self, limit: int = 20) -> list[Incident]:
        """Return the last incidents with their timelines, newest first."""
        with self._reading() as db:
            return incidents.incidents(db, limit)

    def add_maintenance(self, scope: str, starts: float, ends: float, why: str) -> int:
        """Plan a time in which nothing is said; return its number. Raises UsageError."""
        with self._writing(durable=True) as db:
            return incidents.add_maintenance(db, scope, starts, ends, why)

    def end_maintenance(self, number: int, at: float) -> None:
        """End a window early, or take it back. Raises NotFoundError."""
        with self._writing(durable=True) as db:
            incidents.end_maintenance(db, number, at)

    def maintenance(self, since: float) -> list[Maintenance]:
        """Return all windows that end after *since*, the first to begin first."""
        with self._reading() as db:
            return incidents.maintenance(db, since)

    # --- messages, to whom reads them besides the channels ---

    def last_message(self) -> int:
        """Return the number of the last message that there ever was; 0 before the first."""
        with self._reading() as db:
            return outbox.last(db)

    def messages(self, above: int, limit: int) -> list[Numbered]:
        """Return the messages with a higher number, oldest first."""
        with self._reading() as db:
            return outbox.above(db, above, limit)

    # --- housekeeping ---

    def tend(self, now: float) -> None:
        """Roll up what came since the last call, and forget what is too old; once a minute."""
        with self._lock, schema.told_errors(self.path):
            rollup.roll_up(self._db)
            rollup.forget(self._db, round(now * 1000), self._budget)

    def usage(self) -> Usage:
        """Return how much of the disk is used."""
        with self._reading() as db:
            used = rollup.used_bytes(db)
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        size = sum(file.stat().st_size for file in files if file.exists())
        return Usage(used, size, self._budget, shutil.disk_usage(self.path.parent).free)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, schema.told_errors(self.path):
            if self._db.in_transaction:
                yield self._db
                return
            # One snapshot: what is rolled up meanwhile is not seen twice.
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                self._db.execute("COMMIT")

    @contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock, schema.told_errors(self.path):
            if durable:
                self._db.execute("PRAGMA synchronous = FULL")
            try:
                with schema.transaction(self._db):
                    yield self._db
            except BaseException:
                self._ids.clear()  # Monitors that came with this transaction went with it.
                raise
            finally:
                if durable:
                    self._db.execute("PRAGMA synchronous = NORMAL")


def require_recordable(observations: Iterable[Observation]) -> None:
    """Raise UsageError for an observation that no file could hold."""
    for seen in observations:
        has_name = seen.monitor and seen.monitor == schema.storable(seen.monitor)
        if not (has_name and 0 <= seen.at <= MAX_AT and 0 <= seen.seconds <= MAX_SECONDS):
            raise UsageError(
                f"an observation of {seen.monitor!r} at {seen.at} that took {seen.seconds} s "
                "cannot be kept: it needs a name, and times that are 0 or more, and finite"
            )


def _keep_alert(db: sqlite3.Connection, alert: Alert) -> None:
    row = db.execute("SELECT value FROM alert WHERE name = ?", (alert.name,)).fetchone()
    before = wire.from_wire(Alert, json.loads(row[0])) if row else None
    if before == alert:
        return
    db.execute(
        "INSERT OR REPLACE INTO alert VALUES (?, ?)",
        (alert.name, json.dumps(wire.to_wire(alert), separators=(",", ":"))),
    )
    incidents.keep_incident(db, before.state if before else None, alert)


def _keep_states(db: sqlite3.Connection, states: Mapping[str, str]) -> None:
    db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", states.items())
