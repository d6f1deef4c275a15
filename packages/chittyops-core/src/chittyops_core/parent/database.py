"""Where the parent keeps everything: a SQLite file or a PostgreSQL database, with one writer.

Everybody reads on a connection of their own. All writes go through one thread that puts what
waits into one transaction (group commit), and answers only after that is on the disk.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from chittyops_core.errors import ParentError

__all__ = ["Database"]

T = TypeVar("T")
Work = Callable[[sa.Connection], Any]

MAX_WAITING = 2000
"""Pieces of work; beyond that a writer says that it is busy."""

MAX_BATCH = 500
"""Pieces of work in one transaction."""


class Database:
    """A database by its URL: `sqlite:///PATH` or `postgresql+psycopg://...`.

    Raises:
        ParentError: From everything here: it cannot be reached, is full, damaged or too new.
    """

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._reader = self._engine()
        self._waiting: queue.Queue[tuple[Work, Future[Any]] | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the writer."""
        self._thread = threading.Thread(target=self._write_all, name="writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what waits, then end."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
        self._reader.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of everything."""
        with self._reader.connect() as connection:
            yield connection

    def submit(self, work: Callable[[sa.Connection], T]) -> Future[T]:
        """Let the writer do *work* in its next transaction; done when that is on the disk.

        Work that raises is taken back alone, and raises from the future.

        Raises:
            ParentError: Too much waits already (fact `cause`: busy).
        """
        future: Future[T] = Future()
        try:
            self._waiting.put_nowait((work, future))
        except queue.Full:
            raise ParentError("the writer has too much to do", cause="busy") from None
        return future

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Do what `submit` does, and wait for it. Not for the event loop's thread."""
        return self.submit(work).result()

    def _engine(self) -> sa.Engine:
        engine = sa.create_engine(self.url)
        if self.is_sqlite:
            sa.event.listen(engine, "connect", _prepare_sqlite)
        return engine

    def _write_all(self) -> None:
        engine = self._engine()
        is_over = False
        while not is_over:
            batch = [self._waiting.get()]
            while len(batch) < MAX_BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            is_over = None in batch
            self._commit(engine, [each for each in batch if each is not None])
        engine.dispose()

    def _commit(self, engine: sa.Engine, batch: list[tuple[Work, Future[Any]]]) -> None:
        results: list[tuple[Future[Any], Any, Exception | None]] = []
        try:
            with engine.begin() as connection:
                for work, future in batch:
                    try:
                        with connection.begin_nested():
                            results.append((future, work(connection), None))
                    except Exception as error:
                        results.append((future, None, error))
        except Exception as error:
            for _, future in batch:
                future.set_exception(ParentError(f"the database cannot be written: {error}"))
            return
        for future, result, failed in results:
            if failed is not None:
                future.set_exception(failed)
            else:
                future.set_result(result)


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = cast("Any", connection).cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
