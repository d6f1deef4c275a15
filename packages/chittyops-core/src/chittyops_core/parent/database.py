"""Where the parent keeps everything: a SQLite file or a PostgreSQL database, with one writer.

Everybody reads on a connection of their own. All writes go through one thread that puts what
waits into one transaction (group commit), and answers only after that is on the disk.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import sqlalchemy as sa
from attrs import frozen

from chittyops_core._kit.locks import FileLock, LockHeldError
from chittyops_core._kit.logs import get_logger
from chittyops_core.errors import ParentError

__all__ = ["Batch", "Database", "Group"]

T = TypeVar("T")
X = TypeVar("X")
Item = TypeVar("Item", contravariant=True)
Work = Callable[[sa.Connection], Any]

MAX_WAITING = 2000
"""Pieces of work; beyond that a writer says that it is busy."""

MAX_BATCH = 500
"""Pieces of work in one transaction."""

LINGER_S = 0.004
"""How long the writer lets work gather while there is much. A transaction costs some 0.6 ms by
itself and each sync in it 0.05 ms."""

BUSY_S = 10.0
"""How long a statement waits for another process that writes, such as `chittyops parent`."""

CONNECT_S = 5
"""How long to wait for PostgreSQL to take a connection."""

LOCK = 0x_C41_77_0_95
"""Of PostgreSQL's advisory locks: one parent serves a database."""

_LOG = get_logger("chittyops.parent.database")


class Batch(Protocol[Item]):
    """What does many pieces of work of one kind at once, such as syncs."""

    def run(self, connection: sa.Connection, items: Sequence[Item]) -> Sequence[Any]:
        """Do all of *items* in their order, and return a result for each.

        If this raises, all of it is taken back, and every item is tried alone.
        """
        ...

    def committed(self, items: Sequence[Item], results: Sequence[Any]) -> None:
        """Learn that *items* are on the disk; called before their futures are done."""
        ...


class Group(Generic[X]):
    """A kind of work that the writer does in batches; made by `Database.group`."""

    def __init__(self, database: Database, batch: Batch[X]) -> None:
        self._database = database
        self.batch = batch

    def submit(self, item: X) -> Future[Any]:
        """Let the batch do *item* in the writer's next transaction. See `Database.submit`."""
        future: Future[Any] = Future()
        self._database.put(_Piece(item, self, future))
        return future

    def ask(self, item: X) -> asyncio.Future[Any]:
        """Do what `submit` does, for the running event loop, which is woken once a transaction."""
        future = asyncio.get_running_loop().create_future()
        self._database.put(_Piece(item, self, future))
        return future


@frozen(eq=False)
class _Piece:
    what: Any
    group: Group[Any] | None
    future: Future[Any] | asyncio.Future[Any]


Done = tuple[_Piece, Any]
"""A piece and its result, which may be an exception."""


@frozen(eq=False)
class _Close:
    """What the writer finds last."""


