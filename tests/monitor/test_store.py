"""What is kept, how it is counted, and what happens when the disk does not play along."""

from __future__ import annotations

import csv
import math
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chittyops_core.errors import HostError, NotFoundError, StoreError, UsageError
from chittyops_core.model.monitoring import AlertState, Message, Observation, Severity
from chittyops_core.monitor import events, rollup, schema
from chittyops_core.monitor.alerts import Alert
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.export import COLUMNS, export
from chittyops_core.monitor.history import Counts
from chittyops_core.monitor.outbox import Outbox
from chittyops_core.monitor.store import Store

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()
DAY = 86400.0


def look(at: float, *, good: bool = True, seconds: float = 0.1, monitor: str = "m") -> Observation:
    return Observation(monitor, at, good, seconds, "" if good else "status was 500")


def message(number: int, alert: str = "m", state: AlertState = AlertState.FIRING) -> Message:
    return Message(f"{alert}:{number}", alert, state, Severity.PAGE, NOON, "title", "body")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitor.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [look(math.nan), look(math.inf), look(-1), look(NOON, seconds=math.nan),
     look(NOON, seconds=-0.1), look(1e300), look(NOON, monitor=""), look(NOON, monitor="\udcff"),
     look(NOON, seconds=1e9)],
)  # fmt: skip
def test_an_observation_that_cannot_be_kept_is_refused_and_nothing_of_its_batch_is_kept(
    store: Store, path: Path, bad: Observation
) -> None:
    with pytest.raises(UsageError, match="cannot be kept"):
        store.record([look(NOON), bad], [Alert("m", AlertState.FIRING)], [message(1)])

    assert (store.latest(), store.alerts()) == ({}, {})
    buffered = BufferedStore(path)
    with pytest.raises(UsageError, match="cannot be kept"):
        buffered.record([bad])
    assert (buffered.trouble, buffered.flush()) == ("", True)
    buffered.close()


def test_bytes_that_are_no_text_do_not_stop_the_record(store: Store) -> None:
    store.record([evolve(look(NOON, good=False), why="body \udcff" + "x" * 9000)])

    assert store.latest()["m"].why.startswith("body ?xxx")
    assert len(store.latest()["m"].why) == 500


def test_a_span_that_ends_before_it_begins_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="before it begins"):
        store.counts("m", NOON, NOON - 1)
    with pytest.raises(UsageError, match="before it begins"):
        store.events("shop", "requests", NOON, NOON)


def test_a_span_reads_the_same_by_counts_and_by_roll_ups(store: Store) -> None:
    """Across whole hours, the minutes at both ends, and what is not rolled up yet."""
    start = NOON - 3 * 3600 - 1234
    store.record([look(start + n * 20, good=n % 50 != 0) for n in range(600)])
    store.tend(NOON)
    store.record([look(start + 600 * 20 + n) for n in range(10)])

    for since, until in ((start, NOON), (start + 700, start + 12100), (start + 90, start + 3000)):
        total = store.counts("m", since, until)
        spans = store.minutes("m", since, until)
        assert total.good == sum(len(span.sketch) for span in spans)
        assert total.total == sum(span.total for span in spans)
        assert total.total > 100


def test_a_monitor_that_nobody_saw_has_no_counts(store: Store) -> None:
    assert store.counts("never", NOON, NOON + 60) == Counts(0, 0)
    assert store.counts("never", NOON, NOON + 60).ratio is None
    assert store.quantile("never", 0.5, NOON, NOON + 60) is None


def test_a_file_of_a_newer_core_is_refused_and_left_alone(path: Path) -> None:
    Store(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.close()
    before = path.read_bytes()

    for kind in (Store, BufferedStore, Outbox):
        with pytest.raises(StoreError, match="newer version"):
            kind(path)

    assert path.read_bytes() == before


# --- counting ------------------------------------------------------------------------------------

LOOKS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 3 * 3600 * 1000),  # ms
        st.booleans(),
        st.floats(0, 60),
    ),
    max_size=60,
)


