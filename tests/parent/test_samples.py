"""Metrics: packed without a loss that matters, pressed a day at a time, and read as one line."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from chittyops_core.errors import ParentError
from chittyops_core.parent import samples
from chittyops_core.parent.database import Database
from chittyops_core.parent.packing import pack_chunk, pack_row, unpack_chunk, unpack_row
from chittyops_core.parent.samples import Retention, compact, forget, put, series
from chittyops_core.parent.schema import metric_set, sample, sample_day, sample_hour
from parent.databases import open_database
from parent.fleet_data import DAY, NAMES, SET, child_id, readings

CHILD = child_id(1)
TODAY = 20_780 * DAY
NOW = TODAY + 12 * 3600.0
OTHER = "f" * 16


@pytest.fixture
def named(database: Database) -> Database:
    """A database that knows two sets, which share a name."""
    sets = [{"id": SET, "names": json.dumps(NAMES)}, {"id": OTHER, "names": '["host.up", "x"]'}]
    database.write(lambda c: c.execute(metric_set.insert(), sets))
    return database


def give(database: Database, days: int, *, child: str = CHILD, until: float = NOW) -> None:
    rows = [(child, at, SET, values) for at, values in readings(until - days * DAY, until, 3)]
    database.write(lambda c: put(c, rows))


def count(database: Database, table: sa.Table) -> int:
    with database.reading() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def line(
    database: Database, name: str, since: float, until: float, points: int, child: str = CHILD
) -> samples.Line:
    with database.reading() as connection:
        return series(connection, child, [name], since, until, points).lines[name]


# --- packing ---


def test_a_row_keeps_gauges_to_seven_digits_and_counters_exactly() -> None:
    values = [0.1, 2**24 + 1, 1e12 + 1, 1e300, -(2**53), 0, 16_777_216, 1_795_600_000.25]

    got = unpack_row(pack_row(values))

    assert got[1:] == tuple(values[1:])
    assert got[0] == pytest.approx(0.1, rel=1e-7)
    assert len(pack_row([0.5] * 20)) == 82


def test_what_is_no_finite_number_is_a_gap_attack() -> None:
    odd = [None, "1", True, [], {}, math.inf, -math.inf, math.nan, 10**400, "\x00"]

    assert all(math.isnan(value) for value in unpack_row(pack_row(odd)))


_NUMBERS = (
    st.floats(allow_nan=True, allow_infinity=False)
    | st.integers(-(2**53), 2**53).map(float)
    | st.floats(-1e4, 1e4).map(lambda value: round(value, 2))
)


@settings(max_examples=150, deadline=None)
@given(
    columns=st.integers(1, 30).flatmap(
        lambda rows: st.lists(
            st.lists(_NUMBERS, min_size=rows, max_size=rows)
            | _NUMBERS.map(lambda value, rows=rows: [value] * rows),
            max_size=4,
        ).map(lambda columns, rows=rows: (rows, columns))
    )
)
def test_a_chunk_gives_back_what_its_rows_held(columns: tuple[int, list[list[float]]]) -> None:
    """Also after it was merged and pressed again."""
    rows, values = columns
    packed = [unpack_row(pack_row(row)) for row in zip(*values, strict=True)] or [()] * rows
    held = [list(column) for column in zip(*packed, strict=True)]
    times = list(range(100, 100 + 7 * rows, 7))

    once = unpack_chunk(pack_chunk(times, held))
    kept = [once.columns[number] for number in sorted(once.columns)]
    twice = unpack_chunk(pack_chunk(times, kept))

    assert list(once.times) == list(twice.times) == times
    for column, first, second in zip(held, kept, twice.columns.values(), strict=True):
        for value, one, two in zip(column, first, second, strict=True):
            assert _is_stored_alike(value, one)
            assert _is_stored_alike(value, two)


def _is_stored_alike(value: float, other: float) -> bool:
    if math.isnan(value) or abs(value) >= 2**24:
        return value == other or (math.isnan(value) and math.isnan(other))
    return struct.pack("<f", value) == struct.pack("<f", other) or value == other == 0


@pytest.mark.parametrize("cut", [0, 1, 2, 20, -1])
def test_a_damaged_chunk_is_told_as_such(cut: int) -> None:
    chunk = pack_chunk([1, 2, 3], [[1.0, 2.5, 3.0]])

    with pytest.raises(ParentError, match="a chunk of metrics cannot be read"):
        unpack_chunk(chunk[:cut])


def test_a_sample_takes_less_than_four_bytes_after_compaction(named: Database) -> None:
    """Of walks, constants, sizes and counters; less than half of what they took as they came."""
    give(named, 3)
    with named.reading() as connection:
        raw = connection.scalar(sa.select(sa.func.sum(sa.func.length(sample.c.packed)))) or 0
        rows = count(named, sample)
    compact(named, NOW + 3 * DAY)

    with named.reading() as connection:
        chunks = connection.scalar(sa.select(sa.func.sum(sa.func.length(sample_day.c.chunk)))) or 0
    assert chunks / (rows * len(NAMES)) < 2
    assert chunks < raw / 2


# --- in ---


def test_a_sample_that_comes_twice_changes_nothing(named: Database) -> None:
    rows = [(CHILD, TODAY, SET, [1.0]), (CHILD, TODAY, SET, [2.0]), (CHILD, TODAY, OTHER, [3.0])]
    for _ in range(2):
        named.write(lambda c: put(c, rows))

    assert count(named, sample) == 2
    assert line(named, NAMES[0], TODAY, TODAY + 1, 1).mean == (1.0,)


def test_an_impossible_time_is_left_out_attack(named: Database) -> None:
    odd = (-1, math.nan, math.inf, 1e300, 2**32, None, "x")
    rows = [*((CHILD, at, SET, [1.0]) for at in odd), (CHILD, TODAY, SET, [1] * 5000)]

    named.write(lambda c: put(c, rows))

    assert count(named, sample) == 1


# --- compaction ---


def test_days_that_are_over_become_chunks_and_lines_stay_as_they_were(named: Database) -> None:
    give(named, 3)
    before = {name: line(named, name, NOW - 3 * DAY, NOW, 500) for name in NAMES}

    done = compact(named, NOW)

    after = {name: line(named, name, NOW - 3 * DAY, NOW, 500) for name in NAMES}
    assert (done.children, done.days) == (1, 3)
    assert (count(named, sample_day), count(named, sample_hour)) == (3, 3)
    assert count(named, sample) == 144  # of today
    assert compact(named, NOW).days == 0
    for name in NAMES:
        for one, two in zip(before[name].mean, after[name].mean, strict=True):
            assert one == pytest.approx(two, rel=1e-6)


def test_late_samples_are_merged_and_never_replace_what_was_compacted(named: Database) -> None:
    day = TODAY - 2 * DAY
    first = [(CHILD, day + 600 * n, SET, [float(n)]) for n in range(0, 100, 2)]
    late = [(CHILD, day + 600 * n, SET, [float(n), 7.0]) for n in range(1, 100, 2)]
    named.write(lambda c: put(c, first))
    compact(named, NOW)
    named.write(lambda c: put(c, [*late, (CHILD, day, SET, [999.0])]))

    seen_before = line(named, NAMES[0], day, day + 60_000, 100).mean
    compact(named, NOW)
    seen_after = line(named, NAMES[0], day, day + 60_000, 100).mean

    assert seen_before == seen_after == tuple(float(n) for n in range(100))
    assert (count(named, sample), count(named, sample_day)) == (0, 1)
    assert line(named, NAMES[1], day, day + 60_000, 1).mean == (7.0,)


def test_a_sample_that_comes_while_its_day_is_pressed_is_not_lost(
    named: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays as a row, and is merged next."""
    day = TODAY - 2 * DAY
    named.write(lambda c: put(c, [(CHILD, day, SET, [1.0])]))
    press = samples._press

    def meanwhile(found: dict[int, Sequence[float]]) -> tuple[int, bytes, bytes]:
        monkeypatch.setattr(samples, "_press", press)
        named.write(lambda c: put(c, [(CHILD, day + 60, SET, [2.0])]))
        return press(found)

    monkeypatch.setattr(samples, "_press", meanwhile)
    compact(named, NOW)

    assert line(named, NAMES[0], day, day + 120, 2).mean == (1.0, 2.0)
    assert count(named, sample) == 0