class Database:
    """A database by its URL: `sqlite:///PATH` or `postgresql+psycopg://...`.

    Args:
        url: Without a password, where it may be read; see `parent.server`.
        password: PostgreSQL's, or "" where libpq finds it itself (PGPASSFILE) or needs none.

    Raises:
        ParentError: From everything here (fact `cause`: busy, closed, full, damaged, newer, held,
            unreachable, locked or other).
    """

    def __init__(self, url: str, *, password: str = "") -> None:
        try:
            self.url = sa.make_url(url)
        except sa.exc.ArgumentError as error:
            raise ParentError(
                "the database's URL cannot be read", remedy=_URL_REMEDY, cause="other"
            ) from error
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if not self.is_sqlite and self.url.get_backend_name() != "postgresql":
            raise ParentError(
                f"the parent keeps nothing in {self.url.get_backend_name()}", remedy=_URL_REMEDY,
                cause="other",
            )  # fmt: skip
        self._password = password
        self._reader = self._engine(is_writer=False)
        self._writer = self._engine(is_writer=True)
        self._waiting: queue.Queue[_Piece | _Close] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._lock: FileLock | None = None
        self._is_exclusive = False
        self._is_closed = False
        self.commit_seconds = 0.0
        self.commits = 0

    @property
    def waiting(self) -> int:
        """How many pieces of work wait for the writer."""
        return self._waiting.qsize()

    def start(self, *, exclusive: bool = False) -> None:
        """Start the writer.

        Args:
            exclusive: Whether it is a server's, of which there may be one for a database.

        Raises:
            ParentError: Another server has it (cause `held`).
        """
        self._is_exclusive = exclusive
        if exclusive:
            self._require_alone()
        self._thread = threading.Thread(target=self._write_all, name="writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what waits, then end."""
        self._is_closed = True
        if self._thread is not None:
            self._waiting.put(_Close())
            self._thread.join()
            self._thread = None
        self._reader.dispose()
        self._writer.dispose()
        if self._lock is not None:
            self._lock.release()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of everything, and changes nothing."""
        with self._told_errors(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def alone(self) -> Iterator[sa.Connection]:
        """Give a connection in a transaction of its own, for before the writer is started."""
        with self._told_errors(), self._writer.begin() as connection:
            yield connection

    def submit(self, work: Callable[[sa.Connection], T]) -> Future[T]:
        """Let the writer do *work* in its next transaction; done when that is on the disk.

        Work that raises is taken back alone, and raises from the future. Work may be done twice
        when the database went away meanwhile, but is kept once.

        Raises:
            ParentError: Too much waits already (fact `cause`: busy).
        """
        future: Future[T] = Future()
        self.put(_Piece(work, None, future))
        return future

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Do what `submit` does, and wait for it. Not for the event loop's thread."""
        return self.submit(work).result()

    def group(self, batch: Batch[X]) -> Group[X]:
        """Return a way to submit items that *batch* does many of at once."""
        return Group(self, batch)

    def put(self, piece: _Piece) -> None:
        """Let *piece* wait for the writer. See `submit`."""
        if self._is_closed:
            raise ParentError("the parent is ending", cause="closed")
        try:
            self._waiting.put_nowait(piece)
        except queue.Full:
            raise ParentError("the writer has too much to do", cause="busy") from None

    def libpq_environment(self) -> dict[str, str]:
        """Return what PostgreSQL's own tools need in their environment: the password, if any."""
        return {"PGPASSWORD": self._password} if self._password else {}

    # --- connections ---

    def _engine(self, *, is_writer: bool) -> sa.Engine:
        if self.is_sqlite:
            engine = sa.create_engine(self.url, connect_args={"timeout": BUSY_S})
            sa.event.listen(engine, "connect", _prepare_writer if is_writer else _prepare_reader)
            begin = "BEGIN IMMEDIATE" if is_writer else "BEGIN"
            sa.event.listen(engine, "begin", lambda found: found.exec_driver_sql(begin))
            return engine
        url = self.url.set(drivername="postgresql+psycopg")
        if self._password:
            url = url.set(password=self._password)
        name = f"chittyops-parent {socket.gethostname()[:30]} {os.getpid()}"
        connect = {"connect_timeout": CONNECT_S, "application_name": name}
        if is_writer:
            engine = sa.create_engine(
                url, connect_args=connect, pool_size=1, max_overflow=0, pool_pre_ping=True
            )
            sa.event.listen(engine, "connect", self._prepare_postgresql)
            return engine
        return sa.create_engine(
            url, connect_args=connect, pool_size=5, max_overflow=10, pool_pre_ping=True,
            execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
        )  # fmt: skip

    def _prepare_postgresql(self, connection: Any, _: object) -> None:
        """Let the writer's session wait for the disk, and hold the database for its server.

        The lock is the session's: whoever cannot take it cannot write either, also after
        PostgreSQL was restarted.
        """
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            if cursor.fetchone()[0] == "off":
                cursor.execute("SET synchronous_commit = on")
            if self._is_exclusive:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
                if not cursor.fetchone()[0]:
                    raise _held(_postgresql_holder(cursor))
        connection.commit()

    def _require_alone(self) -> None:
        if not self.is_sqlite:
            self._writer.dispose()
            with self._told_errors(), self._writer.connect():
                return  # The connection stays in the pool, and its lock with it.
        path = Path(f"{self.url.database}.lock")
        try:
            self._lock = FileLock(path).acquire("chittyops parent serve", wait=None)
        except LockHeldError as error:
            pid, since = error.holder.get("pid", "?"), error.holder.get("since", "?")
            raise _held(f"process {pid}, since {since}") from error
        except OSError as error:
            raise ParentError(
                f"{path} cannot be written: {error.strerror}", cause="other"
            ) from error

    # --- the writer's thread ---

    def _write_all(self) -> None:
        is_over = False
        pieces: list[_Piece] = []
        while not is_over:
            batch = [self._waiting.get()]
            if len(pieces) > 1:  # Others are at it as well: let more of them come together.
                time.sleep(LINGER_S)
            while len(batch) < MAX_BATCH:
                try:
                    batch.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            pieces = [each for each in batch if isinstance(each, _Piece)]
            is_over = len(pieces) < len(batch)
            if pieces:
                self._commit(pieces)

    def _commit(self, pieces: list[_Piece]) -> None:
        """Do *pieces* in one transaction; every future gets an answer, whatever happens."""
        begun = time.monotonic()
        try:
            with self._told_errors(), self._writer.begin() as connection:
                done = _do_all(connection, pieces)
        except BaseException as error:
            _LOG.error("parent.write_failed", pieces=len(pieces), why=str(error))
            _answer((piece, error) for piece in pieces)
            return
        self.commit_seconds += time.monotonic() - begun
        self.commits += 1
        for group in dict.fromkeys(piece.group for piece in pieces if piece.group):
            mine = [(each.what, result) for each, result in done if each.group is group]
            try:
                group.batch.committed([what for what, _ in mine], [result for _, result in mine])
            except Exception:
                _LOG.exception("parent.after_commit_failed")
        _answer(done)

    @contextmanager
    def _told_errors(self) -> Iterator[None]:
        """Turn the drivers' errors into one that says what is wrong and what to do."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._told(error.orig or error) from error
        except sa.exc.TimeoutError as error:
            raise ParentError("all connections are in use", cause="busy") from error

    def _told(self, error: BaseException) -> ParentError:
        if isinstance(error, ParentError):
            return error
        if self.is_sqlite:
            return _told_sqlite(error, str(self.url.database))
        return _told_postgresql(error, f"PostgreSQL at {self.url.host or 'its socket'}")


def _do_all(connection: sa.Connection, pieces: list[_Piece]) -> list[Done]:
    done: list[Done] = []
    groups: dict[Group[Any], list[_Piece]] = {}
    for piece in pieces:
        if piece.group is not None:
            groups.setdefault(piece.group, []).append(piece)
    for group, mine in groups.items():
        done += _do_group(connection, group, mine)
    done += [_do_one(connection, piece, piece.what) for piece in pieces if piece.group is None]
    return done


def _do_group(connection: sa.Connection, group: Group[Any], pieces: list[_Piece]) -> list[Done]:
    """Let the batch do all of it; where it cannot, one by one, so that one spoils no other."""
    try:
        with connection.begin_nested():
            results = group.batch.run(connection, [piece.what for piece in pieces])
            return list(zip(pieces, results, strict=True))
    except Exception as error:
        if _is_lost(error):
            raise
        if len(pieces) == 1:
            return [(pieces[0], error)]
        _LOG.warning("parent.batch_failed", pieces=len(pieces), why=str(error))
    return [_do_one(connection, piece, _alone(group.batch, piece)) for piece in pieces]


def _alone(batch: Batch[Any], piece: _Piece) -> Work:
    return lambda connection: batch.run(connection, [piece.what])[0]


def _do_one(connection: sa.Connection, piece: _Piece, work: Work) -> Done:
    try:
        with connection.begin_nested():
            return piece, work(connection)
    except Exception as error:
        if _is_lost(error):
            raise
        return piece, error


def _is_lost(error: Exception) -> bool:
    """Whether the transaction as a whole can no longer be kept: it is the database's fault."""
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    item_faults = (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.ProgrammingError)
    return error.connection_invalidated or not isinstance(error, item_faults)


def _answer(done: Iterable[Done]) -> None:
    """Complete every future; an event loop is woken once for all of its own."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Done]] = {}
    for piece, result in done:
        if isinstance(piece.future, asyncio.Future):
            by_loop.setdefault(piece.future.get_loop(), []).append((piece, result))
        elif piece.future.set_running_or_notify_cancel():
            _complete(piece.future, result)
    for loop, mine in by_loop.items():
        with suppress(RuntimeError):  # It has ended, and nobody waits there.
            loop.call_soon_threadsafe(_complete_all, mine)


def _complete_all(done: list[Done]) -> None:
    for piece, result in done:
        if not piece.future.done():  # Who asked may have gone.
            _complete(piece.future, result)


def _complete(future: Future[Any] | asyncio.Future[Any], result: Any) -> None:
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


# --- what the drivers say ---

_URL_REMEDY = "Use sqlite:///FILE or postgresql://USER@HOST/DATABASE."
_FULL_REMEDY = "Make room; the parent goes on by itself, and children repeat what they owe."


def _told_sqlite(error: BaseException, where: str) -> ParentError:
    name = getattr(error, "sqlite_errorname", "")
    text = f"the database {where}"
    if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR_WRITE"):
        return ParentError(f"{text}: the disk is full", remedy=_FULL_REMEDY, cause="full")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return ParentError(
            f"{text} is damaged: {error}", remedy="Restore it: `chittyops parent restore`.",
            cause="damaged",
        )  # fmt: skip
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return ParentError(f"{text} is locked by another process", cause="locked")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_PERM")):
        return ParentError(f"{text} cannot be read or written: {error}", cause="unreachable")
    return ParentError(f"{text} refused: {error}", cause="other")


def _told_postgresql(error: BaseException, where: str) -> ParentError:
    state = getattr(error, "sqlstate", None) or ""
    # The first line: the others may hold the row.
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    if state in ("53100", "53200"):
        return ParentError(f"{where} has no room: {said}", remedy=_FULL_REMEDY, cause="full")
    if state in ("XX001", "XX002"):
        return ParentError(f"{where} is damaged: {said}", cause="damaged")
    if state.startswith(("08", "57", "28", "3D")) or not state:
        return ParentError(
            f"{where} cannot be reached: {said}",
            remedy="Start it; the parent goes on by itself.", cause="unreachable",
        )  # fmt: skip
    if state.startswith("55"):
        return ParentError(f"{where}: locked by another process", cause="locked")
    return ParentError(f"{where} refused: {said}", cause="other")


def _held(by: str) -> ParentError:
    return ParentError(
        f"another parent serves this database: {by}",
        remedy="Stop that one first, or give this one a database of its own.", cause="held",
    )  # fmt: skip


def _postgresql_holder(cursor: Any) -> str:
    cursor.execute(
        "SELECT a.application_name, a.client_addr, a.backend_start FROM pg_locks l "
        "JOIN pg_stat_activity a USING (pid) "
        "WHERE l.locktype = 'advisory' AND l.granted AND l.objid = %s AND l.classid = %s "
        "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (LOCK & 0xFFFFFFFF, LOCK >> 32),
    )
    found = cursor.fetchone()
    if found is None:
        return "unknown"
    return f"{found[0]}, from {found[1] or 'this machine'}, since {found[2]:%Y-%m-%d %H:%M:%S %Z}"


def _prepare_writer(connection: Any, _: object) -> None:
    _prepare_sqlite(connection, "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")


def _prepare_reader(connection: Any, _: object) -> None:
    _prepare_sqlite(connection, "query_only = ON")


def _prepare_sqlite(connection: sqlite3.Connection, *pragmas: str) -> None:
    # SQLAlchemy says when a transaction begins, not the driver's guesses.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("cache_size = -16384", *pragmas):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