@settings(max_examples=40, deadline=None)
@example([("a", 7_320_000, False, 0.0)], [0], 31, 90)  # Right behind a span before all looks.
@given(LOOKS, st.lists(st.integers(0, 60), max_size=4), st.integers(0, 179), st.integers(1, 90))
def test_every_look_counts_once_whenever_it_is_rolled_up(
    looks: list[tuple[str, int, bool, float]], cuts: list[int], first: int, length: int
) -> None:
    """In any order of times, after any number of roll-ups: counts are those of a plain list."""
    store = Store(Path(tempfile.mkdtemp()) / "monitor.sqlite")
    start = NOON - NOON % 3600
    seen = [look(start + ms / 1000, good=g, seconds=s, monitor=m) for m, ms, g, s in looks]
    for index, one in enumerate(seen):
        store.record([one])
        if index in cuts:
            rollup.roll_up(store._db)
            rollup.roll_up(store._db)
    since, until = start + first * 60, start + (first + length) * 60

    for monitor in ("a", "b"):
        own = [o for o in seen if o.monitor == monitor and since <= o.at < until]
        good = [round(o.seconds, 6) for o in own if o.is_good]
        assert store.counts(monitor, since, until) == Counts(len(good), len(own))
        spans = store.minutes(monitor, since, until)
        assert (sum(s.good for s in spans), sum(s.total for s in spans)) == (len(good), len(own))
        if good:
            assert min(s.min_s for s in spans if s.min_s is not None) == min(good)
            assert max(s.max_s for s in spans if s.max_s is not None) == max(good)
            assert sum(s.sum_s for s in spans) == pytest.approx(sum(good))
            worst = store.quantile(monitor, 1.0, since, until)
            assert worst == pytest.approx(max(good), rel=0.0101, abs=1e-6)
    store.close()
    shutil.rmtree(store.path.parent)


def test_days_are_local_days_and_count_what_is_not_rolled_up_yet(store: Store) -> None:
    tokyo = timezone(timedelta(hours=9))
    store.record([look(NOON + 3600 * h, good=h != 5) for h in range(24)])
    store.tend(NOON + DAY)
    store.record([look(NOON + DAY)])

    assert store.days(NOON - 80 * DAY, UTC)["m"] == {
        date(2026, 3, 10): Counts(11, 12),
        date(2026, 3, 11): Counts(13, 13),
    }
    assert store.days(NOON, tokyo)["m"] == {
        date(2026, 3, 10): Counts(3, 3),
        date(2026, 3, 11): Counts(21, 22),
    }


def test_a_late_observation_is_added_to_its_minute_after_its_raw_ones_are_gone(
    store: Store,
) -> None:
    store.record([look(NOON), look(NOON + 30)])
    store.tend(NOON + 60)
    for hour in range(24 * 4):
        store.tend(NOON + hour * 3600)
    assert len(list(store.series("raw", 0, NOON + 9 * DAY))) <= 1

    store.record([look(NOON + 45, good=False)])
    store.tend(NOON + 4 * DAY)

    assert store.counts("m", NOON, NOON + 60) == Counts(2, 3)
    assert store.counts("m", NOON - 7200, NOON + 7200) == Counts(2, 3)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_jump_of_the_clock_by_an_hour_loses_no_minute(store: Store, jump_s: float) -> None:
    at, recorded = NOON, 0
    for minute in range(180):
        if minute == 60:
            at += jump_s
        store.record([look(at), look(at + 30)])
        recorded += 2
        at += 60
        store.tend(at)

    assert store.counts("m", NOON - 7200, NOON + 6 * 3600) == Counts(recorded, recorded)
    assert store.latest()["m"].at == at - 30


