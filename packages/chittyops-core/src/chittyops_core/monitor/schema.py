"""The file that monitor-lite keeps everything in: its tables, and how it is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chittyops_core.errors import StoreError

__all__ = ["PAGE_BYTES", "VERSION", "connect", "storable", "told_errors", "transaction"]

VERSION = 1
"""Of the schema. One that an older core could not read is a higher one."""

PAGE_BYTES = 4096
BUSY_S = 30.0
WAL_PAGES = 1000
"""At which SQLite takes the write-ahead log back into the file (4 MB)."""

# Times: `at` in milliseconds, `minute` and `hour` counted since the epoch, all by the wall clock.
# Durations: microseconds. Of good looks only: a refused connection is quick, a timeout says
# nothing but the limit. Roll-ups go by time first, so that retention frees whole pages.
_SCHEMA = """
CREATE TABLE monitor (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    at INTEGER, good INTEGER, us INTEGER, why TEXT, seen TEXT
) STRICT;
CREATE TABLE raw (
    id INTEGER PRIMARY KEY, monitor INTEGER NOT NULL, at INTEGER NOT NULL,
    good INTEGER NOT NULL, us INTEGER NOT NULL, why TEXT
) STRICT;
CREATE TABLE minute (
    minute INTEGER NOT NULL, monitor INTEGER NOT NULL, good INTEGER NOT NULL,
    total INTEGER NOT NULL, low INTEGER, high INTEGER, sum INTEGER NOT NULL, sketch BLOB NOT NULL,
    PRIMARY KEY (minute, monitor)
) STRICT, WITHOUT ROWID;
CREATE TABLE hour (
    hour INTEGER NOT NULL, monitor INTEGER NOT NULL, good INTEGER NOT NULL,
    total INTEGER NOT NULL, low INTEGER, high INTEGER, sum INTEGER NOT NULL, sketch BLOB NOT NULL,
    PRIMARY KEY (hour, monitor)
) STRICT, WITHOUT ROWID;
CREATE INDEX hour_counts ON hour (hour, monitor, good, total);
CREATE TABLE event_series (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, name TEXT NOT NULL, labels TEXT NOT NULL,
    UNIQUE (service, name, labels)
) STRICT;
CREATE TABLE event_minute (
    minute INTEGER NOT NULL, series INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (minute, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE event_hour (
    hour INTEGER NOT NULL, series INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (hour, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE alert (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE incident (
    id INTEGER PRIMARY KEY AUTOINCREMENT, alert TEXT NOT NULL, started REAL NOT NULL, ended REAL,
    why TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX incident_open ON incident (alert) WHERE ended IS NULL;
CREATE TABLE incident_step (
    incident INTEGER NOT NULL, at REAL NOT NULL, state TEXT NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE INDEX incident_step_incident ON incident_step (incident);
CREATE TABLE maintenance (
    id INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL,
    starts REAL NOT NULL, ends REAL NOT NULL, why TEXT NOT NULL
) STRICT;
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, alert TEXT NOT NULL,
    at REAL NOT NULL, value TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX message_unsettled ON message (seq) WHERE settled = 0;
CREATE TABLE delivery (
    message INTEGER NOT NULL, channel TEXT NOT NULL, outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL, at REAL NOT NULL, error TEXT NOT NULL,
    PRIMARY KEY (message, channel)
) STRICT, WITHOUT ROWID;
CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open *path*, made when it is not there; its folder must be.

    Commits survive a `kill -9`. Those that a caller makes under `PRAGMA synchronous = FULL`
    survive a power cut as well.

    Raises:
        StoreError: The disk is full, the file is damaged, or a newer core wrote it.
    """
    with told_errors(path):
        # Threads may share it when they take turns; the connection itself belongs to nobody.
        db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise StoreError(
            f"the monitor store {path} was written by a newer version of chittyops-core "
            f"(its schema is {found}, this one reads {VERSION})",
            remedy="pip install --upgrade chittyops-core",
            cause="newer",
        )
    path.chmod(0o600)
    if found < VERSION:
        # Only in a file that is still empty: pages can be given back later, a few at a time.
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_PAGES * PAGE_BYTES}")
    db.execute("PRAGMA cache_size = -4096")  # KiB
    if found < VERSION:
        with transaction(db):
            if db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")


def storable(text: str) -> str:
    """Return *text* as UTF-8 can write it; a probe may have met bytes that are no text."""
    return text.encode("utf-8", "replace").decode()


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled it back already (sqlite.org/lang_transaction.html).
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def told_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours; each says whether disk or file is at fault."""
    try:
        yield
    except sqlite3.OperationalError as error:
        is_full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
        raise StoreError(
            f"the disk is full: the monitor store {path} cannot be written"
            if is_full
            else f"the monitor store {path} cannot be written: {error}",
            remedy="Free some space, or mend the disk or the permissions. Monitoring goes on in "
            "memory and is written down when the disk is back.",
            cause="full" if is_full else "other",
        ) from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise  # A bug of ours is no damage.
        raise StoreError(
            f"the monitor store {path} is damaged: {error}",
            remedy="Restore it from a backup, or move it away: monitoring begins a new history.",
            cause="damaged",
        ) from error
