"""Notices who is silent (docs/protocol.md section 10), and does what is to be done now and then.

Deadlines are stored, so a restart forgets none. What is also stored is when the parent last was
able to write (`alive`): time in which it was away, asleep or without its database is nobody's
silence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from attrs import define, field

from chittyops_core._kit.clock import Clock
from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge.protocol import ChildState
from chittyops_core.errors import ParentError
from chittyops_core.parent.database import Database
from chittyops_core.parent.live import Change, Live
from chittyops_core.parent.records import event_row, keep_events
from chittyops_core.parent.schema import child, child_state, setting
from chittyops_core.parent.tally import settle

__all__ = ["ALIVE", "Chore", "Housekeeper", "Sweeper"]

ALIVE = "alive"
"""Name of the setting that says when the parent last could write."""

SWEEP_S = 1.0
"""How often deadlines are looked at: by an index, so this costs nothing while nobody is late."""

ALIVE_S = 5.0
"""How often `alive` is written; its error is that of the time away."""

ABSENT_S = 3 * ALIVE_S
"""Without writing for so long, the parent was away."""

MAX_GRACE_S, MIN_GRACE_S = 300.0, 15.0
"""How long after an absence nobody becomes overdue, at most and at least (section 10)."""

BATCH = 500
"""Children in one transaction, so that no sync waits for all of them."""

_LOG = get_logger("chittyops.parent.sweeper")


@define
class Chore:
    """Something that is to be done now and then.

    Attributes:
        name: For the log.
        every_s: Seconds between two times.
        do: Called with the time, and with what says whether to end early.
        due_at: When it is to be done next.
    """

    name: str
    every_s: float
    do: Callable[[float, Callable[[], bool]], object]
    due_at: float = field(default=0.0)


class Housekeeper:
    """One thread that does chores, however long they take.

    Args:
        chores: What is to be done.
        clock: Says the time.
    """

    def __init__(self, chores: Sequence[Chore], clock: Clock) -> None:
        self._chores = list(chores)
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End it; a chore that is under way is asked to end early."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def do_due(self) -> None:
        """Do what is due; one that fails is tried again at its next turn."""
        for chore in self._chores:
            now = self._clock.now().timestamp()
            if now < chore.due_at or self._stop.is_set():
                continue
            chore.due_at = now + chore.every_s
            try:
                chore.do(now, self._stop.is_set)
            except ParentError as error:
                _LOG.warning("parent.chore_failed", chore=chore.name, why=str(error))
            except Exception:
                _LOG.exception("parent.chore_failed", chore=chore.name)

    def _run(self) -> None:
        while True:
            self.do_due()
            if self._stop.wait(SWEEP_S):
                return


class Sweeper:
    """One thread that sweeps.

    Args:
        database: Whose writer is started.
        live: Where it tells who became overdue.
        clock: Says the time.
    """

    def __init__(self, database: Database, live: Live, clock: Clock) -> None:
        self._database = database
        self._live = live
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._alive_at: float | None = None
        self._not_before = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End it, after what it is doing."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def sweep(self) -> None:
        """Do everything that is due. Raises ParentError: the database is away."""
        now = self._clock.now().timestamp()
        self._say_alive(now)
        if now >= self._not_before:
            self._tell_silent(now)

    def _run(self) -> None:
        while True:
            try:
                self.sweep()
            except ParentError as error:
                _LOG.warning("parent.sweep_failed", why=str(error))
            except Exception:
                _LOG.exception("parent.sweep_failed")
            if self._stop.wait(SWEEP_S):
                return

    def _say_alive(self, now: float) -> None:
        """Note that the parent can write, and grant time to all when it could not for a while."""
        if self._alive_at is not None and 0 <= now - self._alive_at < ALIVE_S:
            return
        before = self._database.write(lambda found: _keep_alive(found, now))
        is_first = self._alive_at is None
        self._alive_at = now
        if before is None:
            return
        away_s = max(0.0, now - before)
        if is_first or away_s > ABSENT_S:
            self._not_before = now + min(2 * away_s, MAX_GRACE_S) + MIN_GRACE_S
            _LOG.info("parent.was_away", seconds=round(away_s, 1))

    def _tell_silent(self, now: float) -> None:
        while self._is_somebody_due(now):
            found = self._database.write(lambda connection: mark_overdue(connection, now))
            self._live.publish(Change(child_id, "status") for child_id in found)

    def _is_somebody_due(self, now: float) -> bool:
        with self._database.reading() as connection:
            return connection.execute(_due(now).limit(1)).first() is not None


def _due(now: float) -> sa.Select[Any]:
    c = child_state.c
    return sa.select(c.child, c.deadline_at).where(c.deadline_at <= now, sa.not_(c.is_overdue))


def mark_overdue(connection: sa.Connection, now: float) -> list[str]:
    """Mark up to `BATCH` children whose deadline has passed; return them, most overdue first."""
    c = child_state.c
    late = connection.execute(_due(now).order_by(c.deadline_at).limit(BATCH)).all()
    accepted = set(
        connection.execute(
            sa.select(child.c.id).where(
                child.c.id.in_([row.child for row in late]),
                child.c.state == ChildState.ACCEPTED.value,
            )
        ).scalars()
    )
    silent = [row for row in late if row.child in accepted]
    if silent:
        connection.execute(
            sa.update(child_state)
            .where(c.child.in_([row.child for row in silent]))
            .values(is_overdue=True, overdue_since=now)
        )
        keep_events(
            connection,
            *(
                event_row(row.child, "child.overdue", now, {"deadline": row.deadline_at})
                for row in silent
            ),
        )
        settle(connection, [row.child for row in silent])
    if len(silent) < len(late):  # They are awaited no longer.
        connection.execute(
            sa.update(child_state)
            .where(c.child.in_([row.child for row in late if row.child not in accepted]))
            .values(deadline_at=None)
        )
    return [row.child for row in late]


def _keep_alive(connection: sa.Connection, now: float) -> float | None:
    """Write *now* down; return what stood there."""
    found = connection.execute(sa.select(setting.c.value).where(setting.c.name == ALIVE)).scalar()
    if found is None:
        connection.execute(sa.insert(setting).values(name=ALIVE, value=repr(now)))
        return None
    connection.execute(sa.update(setting).where(setting.c.name == ALIVE).values(value=repr(now)))
    try:
        return float(found)
    except ValueError:
        return None