def test_a_clock_that_is_ten_years_ahead_for_an_hour_deletes_no_history(store: Store) -> None:
    store.record([look(NOON - hour * 3600) for hour in range(20 * 24)])
    store.tend(NOON)
    for minute in range(60):
        store.record([look(NOON + 3650 * DAY + minute * 60)])
        store.tend(NOON + 3650 * DAY + minute * 60)
    store.tend(NOON + 3600)

    assert store.counts("m", NOON - 21 * DAY, NOON + 60) == Counts(20 * 24, 20 * 24)
    assert len(store.minutes("m", NOON - 21 * DAY, NOON + 60)) == 20 * 24


def test_each_resolution_is_forgotten_at_its_age(store: Store) -> None:
    store.record([look(NOON), look(NOON)])
    store.tend(NOON)
    kept = {}
    for day in range(400):
        for _ in range(24):
            rollup.forget(store._db, round((NOON + day * DAY) * 1000), 1 << 30)
        for step, least in (("raw", 2), ("minute", 1), ("hour", 1)):
            if len(list(store.series(step, 0, NOON + DAY))) >= least:
                kept[step] = day

    assert kept["raw"] in (2, 3) and kept["minute"] in (35, 36) and kept["hour"] in (396, 397)


def test_an_app_counts_its_own_events(store: Store) -> None:
    for minute in range(150):
        store.count_event("shop", "requests", {"code": "200"}, 2, NOON + minute * 60)
        store.count_event("shop", "requests", {"code": "500"}, 1, NOON + minute * 60)
    store.count_event("other", "requests", {}, 7, NOON)

    assert store.events("shop", "requests", NOON + 60, NOON + 9000) == [
        ({"code": "200"}, 298.0),
        ({"code": "500"}, 149.0),
    ]


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_counter_only_grows(store: Store, value: float) -> None:
    with pytest.raises(UsageError, match="only grow"):
        store.count_event("shop", "requests", {}, value, NOON)


def test_labels_without_end_do_not_fill_the_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_SERIES", 10)
    for number in range(50):
        store.count_event("shop", "requests", {"path": f"/{number}"}, 1, NOON)
        store.count_event("shop", f"name{number}", {}, 1, NOON)

    found = store.events("shop", "requests", NOON, NOON + 60)
    assert sum(value for _, value in found) == 50
    assert (events.OVERFLOW, 45.0) in found
    with pytest.raises(UsageError, match="1 to 1024"):
        store.count_event("shop", "requests", {"path": "x" * 2000}, 1, NOON)


# --- alerts, incidents, maintenance ---------------------------------------------------------------


def test_state_incident_and_message_come_together(store: Store, path: Path) -> None:
    firing = Alert("m", AlertState.FIRING, since=NOON, is_open=True, seq=1, why="status was 500")
    store.record([look(NOON, good=False)], [firing], [message(1)])
    blind = evolve(firing, state=AlertState.NO_DATA, since=NOON + 60)
    store.record([], [blind], [message(2, state=AlertState.NO_DATA)])
    store.record([], [evolve(firing, since=NOON + 90)], [])
    resolved = evolve(firing, state=AlertState.RESOLVED, since=NOON + 600, is_open=False)
    store.record([], [resolved], [message(3, state=AlertState.RESOLVED), message(1)])
    store.record([], [evolve(resolved, state=AlertState.OK)])

    assert store.alerts() == {"m": evolve(resolved, state=AlertState.OK)}
    (incident,) = store.incidents()
    assert (incident.started, incident.ended, incident.why) == (NOON, NOON + 600, "status was 500")
    assert [one.state.value for one in incident.timeline] == [
        "firing", "no-data", "firing", "resolved",
    ]  # fmt: skip
    outbox = Outbox(path)
    assert outbox.next("ops") == message(1)
    outbox.close()


def test_maintenance_windows_are_planned_ended_and_taken_back(store: Store) -> None:
    running = store.add_maintenance("shop.production", NOON - 60, NOON + 3600, "new disk")
    planned = store.add_maintenance("*", NOON + DAY, NOON + 2 * DAY, "move")
    with pytest.raises(UsageError, match="ends after"):
        store.add_maintenance("*", NOON, NOON, "")
    with pytest.raises(NotFoundError):
        store.end_maintenance(99, NOON)

    window = store.maintenance(NOON)[0]
    assert window.covers(NOON, "shop.production") and not window.covers(NOON, "other")
    store.end_maintenance(planned, NOON)
    store.end_maintenance(running, NOON)
    assert store.maintenance(NOON) == []


