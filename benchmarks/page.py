"""How long the status page takes, beside one bare scan of the rows it is made of.

    python benchmarks/page.py

100 monitors with one-hour roll-ups of 30 days (72,000 rows) in SQLite. `scan` fetches all of the
rows and does nothing with them; the other lines are what the agent does for one visitor. Each is
the median CPU time of several rounds, and its ratio is to `scan` in the same process.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from chittyops_core.monitor.page import Component, ComponentStatus, Day, Page, respond

MONITORS, DAYS, LOOKS_PER_HOUR, ROUNDS = 100, 30, 360, 15
NOW = datetime(2026, 11, 25, 8, 31, tzinfo=UTC).timestamp()
HOUR, DAY = 3600, 86400


def fill(file: Path) -> sqlite3.Connection:
    """Return a database with the hour roll-ups, shaped as the agent's store has them."""
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(
        "CREATE TABLE hours (monitor INTEGER, at INTEGER, total INTEGER, good INTEGER,"
        " seconds REAL, slowest REAL, PRIMARY KEY (monitor, at)) WITHOUT ROWID"
    )
    last = int(NOW) // HOUR * HOUR
    database.executemany(
        "INSERT INTO hours VALUES (?, ?, ?, ?, ?, ?)",
        (
            (m, last - h * HOUR, LOOKS_PER_HOUR, LOOKS_PER_HOUR - (m * h % 97 == 0), 18.0, 0.4)
            for m in range(MONITORS)
            for h in range(DAYS * 24)
        ),
    )
    database.commit()
    return database


def scan(database: sqlite3.Connection) -> None:
    assert len(database.execute("SELECT * FROM hours").fetchall()) == MONITORS * DAYS * 24


def snapshot(database: sqlite3.Connection) -> Page:
    """Return the page's values: days summed up by SQLite, counts and not ratios."""
    days: dict[int, list[Day]] = {monitor: [] for monitor in range(MONITORS)}
    for monitor, day, good, total in database.execute(
        f"SELECT monitor, at / {DAY}, sum(good), sum(total) FROM hours GROUP BY 1, 2 ORDER BY 1, 2"
    ):
        date = datetime.fromtimestamp(day * DAY, UTC).date()
        days[monitor].append(Day(date, good, total))
    components = [
        Component(f"m{m}", f"Monitor {m}", ComponentStatus.OPERATIONAL, NOW, f"Group {m // 10}",
                  days=tuple(days[m]))
        for m in range(MONITORS)
    ]  # fmt: skip
    return Page("Benchmark", "https://status.example.org", NOW, components=components)


def median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times) * 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = fill(Path(folder) / "metrics.db")
        page = snapshot(database)
        packed = {"Accept-Encoding": "gzip"}
        bare = median_ms(lambda: scan(database))
        print(f"{'':32}{'CPU ms':>8}{'ratio to scan':>16}{'bytes':>10}")
        print(f"{'scan of 72,000 rows':32}{bare:8.1f}{1:16.2f}")
        for name, work in {
            "values from the rows": lambda: snapshot(database),
            "HTML from the values": lambda: respond("GET", "/", "", {}, lambda: page),
            "HTML, packed": lambda: respond("GET", "/", "", packed, lambda: page),
            "summary.json from the values": lambda: respond(
                "GET", "/api/v2/summary.json", "", {}, lambda: page
            ),
            "all: rows to packed HTML": lambda: respond(
                "GET", "/", "", packed, lambda: snapshot(database)
            ),
        }.items():
            took = median_ms(work)
            answer = work()
            size = f"{len(answer[2]):10}" if isinstance(answer, tuple) else ""
            print(f"{name:32}{took:8.1f}{took / bare:16.2f}{size}")
        database.close()


if __name__ == "__main__":
    main()
