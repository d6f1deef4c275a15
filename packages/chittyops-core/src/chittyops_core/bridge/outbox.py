"""What is owed to the parent: one SQLite file, safe for threads and processes.

Any process of the host puts items; one sender at a time, which holds the lock beside the file,
takes and settles them. Items have numbers that only rise, also across streams. An acknowledged
one is kept for a while, so that a parent restored from a backup gets it again.

A power cut loses no event, and no number is given twice by it: whatever is taken to be sent is on
the disk first. Metrics that were never sent may be lost by one; a kill loses nothing.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from chittyops_core._kit.locks import FileLock, pause
from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge.bodies import to_text
from chittyops_core.bridge.protocol import NEVER_DROPPED, ItemKind
from chittyops_core.errors import StoreError
from chittyops_core.monitor.schema import transaction

__all__ = ["MAX_BODY_BYTES", "Backlog", "Batch", "Dead", "Item", "Limits", "Outbox"]

VERSION = 1
"""Of the schema. One that an older core could not read is a higher one."""

BUSY_S = 30.0
MAX_BODY_BYTES = 256 << 10
"""Of one item: a quarter of what a request may have, so that one alone always fits."""

SPARE_NUMBERS = 64
"""Requests whose numbers are noted ahead: five hours of syncs while the disk is full."""

THINNED_S = (3600.0, 86_400.0)
"""Metrics, one sample each 5 min, are thinned to one of each of these spans in turn."""

LOW_WATER = 0.9
"""Of the limit: what a full outbox is brought down to, so that not every item makes room."""

VACUUM_PAGES = 1000
"""Free pages that are given back to the disk with each acknowledgement (4 MB)."""

log = get_logger("chittyops.bridge.outbox")

_SCHEMA = """
CREATE TABLE item (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, at REAL NOT NULL,
    urgent INTEGER NOT NULL, may_drop INTEGER NOT NULL, size INTEGER NOT NULL, acked_at REAL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX item_urgent ON item (seq) WHERE urgent;
CREATE INDEX item_may_drop ON item (seq) WHERE may_drop;
CREATE TABLE dead (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, at REAL NOT NULL, body TEXT NOT NULL,
    why TEXT NOT NULL
) STRICT;
CREATE TABLE dropped (kind TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
"""


@frozen
class Limits:
    """How much is kept.

    Attributes:
        owed_bytes: Of what the parent has not acknowledged. Incidents, audit and configuration
            results are kept beyond it.
        owed_s: How long metrics and events may be owed.
        kept_bytes: Of what was acknowledged.
        kept_s: How long after that.
    """

    owed_bytes: int = 64 << 20
    owed_s: float = 7 * 86_400.0
    kept_bytes: int = 8 << 20
    kept_s: float = 7 * 86_400.0


@frozen
class Item:
    """One item; `body` is its JSON text."""

    seq: int
    kind: str
    body: str


@frozen
class Batch:
    """What one request brings (docs/protocol.md section 7.1).

    Attributes:
        stream: Id of the stream.
        n: The request's number.
        after: What the parent has acknowledged.
        gone: See `protocol.Sync`.
        items: In order.
        has_more: Whether more is owed.
    """

    stream: str
    n: int
    after: int
    gone: int
    items: tuple[Item, ...]
    has_more: bool


@frozen
class Dead:
    """An item that was set apart because the parent cannot take it."""

    seq: int
    kind: str
    at: float
    body: str
    why: str


@frozen
class Backlog:
    """How an outbox stands.

    Attributes:
        stream: Id of its stream.
        acked: What the parent has acknowledged.
        items: How many are owed.
        bytes: Of those.
        oldest_at: When the oldest of them was put, seconds since the epoch; None for none.
        dropped: Kind -> how many were dropped since the outbox was made.
        dead: How many were set apart.
    """

    stream: str
    acked: int
    items: int
    bytes: int
    oldest_at: float | None
    dropped: Mapping[str, int]
    dead: int


class Outbox:
    """The outbox in *path*; its folder must be there.

    A damaged file is moved aside, and a new one with a new stream begun.

    Args:
        path: Of the database.
        limits: How much is kept.
        now: Seconds since the epoch.

    Raises:
        StoreError: From everything here: the disk is full, or the file is too new. An item whose
            `put` raised is not kept; whoever put it goes on without.
    """

    def __init__(
        self, path: Path, *, limits: Limits | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._limits = limits or Limits()
        self._now = now
        self._turn = threading.RLock()
        self._given = self._reserved = 0
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        with self._turn:
            self._open()

    def close(self) -> None:
        with self._turn:
            if self._db is not None:
                self._db.close()
                self._db = None

    def sender_lock(self) -> FileLock:
        """Return the lock of whoever takes and settles; nobody else may."""
        return FileLock(self.path.with_name(f"{self.path.name}.sender.lock"))

    # --- in ---

    def put(self, kind: ItemKind, body: object, *, urgent: bool = False) -> int:
        """Keep an item; return its number. On the disk before this returns, but for metrics.

        Args:
            kind: What it is.
            body: JSON-serialisable. Characters that are no Unicode text become `?`.
            urgent: Whether the sender should not wait for its next time.

        Raises:
            UsageError: The body is no JSON, or larger than `MAX_BODY_BYTES`.
            StoreError: See the class.
        """
        text = to_text(body, MAX_BODY_BYTES)
        size, at = len(text.encode()), self._now()
        with self._writing(durable=kind is not ItemKind.METRICS) as db:
            seq = db.execute(
                "INSERT INTO item (kind, at, urgent, may_drop, size, body) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (kind.value, at, urgent, kind not in NEVER_DROPPED, size, text),
            ).lastrowid
            _set(db, "owed_bytes", _number(db, "owed_bytes") + size)
            self._make_room(db, at)
        assert seq is not None
        return seq

    # --- out: for the sender ---

    def take(self, max_items: int, max_bytes: int) -> Batch:
        """Return what the next request brings; its number is given to no other, whatever happens.

        While the disk is full there are some numbers for requests without items, so that a parent
        still hears how the host is.
        """
        try:
            with self._writing(durable=True) as db:
                n = (self._given or _number(db, "n")) + 1
                _set(db, "n", n + SPARE_NUMBERS)
                batch = self._batch(db, n, max_items, max_bytes)
                if batch.items:
                    _set(db, "sent", max(_number(db, "sent"), batch.items[-1].seq))
            self._given, self._reserved = n, n + SPARE_NUMBERS
            return batch
        except StoreError:
            if not 0 < self._given < self._reserved:
                raise
            self._given += 1
            with self._reading() as db:
                return self._batch(db, self._given, 0, 0)

    def acknowledge(self, acked: int) -> None:
        """Note that the parent has every item up to *acked*; never more than it was sent."""
        with self._writing(durable=True) as db:
            before = _number(db, "acked")
            acked = min(acked, _number(db, "sent"))
            if acked > before:
                self._settle(db, before, acked)
        with self._reading() as db:
            db.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()

    def rewind(self, acked: int) -> None:
        """Owe again what came after *acked* and is still here: the parent has lost it."""
        with self._writing(durable=True) as db:
            acked = max(acked, _number(db, "base"))
            if acked < _number(db, "acked"):
                db.execute("UPDATE item SET acked_at = NULL WHERE seq > ?", (acked,))
                _set(db, "acked", acked)
                _count_owed(db)

    def renew_stream(self) -> str:
        """Begin a new stream with everything that is owed; return its id."""
        with self._writing(durable=True) as db:
            stream = _new_stream(db)
            self._given = self._reserved = 0
        return stream

    def clear(self) -> None:
        """Forget everything, owed or not: the child has left its parent."""
        with self._writing(durable=True) as db:
            for table in ("item", "dead", "dropped"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608
            db.execute("DELETE FROM meta WHERE name <> 'stream'")
            _set(db, "acked", _last(db))
            _new_stream(db)
            self._given = self._reserved = 0

    def withdraw(self, seqs: Iterable[int]) -> None:
        """Forget items that the child's operator no longer lets out, of whatever kind."""
        with self._writing(durable=True) as db:
            for seq in seqs:
                _drop(db, "seq = ?", _number(db, "acked"), seq, why="not granted any more")

    def set_apart(self, seq: int, why: str) -> bool:
        """Put an item that the parent cannot take where it holds up no other.

        False, and nothing done, for what is never dropped.
        """
        with self._writing(durable=True) as db:
            moved = db.execute(
                "INSERT INTO dead (seq, kind, at, body, why) SELECT seq, kind, at, body, ? "
                "FROM item WHERE seq = ? AND may_drop",
                (why[:500], seq),
            ).rowcount
            if moved:
                db.execute("DELETE FROM item WHERE seq = ?", (seq,))
                _count_owed(db)
        return moved > 0

    # --- state ---

    def has_urgent(self) -> bool:
        """Say whether something is owed that should not wait."""
        with self._reading() as db:
            return _exists(db, "SELECT 1 FROM item WHERE urgent AND seq > ?", _number(db, "acked"))

    def owes(self) -> bool:
        """Say whether anything is owed."""
        with self._reading() as db:
            return _exists(db, "SELECT 1 FROM item WHERE seq > ?", _number(db, "acked"))

    def backlog(self) -> Backlog:
        """Return how it stands."""
        with self._reading() as db:
            acked = _number(db, "acked")
            items, size, oldest = db.execute(
                "SELECT count(*), coalesce(sum(size), 0), min(at) FROM item WHERE seq > ?",
                (acked,),
            ).fetchone()
            dropped = dict(db.execute("SELECT kind, count FROM dropped ORDER BY kind"))
            dead = db.execute("SELECT count(*) FROM dead").fetchone()[0]
            stream = str(_get(db, "stream"))
        return Backlog(stream, acked, items, size, oldest, dropped, dead)

    def dead(self, limit: int = 100) -> list[Dead]:
        """Return what was set apart, newest first."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT seq, kind, at, body, why FROM dead ORDER BY seq DESC LIMIT ?", (limit,)
            ).fetchall()
        return [Dead(*row) for row in rows]

    def note(self, name: str, value: object) -> None:
        """Keep a JSON value for the sender that comes after a restart."""
        with self._writing() as db:
            _set(db, f"note.{name}", json.dumps(value))

    def noted(self, name: str) -> Any:
        """Return what was kept under *name*, or None."""
        with self._reading() as db:
            text = _get(db, f"note.{name}")
        return None if text is None else json.loads(str(text))

    # --- inside ---

    def _batch(self, db: sqlite3.Connection, n: int, max_items: int, max_bytes: int) -> Batch:
        after, gone = _number(db, "acked"), _number(db, "gone")
        items: list[Item] = []
        size = 0
        rows = db.execute(
            "SELECT seq, kind, body, size FROM item WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, max_items + 1),
        ).fetchall()
        for seq, kind, body, own in rows[:max_items]:
            size += own
            if items and size > max_bytes:
                break
            items.append(Item(seq, kind, body))
        return Batch(
            str(_get(db, "stream")), n, after, gone if gone >= after else 0,
            tuple(items), len(items) < len(rows),
        )  # fmt: skip

    def _settle(self, db: sqlite3.Connection, before: int, acked: int) -> None:
        now = self._now()
        db.execute(
            "UPDATE item SET acked_at = ?, urgent = 0 WHERE seq > ? AND seq <= ?",
            (now, before, acked),
        )
        _set(db, "acked", acked)
        _count_owed(db)
        (last,) = db.execute(
            "SELECT max(seq) FROM (SELECT seq, acked_at, "
            "sum(size) OVER (ORDER BY seq DESC) AS total FROM item WHERE seq <= ?) "
            "WHERE total > ? OR acked_at < ?",
            (acked, self._limits.kept_bytes, now - self._limits.kept_s),
        ).fetchone()
        if last is not None:
            db.execute("DELETE FROM item WHERE seq <= ?", (last,))
            _set(db, "gone", last)

    def _make_room(self, db: sqlite3.Connection, now: float) -> None:
        """Keep within the limits; what is never dropped stays, whatever they are."""
        acked = _number(db, "acked")
        oldest = db.execute(
            "SELECT at FROM item WHERE seq > ? AND may_drop ORDER BY seq LIMIT 1",
            (acked,),
        ).fetchone()
        too_old = now - self._limits.owed_s
        if oldest and oldest[0] < too_old:
            _drop(db, "may_drop AND at < ?", acked, too_old)
        if _number(db, "owed_bytes") <= self._limits.owed_bytes:
            return
        limit = self._limits.owed_bytes * LOW_WATER
        for span_s in THINNED_S:
            if _number(db, "owed_bytes") > limit:
                _drop(
                    db, "kind = 'metrics' AND seq NOT IN (SELECT min(seq) FROM item "
                    "WHERE seq > ? AND kind = 'metrics' "
                    "GROUP BY json_extract(body, '$.set'), CAST(at / ? AS INTEGER))",
                    acked, acked, span_s,
                )  # fmt: skip
        for kind in (ItemKind.METRICS, ItemKind.EVENT):
            excess = _number(db, "owed_bytes") - limit
            if excess > 0:
                _drop(
                    db, "seq IN (SELECT seq FROM (SELECT seq, size, "
                    "sum(size) OVER (ORDER BY seq) AS total FROM item "
                    "WHERE seq > ? AND kind = ?) WHERE total - size < ?)",
                    acked, acked, kind.value, excess,
                )  # fmt: skip

    def _open(self) -> None:
        with _told(self.path):
            try:
                self._db = self._connect()
            except StoreError as error:
                if error.facts.get("cause") != "damaged":
                    raise
                self._move_aside(error)
                self._db = self._connect()

    def _connect(self) -> sqlite3.Connection:
        with _told(self.path):
            self._inode = self.path.stat().st_ino if self.path.exists() else 0
            db = sqlite3.connect(
                self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(db, self.path)
                self._inode = self.path.stat().st_ino
            except BaseException:
                db.close()
                raise
        self._given = self._reserved = 0
        return db

    def _move_aside(self, error: StoreError) -> None:
        """Give a damaged file another name, unless another process has done so already."""
        lock = FileLock(self.path.with_name(f"{self.path.name}.mend.lock"))
        with lock.acquire(None, wait=pause):
            if not self.path.exists() or self.path.stat().st_ino != self._inode:
                return
            aside = self.path.with_name(f"{self.path.name}.damaged-{int(self._now())}")
            for suffix in ("-wal", "-shm", ""):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
            log.error(
                "outbox.damaged", error=error.message, moved_to=str(aside),
                remedy="What was owed is in that file; a new stream begins without it.",
            )  # fmt: skip

    def _current(self) -> sqlite3.Connection:
        """Return the connection; a new one when another process moved a damaged file aside."""
        if self._db is not None:
            try:
                if self.path.stat().st_ino == self._inode:
                    return self._db
            except FileNotFoundError:
                pass
            self.close()
        self._open()
        assert self._db is not None
        return self._db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._turn, self._minding_damage(), _told(self.path):
            yield self._current()

    @contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        with self._turn, self._minding_damage(), _told(self.path):
            db = self._current()
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with transaction(db):
                yield db

    @contextmanager
    def _minding_damage(self) -> Iterator[None]:
        """Move a file aside that turns out to be damaged; the work that met it fails."""
        try:
            yield
        except StoreError as error:
            if error.facts.get("cause") == "damaged":
                self.close()
                self._move_aside(error)
            raise


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise StoreError(
            f"the outbox {path} was written by a newer version of chittyops-core "
            f"(its schema is {found}, this one reads {VERSION})",
            remedy="pip install --upgrade chittyops-core",
            cause="newer",
        )
    path.chmod(0o600)
    if found < VERSION:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 4194304")
    if found < VERSION:
        with transaction(db):
            if db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                _new_stream(db)
                db.execute(f"PRAGMA user_version = {VERSION}")


def _new_stream(db: sqlite3.Connection) -> str:
    """Begin a stream after what is acknowledged; what came before belongs to the former one."""
    acked = _number(db, "acked")
    stream = str(uuid.uuid4())
    db.execute("DELETE FROM item WHERE seq <= ?", (acked,))
    _set(db, "stream", stream)
    for name in ("base", "gone", "sent"):
        _set(db, name, acked)
    _set(db, "n", 0)
    return stream


def _drop(
    db: sqlite3.Connection, which: str, acked: int, *values: object,
    why: str = "too much or too old is owed",
) -> None:  # fmt: skip
    """Delete what is owed and meets the condition *which*, of ours; count it by kind."""
    where = f"seq > {acked} AND ({which})"
    counted = db.execute(
        f"SELECT kind, count(*) FROM item WHERE {where} GROUP BY kind",  # noqa: S608
        values,
    ).fetchall()
    db.execute(f"DELETE FROM item WHERE {where}", values)  # noqa: S608
    _count_owed(db)
    for kind, count in counted:
        db.execute(
            "INSERT INTO dropped VALUES (?, ?) "
            "ON CONFLICT (kind) DO UPDATE SET count = count + excluded.count",
            (kind, count),
        )
        log.warning("outbox.dropped", kind=kind, count=count, why=why)


def _count_owed(db: sqlite3.Connection) -> None:
    acked = _number(db, "acked")
    (size,) = db.execute(
        "SELECT coalesce(sum(size), 0) FROM item WHERE seq > ?", (acked,)
    ).fetchone()
    _set(db, "owed_bytes", size)


def _get(db: sqlite3.Connection, name: str) -> object:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


def _number(db: sqlite3.Connection, name: str) -> int:
    value = _get(db, name)
    return value if isinstance(value, int) else 0


def _last(db: sqlite3.Connection) -> int:
    """Return the last number that was given; none is given again."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'item'").fetchone()
    return row[0] if row else 0


def _set(db: sqlite3.Connection, name: str, value: object) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def _exists(db: sqlite3.Connection, question: str, value: int) -> bool:
    return db.execute(f"{question} LIMIT 1", (value,)).fetchone() is not None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours; each says whether disk or file is at fault."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        is_full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
        raise StoreError(
            f"the disk is full: the outbox {path} cannot be written"
            if is_full
            else f"the outbox {path} cannot be used: {error}",
            remedy="Free some space, or mend the disk or the permissions. "
            "What is owed already stays.",
            cause="full" if is_full else "other",
        ) from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise  # A bug of ours is no damage.
        raise StoreError(f"the outbox {path} is damaged: {error}", cause="damaged") from error