# --- the disk ------------------------------------------------------------------------------------


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond *size* bytes: writes fail as on a bad disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_with_a_disk_that_cannot_be_written_monitoring_goes_on_in_memory(path: Path) -> None:
    store = BufferedStore(path)
    with no_file_over(64 << 10):
        for minute in range(300):
            at = NOON + minute * 60
            alert = Alert("m", AlertState.FIRING, since=NOON, is_open=True, seq=minute + 1)
            store.record([look(at + s) for s in range(0, 60, 5)], [alert], [message(minute + 1)])
            store.count_event("shop", "requests", {}, 1, at)
            store.tend(at + 60)

        assert "cannot be written" in store.trouble or "full" in store.trouble
        assert "wait in memory" in store.trouble
        assert store.alerts()["m"].seq == 300
        assert store.latest()["m"].at == NOON + 299 * 60 + 55
    store.tend(NOON + 300 * 60)

    assert (store.trouble, store.dropped) == ("", 0)
    assert store.store is not None
    assert store.store.counts("m", NOON, NOON + 300 * 60) == Counts(3600, 3600)
    assert store.store.events("shop", "requests", NOON, NOON + DAY) == [({}, 300.0)]
    assert store.store.alerts()["m"].seq == 300
    ids = [row[0] for row in store.store._db.execute("SELECT id FROM message ORDER BY seq")]
    assert ids == [f"m:{n + 1}" for n in range(300)]
    store.close()


def test_a_full_database_is_told_as_full(path: Path) -> None:
    store = BufferedStore(path)
    assert store.store is not None
    store.store._db.execute("PRAGMA max_page_count = 60")
    while not store.trouble:
        store.record([look(NOON) for _ in range(1000)])

    assert "the disk is full" in store.trouble
    store.store._db.execute("PRAGMA max_page_count = 1000000")
    assert store.flush()
    store.close()


def test_what_waits_is_bounded_and_messages_are_never_dropped(tmp_path: Path) -> None:
    path = tmp_path / "not yet" / "monitor.sqlite"
    store = BufferedStore(path, max_held=100)
    for number in range(50):
        store.record([look(NOON + number) for _ in range(10)], [], [message(number)])

    assert store.store is None
    assert store.dropped == 400
    assert "100 observations wait in memory; 400 older ones were dropped" in store.trouble
    path.parent.mkdir()
    assert store.flush()
    assert store.store is not None
    assert store.store.counts("m", NOON, NOON + 60) == Counts(100, 100)
    count = store.store._db.execute("SELECT count(*) FROM message").fetchone()
    assert count == (50,)
    store.close()


def test_a_damaged_file_is_moved_aside_and_monitoring_goes_on(path: Path) -> None:
    path.write_bytes(b"this is no database, it is a text of many bytes" * 200)

    with pytest.raises(StoreError, match="damaged"):
        Store(path)
    store = BufferedStore(path)
    store.record([look(NOON)])

    assert store.moved_aside == path.with_name("monitor.sqlite.damaged-1")
    assert store.moved_aside.read_bytes().startswith(b"this is no database")
    assert store.trouble == ""
    assert store.store is not None and store.store.latest()["m"].at == NOON
    store.close()


def test_a_file_that_is_damaged_while_it_is_open_is_moved_aside(path: Path) -> None:
    store = BufferedStore(path)
    store.record([look(NOON)], [Alert("m", AlertState.FIRING, is_open=True)])
    assert store.store is not None
    store.store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.store._db.execute("PRAGMA cache_size = 0")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    for minute in range(20):
        store.record([look(NOON + minute * 60)])
        store.tend(NOON + minute * 60)

    assert store.moved_aside is not None
    assert store.trouble == ""
    assert store.alerts()["m"].state is AlertState.FIRING
    assert store.store.alerts()["m"].state is AlertState.FIRING
    store.close()


