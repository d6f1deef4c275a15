"""What the parent's pages and syncs cost as the fleet grows, and what a sample takes on the disk.

    python benchmarks/growth.py [--children 100,1000,10000] [--url postgresql+psycopg://...]

Every question of a page, and one batch of what syncs write, at each size: the median milliseconds,
and how often that of the smallest fleet. Then bytes a sample as it came and after compaction,
beside the same samples in a narrow SQLite table (child, metric, at, value). A URL is of an empty
database, whose tables are made, dropped and made again; without one, SQLite files are.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from chittyops_core.parent import fleet, inventory, samples, tally
from chittyops_core.parent.database import Database
from chittyops_core.parent.fleet import Filter, Order, ServiceFilter
from chittyops_core.parent.schema import METADATA, child_state, event, sample, sample_day
from parent.fleet_data import DAY, NAMES, NOW, SET, child_id, fill, make_tables, readings

ROUNDS = 15
BATCH = 100
"""Syncs that are written in one transaction."""

SAMPLED = 200
"""Children whose samples are weighed."""

Question = Callable[[sa.Connection], object]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    asked.add_argument("--children", default="100,1000,10000,100000")
    asked.add_argument("--url", default="")
    options = asked.parse_args()
    sizes = [int(each) for each in options.children.split(",")]
    rows: dict[str, list[float]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            for name, ms in _measure(options.url or f"sqlite:///{folder}/parent.db", size):
                rows.setdefault(name, []).append(ms)
    print(f"\n{'median ms':34}" + "".join(f"{size:>12,} {'ratio':>6}" for size in sizes))
    for name, times in rows.items():
        cells = "".join(f"{ms:12.2f} {ms / times[0]:5.1f}x" for ms in times)
        print(f"{name:34}{cells}")
    print(f"load {os.getloadavg()[0]:.1f}\n")
    _weigh()


def _measure(url: str, size: int) -> Iterator[tuple[str, float]]:
    engine = sa.create_engine(url)
    METADATA.drop_all(engine)
    make_tables(url)
    began = time.monotonic()
    with engine.begin() as connection:
        fill(connection, size, sampled=2, days=2)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
    print(f"{size:,} children put in within {time.monotonic() - began:.0f} s", file=sys.stderr)
    engine.dispose()
    database = Database(url)
    database.start()
    for name, question in _questions(size).items():
        with database.reading() as connection:
            yield name, _median(lambda: question(connection))  # noqa: B023  # asked at once
    numbers = iter(range(1, 10**6))
    yield f"write {BATCH} syncs", _median(lambda: _sync_all(database, size, next(numbers)))
    yield f"{BATCH} changes of status", _median(lambda: _restate(database, size, next(numbers)))
    yield "a new release", _median(lambda: _release(database, size, next(numbers)))
    database.close()


def _questions(size: int) -> dict[str, Question]:
    one = child_id(size // 2)
    middle = f"web-{size // 2:05d}"
    return {
        "fleet": lambda c: fleet.children(c),
        "fleet, next page": lambda c: fleet.children(c, None, _next(c)),
        "fleet, worst first": lambda c: fleet.children(c, order=Order.WORST),
        "fleet, by kind and status": lambda c: fleet.children(
            c, Filter(kind="cook-county", status="major_outage")
        ),
        "fleet, overdue": lambda c: fleet.children(c, Filter(overdue=True)),
        "search, a name": lambda c: fleet.children(c, Filter(text=middle)),
        "search, a frequent word": lambda c: fleet.children(c, Filter(text="production")),
        "search, rare and frequent": lambda c: fleet.children(
            c, Filter(text=f"production {middle}")
        ),
        "search, two frequent that differ": lambda c: fleet.children(
            c, Filter(text="docket dossier")
        ),
        "by label": lambda c: fleet.children(c, Filter(label="site=elgin")),
        "counts": fleet.counts,
        "facets": fleet.facets,
        "child": lambda c: fleet.child_view(c, one),
        "events of all": lambda c: fleet.events(c),
        "events of a child": lambda c: fleet.events(c, child_id=one),
        "events of a type": lambda c: fleet.events(c, types=("alert.fired",)),
        "services": lambda c: fleet.services(c),
        "services at a commit": lambda c: fleet.services(c, ServiceFilter(commit="ab")),
        "services below a version": lambda c: fleet.services(c, ServiceFilter(below="1.0")),
        "services, app and client": lambda c: fleet.services(
            c, ServiceFilter(app="dossier", client="elm")
        ),
        "activity": lambda c: fleet.activities(c),
        "metrics of a day": lambda c: samples.series(
            c, child_id(0), NAMES[:4], NOW - DAY, NOW, 300
        ),
    }


def _next(connection: sa.Connection) -> str | None:
    return fleet.children(connection).next


def _sync_all(database: Database, size: int, number: int) -> None:
    """Write what a batch of plain syncs does: the hot row, a sample, and an event of each tenth."""

    def work(connection: sa.Connection) -> None:
        ids = [child_id((number * 7919 + each * 101) % size) for each in range(BATCH)]
        at = NOW + 300 * number
        connection.execute(
            child_state.update()
            .where(child_state.c.child == sa.bindparam("key"))
            .values(n=child_state.c.n + 1, last_seen=at, deadline_at=at + 330),
            [{"key": each} for each in ids],
        )
        samples.put(connection, [(each, at, SET, [0.5] * len(NAMES)) for each in ids])
        connection.execute(
            event.insert(),
            [
                {"child": each, "stream": "s", "seq": number * BATCH + place, "kind": "event",
                 "type": "deploy.served", "at": at, "received_at": at, "body": "{}"}
                for place, each in enumerate(ids[::10])
            ],
        )  # fmt: skip

    database.write(work)


def _restate(database: Database, size: int, number: int) -> None:
    def work(connection: sa.Connection) -> None:
        ids = [child_id((number * 7919 + each * 101) % size) for each in range(BATCH)]
        status = ("operational", "degraded_performance")[number % 2]
        connection.execute(
            child_state.update()
            .where(child_state.c.child == sa.bindparam("key"))
            .values(status=status),
            [{"key": each} for each in ids],
        )
        tally.settle(connection, ids)

    database.write(work)


def _release(database: Database, size: int, number: int) -> None:
    said = {"app": "docket", "kind": "cook-county", "release": f"r{number}", "commit": "ab"}
    report = {"services": {"docket": said}}
    database.write(lambda c: inventory.keep(c, child_id(size // 3), report, NOW + number))


def _median(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


# --- bytes a sample ---


def _weigh() -> None:
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        folder = Path(name)
        database = _sampled(folder / "parent.db")
        count = SAMPLED * DAY // 300 * len(NAMES)
        raw = _bytes(folder / "parent.db", "sample")
        longest, seconds = _compacted(database)
        chunks = _bytes(folder / "parent.db", "sample_day")
        rollups = _bytes(folder / "parent.db", "sample_hour")
        left = _bytes(folder / "parent.db", "sample")
        database.close()
        narrow = _narrow(folder / "narrow.db")
    print(f"{'bytes a sample (pages, indexes)':34}{'bytes':>8}{'narrow is':>12}")
    for label, size in (
        ("narrow SQLite table", narrow), ("as it came", raw), ("after compaction", chunks + left),
        ("after compaction, with roll-ups", chunks + left + rollups),
    ):  # fmt: skip
        print(f"{label:34}{size / count:8.2f}{narrow / size:11.1f}x")
    print(
        f"compaction: {seconds / SAMPLED * 1000:.1f} ms a child and day; "
        f"a write beside it waited {longest * 1000:.0f} ms at most"
    )


def _sampled(path: Path) -> Database:
    make_tables(f"sqlite:///{path}")
    database = Database(f"sqlite:///{path}")
    database.start()
    database.write(lambda c: fill(c, SAMPLED, sampled=SAMPLED, now=_midnight()))
    return database


def _midnight() -> float:
    return NOW // DAY * DAY


def _compacted(database: Database) -> tuple[float, float]:
    """Compact everything while somebody else writes; return how long that waited, and all took."""
    began, waits = time.monotonic(), []
    is_over = False

    def once() -> bool:
        asked = time.monotonic()
        done: Future[object] = database.submit(lambda c: c.execute(sa.select(sa.literal(1))).one())
        done.result()
        waits.append(time.monotonic() - asked)
        return is_over

    samples.compact(database, _midnight() + DAY, is_over=once)
    return max(waits), time.monotonic() - began


def _bytes(path: Path, table: str) -> int:
    """Return what the pages of a table and its indexes take."""
    db = sqlite3.connect(path)
    names = (sample.name, sample_day.name)
    assert table in (*names, "sample_hour")
    (size,) = db.execute(
        "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name IN "
        "(SELECT name FROM sqlite_master WHERE tbl_name = ?)", (table,),
    ).fetchone()  # fmt: skip
    db.close()
    return int(size)


def _narrow(path: Path) -> int:
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE narrow (child INT, metric INT, at INT, value REAL, "
        "PRIMARY KEY (child, metric, at)) WITHOUT ROWID"
    )
    for number in range(SAMPLED):
        rows = [
            (number, metric, at, value)
            for at, values in readings(_midnight() - DAY, _midnight(), 5 + number)
            for metric, value in enumerate(values)
        ]
        db.executemany("INSERT INTO narrow VALUES (?, ?, ?, ?)", sorted(rows))
    db.commit()
    (size,) = db.execute("SELECT sum(pgsize) FROM dbstat WHERE name = 'narrow'").fetchone()
    db.close()
    return int(size)


if __name__ == "__main__":
    main()