def test_a_busy_writer_is_waited_for_and_compaction_can_be_stopped(
    named: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins again with what is left."""
    give(named, 3)
    left = [3, 1]
    write = named.write

    def busy(work):  # type: ignore[no-untyped-def]
        if left[0]:
            left[0] -= 1
            raise ParentError("the writer has too much to do", cause="busy")
        return write(work)

    monkeypatch.setattr(named, "write", busy)
    monkeypatch.setattr(samples, "BUSY_S", 0.001)
    asked = iter([False, False, True])
    done = compact(named, NOW, is_over=lambda: next(asked, True))
    rest = compact(named, NOW)

    assert (done.days, rest.days) == (1, 2)


def test_a_damaged_chunk_stops_neither_other_children_nor_a_graph(named: Database) -> None:
    day = TODAY - 2 * DAY
    for child in (child_id(1), child_id(2)):
        named.write(lambda c, child=child: put(c, [(child, day, SET, [1.0])]))
    compact(named, NOW)
    named.write(
        lambda c: c.execute(
            sample_day.update().where(sample_day.c.child == CHILD).values(chunk=b"\x01x")
        )
    )
    for child in (child_id(1), child_id(2)):
        named.write(lambda c, child=child: put(c, [(child, day + 60, SET, [2.0])]))

    compact(named, NOW)

    assert line(named, NAMES[0], day, day + 120, 2).mean == (None, 2.0)
    assert line(named, NAMES[0], day, day + 120, 2, child_id(2)).mean == (1.0, 2.0)
    assert count(named, sample) == 1


_KILLED = """
import sys
from chittyops_core.parent.database import Database
from chittyops_core.parent.samples import compact

database = Database(sys.argv[1])
database.start()
print("begun", flush=True)
compact(database, float(sys.argv[2]))
print("done", flush=True)
database.close()
"""


def test_a_kill_in_the_middle_of_compaction_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Again and again, at random moments; every sample is in a row or in a chunk, and in one."""
    chance = random.Random(11)
    with open_database(f"sqlite:///{tmp_path}/parent.db") as database:
        database.write(lambda c: c.execute(metric_set.insert(), {"id": SET, "names": '["a"]'}))
        rows = [
            (child_id(n), TODAY - DAY * day + 300 * k, SET, [float(k)])
            for n in range(20) for day in (1, 2, 3) for k in range(200)
        ]  # fmt: skip
        database.write(lambda c: put(c, rows))
    is_done, kills = False, 0
    while not is_done:
        process = subprocess.Popen(
            [sys.executable, "-c", _KILLED, f"sqlite:///{tmp_path}/parent.db", str(NOW)],
            stdout=subprocess.PIPE, text=True, env=dict(os.environ),
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        killer = threading.Timer(chance.uniform(0.0, 0.1) if kills < 3 else 60, process.kill)
        killer.start()
        is_done = process.stdout.read() == "done\n"
        killer.cancel()
        process.stdout.close()
        kills += process.wait() == -signal.SIGKILL
        database = Database(f"sqlite:///{tmp_path}/parent.db")
        held = count(database, sample)
        with database.reading() as connection:
            held += connection.scalar(sa.select(sa.func.sum(sample_day.c.samples))) or 0
        database.close()
        assert held == len(rows)

    assert kills >= 1


# --- retention ---


def test_what_is_too_old_is_forgotten_in_pieces(
    named: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples before their roll-ups; rows that were never compacted too."""
    monkeypatch.setattr(samples, "FORGET_PIECE", 2)
    times = [NOW - days * DAY for days in (1, 29, 40, 41, 300, 500)]
    named.write(lambda c: put(c, [(CHILD, at, SET, [1.0]) for at in times]))
    compact(named, NOW, retention=Retention(1000))
    named.write(lambda c: put(c, [(CHILD, NOW - 50 * DAY, SET, [1.0])]))

    compact(named, NOW)
    deleted = forget(named, NOW)

    assert deleted == 4 + 1
    assert (count(named, sample), count(named, sample_day), count(named, sample_hour)) == (0, 2, 5)
    assert forget(named, NOW) == 0


# --- out ---


def test_a_long_line_is_read_from_roll_ups_and_joins_what_is_not_compacted(named: Database) -> None:
    """With the lowest, the highest and the mean of each point."""
    rows = [(CHILD, at, SET, [float(at % 7200)]) for at in range(TODAY - 60 * DAY, int(NOW), 1800)]
    named.write(lambda c: put(c, rows))
    compact(named, NOW, retention=Retention(100))
    forget(named, NOW)

    got = line(named, NAMES[0], TODAY - 60 * DAY, TODAY, 60)
    today = line(named, NAMES[0], TODAY, NOW, 12)

    assert count(named, sample_day) == 30
    assert set(got.low) == {0.0}
    assert set(got.high) == {5400.0}
    assert set(got.mean) == {2700.0}
    assert None not in today.mean


def test_a_short_line_of_long_ago_is_read_from_roll_ups(named: Database) -> None:
    """When the samples are forgotten."""
    give(named, 1, until=NOW - 100 * DAY)
    compact(named, NOW, retention=Retention(1000))
    forget(named, NOW)

    got = line(named, "host.up", NOW - 101 * DAY, NOW - 100 * DAY, 288)

    assert set(got.mean) == {1.0, None}
    assert 20 <= len([value for value in got.mean if value is not None]) <= 26


def test_a_name_that_two_sets_share_is_one_line(named: Database) -> None:
    named.write(lambda c: put(c, [(CHILD, TODAY, SET, [0.0] * 10 + [1.0])]))
    named.write(lambda c: put(c, [(CHILD, TODAY + 60, OTHER, [0.0, 5.0])]))

    assert line(named, "host.up", TODAY, TODAY + 120, 2).mean == (1.0, 0.0)
    with named.reading() as connection:
        assert samples.names(connection, CHILD) == tuple(sorted({*NAMES, "x"}))
        assert samples.names(connection, "nobody") == ()


def test_a_strange_span_is_answered_attack(named: Database) -> None:
    give(named, 1)
    asked = ["host.up", "'; DROP TABLE sample"]

    for since, until, points in (
        (0, 0, 10), (NOW, 0, 10), (-1e300, 1e300, 10), (NOW, NOW + 1, 10**9), (NOW, NOW + 1, -5),
    ):  # fmt: skip
        with named.reading() as connection:
            got = series(connection, CHILD, asked, since, until, points)

        assert 1 <= len(got.times) <= samples.MAX_POINTS
        assert all(len(each.mean) == len(got.times) for each in got.lines.values())