def test_the_budget_is_kept_and_told_before_it_is_reached(path: Path) -> None:
    store = Store(path, budget=600_000)
    was_told = []
    for minute in range(40):
        at = NOON + minute * 60
        store.record([look(at, monitor=f"m{n % 50}") for n in range(1000)])
        was_told.append(store.usage().is_near)
        store.tend(at)

    assert was_told[0] is False and was_told[-1] is True
    usage = store.usage()
    assert usage.used < 700_000
    assert store.counts("m1", NOON, NOON + 40 * 60).total == 800
    store.close()


KILLED = """
import sys
from pathlib import Path
from chittyops_core.model.monitoring import Observation
from chittyops_core.monitor.store import Store
store = Store(Path(sys.argv[1]))
row = store._db.execute("SELECT coalesce(max(id), 0) FROM raw").fetchone()
number = row[0]
print("ready", flush=True)
while True:
    store.record([Observation("m", 1_800_000_000 + number, True, 0.1)])
    number += 1
    print(number, flush=True)
    if number % 7 == 0:
        store.tend(1_800_000_000 + number)
"""


def test_a_kill_at_any_point_counts_nothing_twice_and_loses_nothing(path: Path) -> None:
    written = 0
    for round_ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        killer = threading.Timer(0.05 + 0.037 * round_, process.kill)
        killer.start()
        lines = process.stdout.read().splitlines()
        process.stdout.close()
        process.wait()
        killer.join()
        written = int(lines[-1]) if lines else written
        store = Store(path)
        total = store.counts("m", 1_800_000_000 - 60, 1_800_000_000 + 10_000_000).total
        assert total in (written, written + 1)
        store.close()


# --- export --------------------------------------------------------------------------------------


def test_csv_holds_what_the_store_holds(store: Store, tmp_path: Path) -> None:
    store.record([look(NOON + n, good=n != 3, seconds=0.1 * (n + 1)) for n in range(5)])
    store.tend(NOON + 60)

    count = export(store, tmp_path / "out.csv", "csv", since=NOON, until=NOON + 60)
    raws = export(store, tmp_path / "raw.csv", "csv", step="raw", since=NOON, until=NOON + 60)

    (row,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert (count, raws) == (1, 5)
    assert tuple(row) == COLUMNS
    assert (row["monitor"], row["at"]) == ("m", "2026-03-10T12:00:00.000+00:00")
    assert (row["good"], row["total"], row["min_s"], row["max_s"]) == ("4", "5", "0.1", "0.5")
    looks = list(csv.DictReader((tmp_path / "raw.csv").read_text().splitlines()))
    assert looks[3]["why"] == "status was 500"


def test_parquet_reads_back_or_says_what_to_install(store: Store, tmp_path: Path) -> None:
    store.record([look(NOON + n) for n in range(5)])
    store.tend(NOON + 60)
    target = tmp_path / "out.parquet"
    try:
        from pyarrow import parquet
    except ImportError:
        with pytest.raises(HostError) as caught:
            export(store, target, "parquet", since=NOON, until=NOON + 60)
        assert "parquet" in caught.value.remedy
        assert list(tmp_path.glob("*parquet*")) == []
        return

    export(store, target, "parquet", since=NOON, until=NOON + 60)

    (row,) = parquet.read_table(target).to_pylist()
    assert (row["good"], row["total"], row["at"].timestamp()) == (5, 5, NOON)


def test_an_export_that_cannot_be_made_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="format"):
        export(store, tmp_path / "x", "xls", since=0, until=1)
    with pytest.raises(UsageError, match="step"):
        export(store, tmp_path / "x", "csv", step="week", since=0, until=1)
    with pytest.raises(HostError, match="cannot be written"):
        export(store, tmp_path / "no" / "x", "csv", since=0, until=1)

    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith("monitor.")] == []
