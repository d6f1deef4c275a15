"""Who is silent (docs/protocol.md section 10), by a clock that goes when it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chittyops_core.bridge.protocol import ChildState
from chittyops_core.errors import ParentError
from chittyops_core.parent import enrolment
from chittyops_core.parent.database import Database
from chittyops_core.parent.ingest import grace_s
from chittyops_core.parent.live import Live
from chittyops_core.parent.schema import child_state, event
from chittyops_core.parent.sweeper import ALIVE_S, Chore, Housekeeper, Sweeper
from parent_served import HandClock, RawChild, ServedParent

INTERVAL_S = 300.0
DEADLINE_S = INTERVAL_S + INTERVAL_S / 10


class Watched:
    """A parent with one child that has just spoken, and its sweeper."""

    def __init__(self, served: ServedParent, clock: HandClock) -> None:
        self.served, self.clock = served, clock
        self.child: RawChild = served.child()
        self.sweeper = self.restart()
        self.speak()

    def restart(self) -> Sweeper:
        self.sweeper = Sweeper(self.served.database, Live(), self.clock)
        self.sweeper.sweep()
        return self.sweeper

    def speak(self) -> None:
        assert self.child.sync(created=self.clock.at).status == 200

    def go(self, seconds: float) -> None:
        """Let time go by, with a look now and then."""
        end = self.clock.at + seconds
        while self.clock.at < end:
            self.clock.at = min(end, self.clock.at + 2 * ALIVE_S)
            self.sweeper.sweep()

    @property
    def is_overdue(self) -> bool:
        return bool(self.served.rows(sa.select(child_state.c.is_overdue))[0][0])

    def noted(self) -> list[str]:
        rows = self.served.rows(
            sa.select(event.c.type).where(event.c.stream == "parent").order_by(event.c.seq)
        )
        return [row[0] for row in rows][1:]


@pytest.fixture
def watched(database: Database, tmp_path: Path, clock: HandClock) -> Iterator[Watched]:
    with ServedParent(tmp_path, database, clock) as served:
        yield Watched(served, clock)


def test_grace_is_a_tenth_and_at_least_15_seconds() -> None:
    """So that a late train is not a silent child."""
    assert [grace_s(next_s) for next_s in (1, 60, 300, 3600)] == [15, 15, 30, 360]


def test_a_silent_child_is_overdue_within_a_tenth_more_than_its_deadline(watched: Watched) -> None:
    """Not before, once only, and no longer when it speaks again."""
    watched.go(DEADLINE_S - 1)
    before = watched.is_overdue
    watched.go(DEADLINE_S * 0.1 + 1)
    after = watched.is_overdue
    watched.go(600)
    watched.speak()

    assert (before, after, watched.is_overdue) == (False, True, False)
    assert watched.noted() == ["child.overdue", "child.returned"]


def test_a_restart_neither_resets_nor_forgets_a_deadline(watched: Watched) -> None:
    """The time of a short restart is not counted against anybody, and no more is."""
    watched.go(DEADLINE_S - 20)

    watched.clock.at += 5
    watched.restart()
    watched.go(15)
    before = watched.is_overdue
    watched.go(20)

    assert (before, watched.is_overdue) == (False, True)


def test_time_in_which_the_parent_was_away_is_nobodys_silence(watched: Watched) -> None:
    """After an hour away: 300 and 15 seconds, in which all can speak."""
    watched.go(10)
    watched.clock.at += 3600
    watched.restart()

    watched.go(310)
    before = watched.is_overdue
    watched.go(15)

    assert (before, watched.is_overdue) == (False, True)


def test_a_database_that_was_away_is_nobodys_silence(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when PostgreSQL restarts, the disk is full, or the machine slept."""

    def refuse(_: Any) -> None:
        raise ParentError("away", cause="unreachable")

    watched.go(10)
    with monkeypatch.context() as patch:
        patch.setattr(watched.served.database, "put", refuse)
        with pytest.raises(ParentError):
            watched.go(400)
    watched.clock.at += 400

    watched.go(100)

    assert not watched.is_overdue
    watched.speak()
    watched.go(DEADLINE_S - 1)
    assert watched.noted() == []


def test_a_child_that_nobody_awaits_is_not_overdue(watched: Watched) -> None:
    """One that was revoked, whoever wrote that."""
    watched.served.database.write(
        lambda found: enrolment.decide(
            found, watched.child.id, ChildState.REVOKED, by="ada", reason="", now=watched.clock.at
        )
    )
    watched.served.database.write(
        lambda found: found.execute(sa.update(child_state).values(deadline_at=watched.clock.at))
    )

    watched.go(600)

    assert not watched.is_overdue
    assert watched.noted() == ["child.revoked"]


def test_deadlines_are_found_by_their_index(database: Database) -> None:
    """However many children there are."""
    if not database.is_sqlite:
        pytest.skip("PostgreSQL scans what is small")
    with database.reading() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT child FROM child_state "
            "WHERE deadline_at <= 1 AND NOT is_overdue ORDER BY deadline_at LIMIT 500"
        ).fetchall()

    assert "ix_child_state_due" in str(plan)


def test_chores_are_done_when_they_are_due(clock: HandClock) -> None:
    """By their interval; one that fails holds up no other."""
    done: list[float] = []
    begun = clock.at
    keeper = Housekeeper(
        [
            Chore("broken", 10, lambda *_: 1 / 0),
            Chore("tidy", 60, lambda now, _: done.append(now - begun)),
        ],
        clock,
    )

    for _ in range(13):
        keeper.do_due()
        clock.at += 10

    assert done == pytest.approx([0, 60, 120], abs=1)
