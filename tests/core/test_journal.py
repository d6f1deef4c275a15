"""The journal: intent and history, for many processes at once."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from chittyops_core.deploy.journal import Action, Journal, Phase
from chittyops_core.errors import HostError
from chittyops_core.model.release import GateReceipt
from chittyops_core.model.service import Service
from conftest import FakeClock

HELLO = Service("hello")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def journal(tmp_path: Path, clock: FakeClock):
    made = Journal(tmp_path / "journal.db", clock)
    yield made
    made.close()


def deploy(journal: Journal, release: str, base: str | None = None, *, done: bool = True) -> int:
    number = journal.begin(HELLO, "chitty-apps", Action.DEPLOY, release, base)
    journal.mark_served(journal.entry(number))
    if done:
        journal.end(number, Phase.DONE)
    return number


def test_previous_is_what_served_last_before_what_serves(journal: Journal) -> None:
    """There and back: a rollback's previous is what it left."""
    deploy(journal, "one")
    deploy(journal, "two", "one")
    assert journal.previous_served(HELLO, "two") == "one"

    deploy(journal, "one", "two")

    assert journal.previous_served(HELLO, "one") == "two"


def test_what_was_undone_never_counts_as_served(journal: Journal) -> None:
    """A release that got sick while it soaked is no place to go back to."""
    deploy(journal, "one")
    number = deploy(journal, "sick", "one", done=False)
    journal.end(number, Phase.UNDONE, "it got sick")
    deploy(journal, "two", "one")

    assert journal.previous_served(HELLO, "two") == "one"


def test_unfinished_is_what_nobody_ended(journal: Journal) -> None:
    """Oldest first, with the phase that it reached."""
    deploy(journal, "one")
    number = journal.begin(HELLO, "chitty-apps", Action.DEPLOY, "two", "one")
    journal.mark(number, Phase.STAGED, 0.5)

    (entry,) = journal.unfinished(HELLO)

    assert (entry.release, entry.phase, entry.phases) == ("two", Phase.STAGED, {"staged": 0.5})


def test_warmth_ends_with_its_time(journal: Journal, clock: FakeClock) -> None:
    """By the clock that it was given."""
    deploy(journal, "one")
    journal.keep_warm(
        HELLO, "one", (clock.now() + timedelta(minutes=10)).isoformat("T", "milliseconds")
    )
    assert journal.warm(HELLO) == {"one"}

    clock.sleep(601)

    assert journal.warm(HELLO) == set()


def test_two_processes_see_each_others_commits(journal: Journal, tmp_path: Path) -> None:
    """Each with a connection of its own, at once."""
    other = Journal(tmp_path / "journal.db", FakeClock())
    first = journal.begin(HELLO, "chitty-apps", Action.DEPLOY, "one", None)
    second = other.begin(Service("other"), "chitty-apps", Action.DEPLOY, "x", None)

    assert first != second
    assert journal.services() == other.services() == [HELLO, Service("other")]
    other.close()


def test_the_kind_of_a_service_is_its_first(journal: Journal) -> None:
    """Until it is forgotten."""
    journal.begin(HELLO, "cook-county", Action.DEPLOY, "one", None)
    journal.begin(HELLO, "chitty-apps", Action.DEPLOY, "two", None)
    assert journal.kind_of(HELLO) == "cook-county"

    journal.forget(HELLO)

    assert journal.kind_of(HELLO) is None
    assert len(journal.history(HELLO)) == 2


def test_a_receipt_comes_back_as_it_was(journal: Journal) -> None:
    """For the release that it is for, and no other."""
    deploy(journal, "one")
    receipt = GateReceipt("cook-county", "one")
    journal.keep_receipt(HELLO, receipt)

    assert journal.receipt(HELLO, "one") == receipt
    assert journal.receipt(HELLO, "two") is None


def test_settings_are_set_changed_and_taken_away(journal: Journal) -> None:
    """For one service alone."""
    journal.change_setting(HELLO, "A", "1")
    journal.change_setting(HELLO, "A", "2")
    journal.change_setting(HELLO, "B", "3")
    journal.change_setting(HELLO, "B", None)

    assert journal.settings(HELLO) == {"A": "2"}
    assert journal.settings(Service("other")) == {}


def test_a_commit_is_on_disk_and_private(journal: Journal, tmp_path: Path) -> None:
    """WAL with synchronous FULL; nobody else may read it."""
    assert journal._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600


def test_a_damaged_journal_is_not_written_over(tmp_path: Path) -> None:
    """It is named, and the file stays as it was."""
    (tmp_path / "journal.db").write_bytes(b"not a database, " * 100)

    with pytest.raises(HostError, match="cannot be read"):
        Journal(tmp_path / "journal.db", FakeClock())
    assert (tmp_path / "journal.db").read_bytes().startswith(b"not a database")


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """downgrade attack on oneself: an older core says what to do and writes nothing."""
    newer = sqlite3.connect(tmp_path / "journal.db")
    newer.execute("PRAGMA user_version = 99")
    newer.close()

    with pytest.raises(HostError, match="newer version") as caught:
        Journal(tmp_path / "journal.db", FakeClock())
    assert "upgrade" in caught.value.remedy
    assert sqlite3.connect(tmp_path / "journal.db").execute("PRAGMA user_version").fetchone() == (
        99,
    )


@pytest.mark.parametrize("jump_s", [-3600, 3600, -10 * 86400])
def test_a_clock_that_jumps_changes_neither_order_nor_previous(
    journal: Journal, clock: FakeClock, jump_s: float
) -> None:
    """Releases are ordered by deployments, not by times."""
    deploy(journal, "one")
    deploy(journal, "two", "one")
    clock.sleep(jump_s)
    deploy(journal, "three", "two")

    assert [row["id"] for row in journal.releases(HELLO)] == ["three", "two", "one"]
    assert journal.previous_served(HELLO, "three") == "two"


def test_a_clock_set_back_keeps_nothing_warm_for_ever(journal: Journal, clock: FakeClock) -> None:
    """More than a day ahead is more than a manifest may ask for."""
    deploy(journal, "one")
    until = clock.now() + timedelta(minutes=10)
    journal.keep_warm(HELLO, "one", until.isoformat("T", "milliseconds"))

    clock.sleep(-2 * 86400)

    assert journal.warm(HELLO) == set()
